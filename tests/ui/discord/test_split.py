"""Cutting long answers: nothing is lost, nothing is too long, code stays code."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from ui.discord.split import split

WORDS = st.text(alphabet="ab .\n", max_size=200)
CODE = st.builds(
    lambda language, body: f"```{language}\n{body}\n```",
    st.sampled_from(["", "c", "json"]),
    st.text(alphabet="xy \n`", max_size=300),
)
DOCUMENTS = st.lists(st.one_of(WORDS, CODE), max_size=8).map("\n\n".join)


def letters(text: str) -> str:
    return re.sub(r"[^abxy]", "", re.sub(r"```(?:c|json)?", "", text))


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.integers(60, 300))
def test_parts_fit_keep_every_letter_and_close_their_code(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert all(0 < len(part) <= limit for part in parts)
    assert "".join(map(letters, parts)) == letters(text)
    assert all(part.count("```") % 2 == 0 for part in parts)


def test_a_block_that_fits_is_not_cut() -> None:
    block = "```py\n" + "x = 1\n" * 20 + "```"
    parts = split("word " * 30 + f"\n\n{block}\n\nafter", 200)
    assert block in parts[1]


def test_a_block_longer_than_a_message_is_opened_again() -> None:
    parts = split("```py\n" + "x = 1\n" * 100 + "```", 200)
    assert len(parts) > 3
    assert all(part.startswith("```py\n") and part.endswith("\n```") for part in parts)


def test_a_block_still_being_written_is_closed() -> None:
    assert split("look:\n```py\nx = 1") == ["look:\n```py\nx = 1\n```"]


def test_it_is_cut_between_paragraphs_first() -> None:
    assert split(f"{'a' * 50}\n\n{'b' * 60}", 100) == ["a" * 50, "b" * 60]


def test_only_a_bare_fence_ends_a_block_and_nothing_on_its_line_is_lost() -> None:
    assert split("```\n``` `x\n```") == ["```\n`\u200b`\u200b` `x\n```"]
    assert split("``` c x y\nz\n```") == ["```c\nx y\nz\n```"]
    assert "```" not in split("``` `x` is no fence")[0]
