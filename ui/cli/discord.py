"""`jarvis discord`: the bot in a process of its own, and a code that links your account."""

import typer

app = typer.Typer(help="Jarvis on Discord; alone, it runs the bot until stopped.")


@app.callback(invoke_without_command=True)
def discord(context: typer.Context) -> None:
    """Run the bot; the token is JARVIS_DISCORD_TOKEN. `jarvis up` runs it too when that is set."""
    if context.invoked_subcommand is not None:
        return
    from ui.discord.run import alone

    alone()


@app.command()
def link() -> None:
    """Print a code that links your Discord account to the administrator of this machine."""
    from ui.cli.operator import run as run_async
    from ui.cli.run_tool import run_tool

    run_async(lambda: run_tool("discord_link", [], as_json=False))
