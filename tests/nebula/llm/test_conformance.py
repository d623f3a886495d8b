"""Every provider does the same, whatever its protocol: one suite for all of them.

Command mode is one of them. Where a case means nothing for it, the case says why.
What only happens between us and a server is in test_faults.py.
"""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from nebula.db.engine import Database
from nebula.errors import UpstreamRejected
from nebula.llm.failure import ContextOverflow
from tests.fakes.scripted import Script, call, calls, empty, overflow, say
from tests.nebula.llm.lab import (
    CALLING,
    HELP,
    MALFORMED,
    NOTHING,
    TOOLS,
    UNCLEAR,
    UNKNOWN,
    Case,
    answering,
    ask,
    every_provider,
    every_provider_but_command,
    fake,
    other,
    over,
    stream,
)


@every_provider
async def test_it_answers_and_names_who_answered(kind: str, database: Database) -> None:
    async with answering(kind, database, HELP) as router:
        answer = await ask(router, HELP.said)
        (total,) = await router.usage.totals()
    assert len(answer.text.splitlines()) > 2
    assert answer.response_metadata["provider"] == kind
    assert answer.response_metadata["model_name"] in {"llama3.2:3b", "gpt-test", "command"}
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata["input_tokens"] > 0) == (kind != "command")
    assert (total.provider, total.calls, total.failures) == (kind, 1, 0)


@every_provider
async def test_it_streams_piece_by_piece_what_it_says_unstreamed(
    kind: str, database: Database
) -> None:
    async with answering(kind, database, HELP, times=2) as router:
        heard, whole = await stream(router, HELP.said), await ask(router, HELP.said)
    assert heard.text == whole.text
    assert len([chunk for chunk in heard.chunks if chunk.text]) > 3
    assert heard.message.response_metadata == whole.response_metadata
    assert heard.message.usage_metadata == whole.usage_metadata


@every_provider
@pytest.mark.parametrize("streamed", [True, False])
async def test_it_calls_a_tool_with_typed_arguments(
    kind: str, database: Database, streamed: bool
) -> None:
    async with answering(kind, database, CALLING) as router:
        said = CALLING.said
        answer = (await stream(router, said)).message if streamed else await ask(router, said)
    (made,) = answer.tool_calls
    assert (made["name"], made["args"]) == ("services_logs", {"service": "ollama", "lines": 20})
    assert made["id"]
    assert not answer.invalid_tool_calls
    assert not answer.text


@every_provider
async def test_a_tool_result_leads_to_an_answer(kind: str, database: Database) -> None:
    history = [
        HumanMessage(CALLING.said),
        AIMessage("", tool_calls=[{"name": "services_logs", "args": {}, "id": "c1"}]),
        ToolMessage("all is calm", tool_call_id="c1", name="services_logs"),
    ]
    async with answering(kind, database, Case("", say("The log says: all is calm"))) as router:
        model = router.model("small", caller=None).bind_tools(TOOLS)
        answer = await model.ainvoke(history)
    assert "all is calm" in answer.text
    assert not answer.tool_calls


@every_provider
@pytest.mark.parametrize("case", [UNKNOWN, UNCLEAR, NOTHING], ids=lambda case: repr(case.said))
async def test_what_nobody_can_act_on_is_answered_in_words_and_calls_nothing(
    kind: str, database: Database, case: Case
) -> None:
    async with answering(kind, database, case) as router:
        answer = await ask(router, case.said)
    assert answer.text.strip()
    assert not answer.tool_calls and not answer.invalid_tool_calls


@every_provider
async def test_a_value_that_cannot_be_read_reaches_no_tool(kind: str, database: Database) -> None:
    async with answering(kind, database, MALFORMED) as router:
        answer = await ask(router, MALFORMED.said)
    assert answer.text.strip(), "it asks back"
    assert not answer.tool_calls and not answer.invalid_tool_calls


