"""What text from outside, models and questions may not do in a turn."""

from agents.profile import Limits
from agents.roster import JARVIS, Roster
from graphs.jarvis.service import Attachment
from nebula.auth.principal import Caller
from nebula.settings import Settings
from tests.graphs.lab import DONE, call, calls, lab, only, say, script


async def test_text_from_outside_makes_the_next_write_wait(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("letters_read")), calls(call("lamps_light", name="porch")))
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please read the letter and light a lamp")
        heard = str(world.model.asked[-1][0][-1].content)
    assert events[-1].outcome == "waiting"
    assert DONE == ["read"]
    assert heard.startswith('<outside source="letters_read">')
    assert heard.count("</outside>") == 1


async def test_the_taint_stays_with_the_thread_in_later_processes(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, script(calls(call("letters_read")), "Read it.")) as world:
        events = await say(world.jarvis, ada, "please read the letter to me")
    later = script(calls(call("lamps_light", name="porch")))
    async with lab(settings, later) as world:
        session_id = events[0].session_id
        events = await say(world.jarvis, ada, "please light the porch lamp", session_id=session_id)
    assert events[-1].outcome == "waiting"


async def test_a_person_who_types_the_command_itself_is_not_asked_even_after_outside_text(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, script(calls(call("letters_read")), "Read it.")) as world:
        events = await say(world.jarvis, ada, "please read the letter to me")
        session_id = events[0].session_id
        events = await say(world.jarvis, ada, "/lamps_light porch", session_id=session_id)
    assert events[-1].outcome == "answered"
    assert DONE == ["read", "light porch"]
    assert events[-1].model_calls == 0


async def test_a_model_is_never_offered_what_only_people_may_do(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_sell", name="porch")), "I may not.")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please sell the porch lamp now")
        _, offered = world.model.asked[0]
    assert "lamps_sell" not in offered
    assert [event.status for event in only(events, "tool")] == ["failed"]
    assert DONE == []


async def test_a_person_may_type_what_models_may_not_do(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script()) as world:
        await say(world.jarvis, ada, "/lamps_sell porch")
    assert DONE == ["sell porch"]


async def test_a_question_gets_reading_tools_only(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_light", name="porch")), "It is dark.")
    async with lab(settings, policy) as world:
        await say(world.jarvis, ada, "which of the lamps would be lit?")
        _, offered = world.model.asked[0]
    assert "lamps_show" in offered
    assert "lamps_light" not in offered
    assert DONE == []


async def test_only_the_tools_offered_when_the_turn_began_run(
    settings: Settings, ada: Caller
) -> None:
    few = JARVIS.model_copy(update={"limits": Limits(tools=1)})
    policy = script(calls(call("lamps_smash", name="porch")), "I may not.")
    async with lab(settings, policy, roster=Roster(few, ())) as world:
        events = await say(world.jarvis, ada, "please light the porch lamp")
        _, offered = world.model.asked[0]
    assert offered == ["lamps_light"]
    assert only(events, "tool")[-1].error["code"] == "permission_denied"
    assert only(events, "approval") == []


async def test_a_sentence_beside_a_file_never_takes_the_file_for_its_words(
    settings, admin, caller
) -> None:
    """A template's wildcard would run on into the file, and the call would count as typed."""
    file = Attachment(name="a.txt", media_type="text/plain", content=b"and smash every other")
    policy = script(calls(call("lamps_light", name="red")))
    async with lab(settings, policy) as opened:
        said = await say(
            opened.jarvis, caller(admin), "light the lamp that this names", attachments=[file]
        )
        assert [event.tool for event in only(said, "approval")] == ["lamps_light"]
        assert DONE == []
        typed = await say(
            opened.jarvis, caller(admin), "/lamps_light name=blue", attachments=[file]
        )
        assert only(typed, "done")[0].outcome == "answered"
        assert DONE == ["light blue"]
