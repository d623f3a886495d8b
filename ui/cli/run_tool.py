"""Runs one tool from the terminal, asking for approval where the policy says so."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from nebula.errors import ApprovalRequired, NebulaError
from nebula.markup.text import json_line
from ui.cli.approve import ask_person, draw_card, interactive
from ui.cli.arguments import typed_arguments
from ui.cli.operator import Seat, seated
from ui.cli.show import console, show_blocks

if TYPE_CHECKING:
    from nebula.tool.approvals import Answer
    from nebula.tool.result import Result


async def run_tool(
    name: str,
    pairs: Sequence[str] = (),
    *,
    document: str = "",
    as_json: bool,
    call_id: str = "",
    detach: bool = False,
    approve: bool = False,
) -> None:
    """Run a tool and show its result; one that became a job is followed, unless detached.

    With `approve` the operator has said yes on the command line already.
    """
    from nebula.jobs.job import JobHandle

    async with seated() as seat:
        arguments = typed_arguments(seat.app.parts.registry.get(name), pairs, document)
        result = await run_asking(seat, name, arguments, call_id=call_id, approve=approve)
        if isinstance(result, JobHandle):
            from ui.cli.jobs import follow_handle

            await follow_handle(seat, result, detach=detach, as_json=as_json)
        elif as_json:
            sys.stdout.write(json_line(result.model_dump(mode="json")) + "\n")
        else:
            show_blocks(result.render(), console())


async def run_asking(
    seat: Seat,
    name: str,
    arguments: Mapping[str, Any],
    *,
    call_id: str = "",
    approve: bool = False,
) -> "Result":
    """Run a tool; when it needs a decision and a person is there, ask and go on.

    Raises:
        ApprovalRequired: when nobody can be asked.
        NebulaError: as the tool says.
    """
    call_id = call_id or f"cli-{uuid4().hex[:16]}"
    caller = replace(seat.caller, progress=_progress)
    try:
        return await seat.app.executor.execute(name, arguments, caller=caller, call_id=call_id)
    except ApprovalRequired as waiting:
        if approve:
            await _say_yes(seat, waiting.approval_id)
        elif interactive():
            await decide_here(seat, waiting.approval_id)
        else:
            raise _left_waiting(waiting, call_id) from waiting
        return await seat.app.executor.execute(name, arguments, caller=caller, call_id=call_id)


async def decide_here(seat: Seat, approval_id: str) -> None:
    """Show the question and record the person's answer."""
    approvals = seat.app.parts.approvals
    card = await approvals.get(approval_id, seat.caller.principal)
    err = console(error=True)
    shown = card.model_dump(mode="json")
    draw_card(shown, err)
    decision, comment = ask_person(shown, err)
    await _decide(seat, approval_id, decision, comment)


async def _say_yes(seat: Seat, approval_id: str) -> None:
    await _decide(seat, approval_id, "approve", "--yes")


async def _decide(seat: Seat, approval_id: str, decision: "Answer", comment: str) -> None:
    await seat.app.parts.approvals.decide(
        approval_id,
        decision=decision,
        by=seat.caller.principal,
        surface=seat.caller.surface,
        comment=comment,
    )


def _left_waiting(waiting: ApprovalRequired, call_id: str) -> NebulaError:
    told = ApprovalRequired(waiting.approval_id, str(waiting))
    told.hint = (
        f"Run 'jarvis approvals approve {waiting.approval_id}', "
        f"then the same command with --call-id {call_id}."
    )
    return told


async def _progress(fraction: float | None, message: str) -> None:
    if sys.stderr.isatty():
        share = "" if fraction is None else f"{fraction:4.0%} "
        console(error=True).print(f"{share}{message}", style="dim")
