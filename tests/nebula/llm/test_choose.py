"""Which of a provider's models thinks, when nobody named one."""

import pytest

from nebula.llm.choose import Tier, choose
from nebula.llm.provider import Model

HOMELAB = [
    Model("llama3.2:1b", 1.2),
    Model("llama3.2:3b", 3.2),
    Model("llama3.1:8b", 8.0),
    Model("qwen3:14b", 14.8),
    Model("llama3.3:70b", 70.6),
    Model("tiny:135m", 0.135),
    Model("gemma:2b", 2.5, tools=False),
    Model("llava:7b", 7.2, tools=False, vision=True),
    Model("nomic-embed-text", 0.137, tools=False, embedding=True),
]


@pytest.mark.parametrize(
    ("tier", "best"),
    [
        ("small", "llama3.2:3b"),
        ("large", "qwen3:14b"),
        ("vision", "llava:7b"),
        ("embed", "nomic-embed-text"),
    ],
)
def test_each_tier_takes_the_model_that_fits_it(tier: Tier, best: str) -> None:
    assert choose(tier, HOMELAB)[0] == best


def test_a_hosted_list_yields_the_known_names_first() -> None:
    hosted = [Model(name) for name in ("gpt-3.5-turbo", "gpt-4o", "gpt-4o-mini", "o1")]
    assert choose("small", hosted)[0] == "gpt-4o-mini"
    assert choose("large", hosted)[0] == "gpt-4o"


def test_an_unknown_server_yields_what_it_has() -> None:
    assert choose("large", [Model("my-finetune")]) == ["my-finetune"]
    assert choose("vision", [Model("my-finetune")]) == []
    assert choose("small", []) == []
