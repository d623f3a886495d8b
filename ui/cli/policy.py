"""The terminal's way to the policy: explain it, check its file, show what holds."""

from typing import Annotated

import typer

app = typer.Typer(help="What is allowed to whom, and why.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]


@app.command()
def explain(
    tool: Annotated[str, typer.Argument(help="The tool's name; see 'jarvis tools'")],
    role: Annotated[str, typer.Option(help="Only this role")] = "",
    door: Annotated[str, typer.Option(help="Only this door, such as chat, mcp or schedule")] = "",
    as_json: Json = False,
) -> None:
    """Say what the policy answers for a tool, to every role at every door."""
    from ui.cli.operator import run

    run(lambda: _explain(tool, role, door, as_json=as_json))


@app.command()
def check() -> None:
    """Read the policy file and name every mistake in it."""
    from nebula.errors import InvalidInput
    from nebula.policy.rules_file import load_rules
    from nebula.tool.registry import Registry
    from nebula.yaml_file import BadFile
    from ui.cli.operator import read_settings
    from ui.cli.show import console

    path = read_settings().policy
    registry = Registry.discover("tools", "graphs")
    try:
        load_rules(path, {t.name for t in registry}, {t.feature for t in registry})
    except BadFile as bad:
        raise InvalidInput(f"{path}: {bad}", hint="The rules read last stay in force.") from bad
    said = "is good" if path.exists() else "is not there: the built-in rules hold"
    console().print(f"{path} {said}.")


@app.command()
def show(as_json: Json = False) -> None:
    """Show whether everything is paused, the rules in force, and today's limits."""
    from ui.cli.operator import run
    from ui.cli.run_tool import run_tool

    run(lambda: run_tool("policy_status", [], as_json=as_json))


async def _explain(tool: str, role: str, door: str, *, as_json: bool) -> None:
    from nebula.auth.principal import Role, Surface
    from nebula.policy.matrix import CASES, answer
    from nebula.policy.rules_file import load_rules
    from nebula.tool.registry import Registry
    from nebula.tool.result import Table
    from ui.cli.operator import read_settings
    from ui.cli.records import write_json
    from ui.cli.show import console, show_blocks

    registry = Registry.discover("tools", "graphs")
    named = registry.get(tool)
    features = {each.feature for each in registry}
    rules = load_rules(read_settings().policy, {each.name for each in registry}, features)
    found = [
        (r.value, s.value, case, answer(named, r, s, case, rules))
        for r in Role
        for s in Surface
        for case in CASES
        if role in {"", r.value} and door in {"", s.value}
    ]
    if as_json:
        names = ("role", "door", "case", "verdict", "rule", "reason")
        write_json(
            [
                dict(zip(names, (*facts, said.verdict.value, said.rule, said.reason), strict=True))
                for *facts, said in found
            ]
        )
        return
    columns = ["role", "door", "who chooses", "verdict", "rule", "why"]
    rows = [[*facts, said.verdict.value, said.rule, said.reason] for *facts, said in found]
    show_blocks([Table(columns=columns, rows=rows)], console())
