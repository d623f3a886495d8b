"""Answers that grow: few edits, whole code, and patience when Discord says it was too much."""

import asyncio
import itertools

import pytest

from tests.graphs.lab import GATE, call, calls
from tests.ui.discord.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_answer_is_edited_no_oftener_than_discord_allows(home: House) -> None:
    ann, fake = await home.person(), home.discord
    fake.window, fake.edits_per_window = 0.5, 5
    home.says(" ".join(f"word{n}" for n in range(3000)))
    await ann.says("tell me a very long story")
    await home.answer(ann.dm, "word2999", seconds=30)
    await asyncio.sleep(0)
    seen = fake.by_bot(ann.dm)
    assert fake.too_many == []
    for message in seen:
        assert len(message.text) <= 2000
        times = [at for at, _ in message.edits]
        for at, first in enumerate(times):
            assert sum(first <= other < first + 0.5 for other in times[at:]) <= 5
        texts = [text for _, text in message.edits]
        assert all(a != b for a, b in itertools.pairwise(texts)), "no idle edits"
    said = " ".join(message.text for message in seen)
    assert [f"word{n}" for n in range(3000)] == said.split()
    fake.window = 5.0


async def test_too_many_requests_only_delay_the_answer(home: House) -> None:
    ann, fake = await home.person(), home.discord
    home.says(calls(call("lamps_wait")), "Through at last.")
    await ann.says("wait for it then go on")
    await home.answer(ann.dm, "lamps_wait")
    fake.refuse_edits, before = 3, len(fake.too_many)
    GATE.event.set()
    await home.answer(ann.dm, "Through at last.")
    assert len(fake.too_many) == before + 3
    assert len(fake.by_bot(ann.dm)) == 1


async def test_progress_is_one_line_that_changes(home: House) -> None:
    ann = await home.person()
    home.says(calls(call("lamps_wait")), "Open.")
    await ann.says("please wait for the gate again")
    seen = await home.answer(ann.dm, "half way")
    assert seen.text == "-# ⏳ `lamps_wait` 50% · half way"
    GATE.event.set()
    await home.answer(ann.dm, "Open.")
    assert seen.text == "-# ✓ `lamps_wait`\nOpen."
    assert len(home.discord.by_bot(ann.dm)) == 1


async def test_code_stays_whole_and_tables_become_code(home: House) -> None:
    ann = await home.person()
    code = "```python\n" + "print('a line of code')\n" * 60 + "```"
    home.says(f"{'Words before. ' * 60}\n\n{code}\n\n| a | b |\n| - | - |\n| 1 | two |")
    await ann.says("show me that long program please")
    await home.answer(ann.dm, "two")
    texts = [seen.text for seen in home.discord.by_bot(ann.dm)]
    assert all(text.count("```") % 2 == 0 for text in texts)
    assert sum("```python" in text for text in texts) == 1
    assert "a  b\n-  ---\n1  two" in texts[-1]


async def test_nothing_an_answer_says_pings_links_or_loads(home: House) -> None:
    ann = await home.person()
    home.says("Hi @everyone <@1> [safe](https://evil.test/?q=secret) ![x](https://evil.test/p.png)")
    await ann.says("repeat what the page said to me")
    seen = await home.answer(ann.dm, "evil.test")
    assert "@everyone" not in seen.text
    assert "<@1>" not in seen.text
    assert "](" not in seen.text
    assert "<https://evil.test/?q=secret>" in seen.text
    assert (
        seen.doc["allowed_mentions"] == {"parse": []} or seen.doc["allowed_mentions"]["parse"] == []
    )
    assert seen.doc["flags"] & 4


async def test_an_answer_that_fails_says_so_and_what_to_do(home: House) -> None:
    ann = await home.person()
    await ann.slash("lamps", "fail")
    await home.answer(ann.dm, "Change its battery")
