"""Give a task to several agents, see how far they are, and stop what goes on."""

from typing import Annotated

from pydantic import Field

from nebula.auth.principal import Surface
from nebula.errors import Conflict, PermissionDenied, WaitsFor
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.agents.board_opening import MOST_MEMBERS, Asked
from tools.agents.board_schemas import Board, Mode, Stopped, how_far
from tools.agents.boards import Boards
from tools.agents.parameters import AgentName
from tools.agents.stopping import stop_runs_of

_LONGEST_MINUTES = 24 * 60

Task = Annotated[str, Field(min_length=3, max_length=2000, description="What they shall do")]
Names = Annotated[
    list[AgentName],
    Field(min_length=1, max_length=MOST_MEMBERS, description="Names of agents, in their order"),
]
How = Annotated[
    Mode, Field(description="together, or chain: each gets the reports of those before it")
]
Joiner = Annotated[
    str | None, Field(max_length=60, description="Another agent that joins the reports")
]
HowMany = Annotated[
    int | None, Field(ge=1, le=MOST_MEMBERS, description="How many have to succeed; else all")
]
ForAll = Annotated[
    bool, Field(description="Let all come to an end, even when enough have succeeded")
]
Minutes = Annotated[
    float, Field(gt=0, le=_LONGEST_MINUTES, description="How long the whole may take")
]


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.KEYED,
    rest="POST /agents/boards",
    background=True,
    outside=True,
    timeout=120,  # it only opens the board, and reads it again at its end
    selectors={"agents": Kind.WORDS, "join": Kind.WORDS, "task": Kind.WORDS},
    says=[
        "(ask|let) [the] agents {agents} (to|work on) {task}",
        "(give|hand) [the] agents {agents} the task [to] {task}",
    ],
    examples=[
        "let morning-report and service-watch find out why the renders are slow",
        "ask three agents and have one of them sum it up",
        "have the triage agent look first and hand over to the fixer",
    ],
)
async def agents_orchestrate(  # noqa: PLR0917 - models pass them by name
    ctx: Context,
    task: Task,
    agents: Names,
    mode: How = "together",
    join: Joiner = None,
    at_least: HowMany = None,
    *,
    wait: ForAll = True,
    minutes: Minutes = 60.0,
) -> Board:
    """Give one task to several agents, at once or one after another, and collect their reports.

    Each works as an ordinary run under its own rights and limits, and no more than yours. Its job
    fails when fewer succeed than have to; the board has what each reported all the same.
    """
    if ctx.caller.surface is Surface.SCHEDULE and ctx.caller.agent is not None:
        raise PermissionDenied("An agent does not start agents.")
    asked = Asked(
        cause=ctx.call_id,
        job_id=ctx.caller.job_id,
        task=task,
        agents=agents,
        mode=mode,
        join=join,
        at_least=at_least,
        wait=wait,
        minutes=minutes,
    )
    board = await Boards(ctx.parts).open(ctx.caller, asked)
    if board.state == "open":
        # The job needs no worker until the board has ended; then it comes here again.
        raise WaitsFor(board.id, how_far(board.members))
    if board.state != "done":
        # The reports there are stay on the board; the job says that it did not come off.
        raise Conflict(board.outcome, hint=f"Say: show board {board.id}")
    return board


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /agents/boards/{board}",
    says=["(show|read) [me] [the] board [{board}]", "how far are [the|my] agents"],
    examples=["show the board", "what have the agents found out together"],
)
async def agents_get_board(
    ctx: Context,
    board: Annotated[
        str, Field(max_length=60, description="Its id brd_… or its job's; the newest if left out")
    ] = "",
) -> Board:
    """Show the shared board of a task given to several agents: who is how far, and the reports."""
    return await Boards(ctx.parts).get(ctx.principal, board)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    rest="POST /agents/stop",
    selectors={"which": Kind.WORDS},
    says=[
        "(stop|cancel|abort) [the] (run|runs|work) of [the] agent {which}",
        "(stop|cancel|abort) [the] (agent run|agent|board) {which}",
    ],
    examples=["stop what the morning-report agent is doing", "cancel all agents of that board"],
)
async def agents_stop(
    ctx: Context,
    which: Annotated[
        str, Field(min_length=1, max_length=60, description="A run, an agent, or a board")
    ],
) -> Stopped:
    """Stop a run of an agent, all runs it has, or everybody who works on a board."""
    if ctx.caller.surface is Surface.SCHEDULE and ctx.caller.agent is not None:
        raise PermissionDenied("An agent does not stop agents.")
    if which.startswith(("brd_", "job_")):
        stopped = await Boards(ctx.parts).cancel(ctx.principal, which)
        return Stopped(runs=stopped, boards=1)
    return Stopped(runs=await stop_runs_of(ctx.parts, ctx.principal, which), boards=0)
