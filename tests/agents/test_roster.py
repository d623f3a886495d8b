"""Agent profiles are validated when the program starts."""

import pytest
from pydantic import ValidationError

from agents.profile import Profile
from agents.roster import JARVIS, STANDARD, Roster, validated
from nebula.tool.definition import BadDeclaration
from nebula.tool.registry import Registry


def agent(**changes: object) -> Profile:
    known = {"name": "helper", "purpose": "Helps.", "features": {"gpu"}, "prompt": "operator.md"}
    return Profile.model_validate({**known, **changes})


def test_the_standard_roster_fits_the_tools_there_are() -> None:
    registry = Registry.discover("tools", "graphs")
    features = {tool.feature for tool in registry}
    assert validated(STANDARD, features) is STANDARD
    assert all(profile.instructions for profile in (STANDARD.supervisor, *STANDARD.agents))


def test_an_unknown_feature_fails_the_start() -> None:
    with pytest.raises(BadDeclaration, match="helper: there is no feature 'gpus'"):
        validated(Roster(JARVIS, (agent(features={"gpus"}),)), {"gpu"})


def test_a_missing_prompt_fails_the_start() -> None:
    with pytest.raises(BadDeclaration, match=r"no prompt agents/prompts/nothing\.md"):
        validated(Roster(JARVIS, (agent(prompt="nothing.md"),)), {"gpu"})


def test_two_agents_of_one_name_fail_the_start() -> None:
    with pytest.raises(BadDeclaration, match="two agents are named 'helper'"):
        validated(Roster(JARVIS, (agent(), agent())), {"gpu"})


def test_a_profile_refuses_unknown_fields_and_paths() -> None:
    for changes in ({"prompt": "../secret.md"}, {"tool": "x"}, {"name": "No Name"}):
        with pytest.raises(ValidationError):
            agent(**changes)


def test_the_supervisors_prompt_is_short() -> None:
    assert len(JARVIS.instructions) < 800