@every_provider_but_command("it makes one call of a sentence")
@pytest.mark.parametrize("streamed", [True, False])
async def test_it_calls_tools_in_parallel(kind: str, database: Database, streamed: bool) -> None:
    reply = calls(("gpu_status", {}), ("jobs_list", {"limit": 3}))
    async with over(database, **{kind: fake(kind, Script(reply))}) as router:
        answer = (await stream(router)).message if streamed else await ask(router)
    assert [(c["name"], c["args"]) for c in answer.tool_calls] == [
        ("gpu_status", {}),
        ("jobs_list", {"limit": 3}),
    ]
    assert not answer.invalid_tool_calls


@every_provider_but_command("there is no request in which tools and results could travel")
async def test_tools_and_their_results_travel_to_the_model(kind: str, database: Database) -> None:
    app = fake(kind, Script(say("It is idle.")))
    history = [
        HumanMessage("gpu?"),
        AIMessage("", tool_calls=[{"name": "gpu_status", "args": {"limit": 1}, "id": "c1"}]),
        ToolMessage("idle", tool_call_id="c1", name="gpu_status"),
    ]
    async with over(database, **{kind: app}) as router:
        model = router.model("small", caller=None).bind_tools(TOOLS)
        assert (await model.ainvoke(history)).text == "It is idle."
    (request,) = app.server.requests
    assert [m["role"] for m in request.messages] == ["user", "assistant", "tool"]
    assert request.tools == [tool["function"]["name"] for tool in TOOLS]


@every_provider_but_command("its words are the program's own")
async def test_text_of_any_script_and_any_line_end_arrives_whole(
    kind: str, database: Database
) -> None:
    text = "Grüße, 你好 🎬\u2028next\x85line\r\nend"
    async with over(database, **{kind: fake(kind, Script(say(text)))}) as router:
        assert (await stream(router)).text == text


@every_provider_but_command("it checks values itself and asks the person, see below")
async def test_malformed_arguments_are_repaired_once(kind: str, database: Database) -> None:
    with Script(call("gpu_status", "{broken"), call("gpu_status", {"limit": 2})) as script:
        async with over(database, **{kind: fake(kind, script)}) as router:
            answer = await ask(router)
    assert [c["args"] for c in answer.tool_calls] == [{"limit": 2}]
    complaint = script.requests[1].last["content"]
    assert "gpu_status" in complaint or "broken" in complaint


@every_provider_but_command("it checks values itself and asks the person")
async def test_malformed_arguments_twice_are_a_clear_error(kind: str, database: Database) -> None:
    bad = call("gpu_status", "[1, 2")
    with Script(bad, bad) as script:
        async with over(database, **{kind: fake(kind, script)}) as router:
            with pytest.raises(UpstreamRejected, match="arguments that cannot be read"):
                await ask(router)


@every_provider_but_command("it always says something, and nobody comes after it")
async def test_an_empty_answer_is_asked_for_again_and_then_elsewhere(
    kind: str, database: Database
) -> None:
    with Script(empty(), empty()) as first, Script(say("Here")) as second:
        fakes = {kind: fake(kind, first), other(kind): fake(other(kind), second)}
        async with over(database, **fakes) as router:
            assert (await ask(router)).text == "Here"


@every_provider_but_command("it has no context that could overflow")
async def test_an_overflow_is_a_typed_error(kind: str, database: Database) -> None:
    with Script(overflow()) as script:
        async with over(database, **{kind: fake(kind, script)}) as router:
            with pytest.raises(ContextOverflow):
                await ask(router)


@every_provider_but_command("it has no context that could overflow")
async def test_an_overflow_tries_a_provider_that_may_read_more(
    kind: str, database: Database
) -> None:
    fakes = {
        kind: fake(kind, Script(overflow())),
        other(kind): fake(other(kind), Script(say("ok"))),
    }
    async with over(database, **fakes) as router:
        assert (await ask(router)).text == "ok"
