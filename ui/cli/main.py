"""The command `jarvis`. Nothing heavy is imported before a command runs, so help comes at once."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from nebula.errors import NebulaError
from ui.cli import audit, backup, discord, gpu, node, policy, secrets
from ui.cli.exits import STOPPED, code_of, tell

app = typer.Typer(
    name="jarvis",
    help="Nebula Command: one assistant for your machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
approvals_app = typer.Typer(help="See and decide what waits for a person.", no_args_is_help=True)
users_app = typer.Typer(help="People who may sign in.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys for programs.", no_args_is_help=True)
jobs_app = typer.Typer(help="Work in the background; alone, it lists the jobs.")
new_app = typer.Typer(help="Write the beginning of something.", no_args_is_help=True)
app.add_typer(approvals_app, name="approvals")
app.add_typer(users_app, name="user")
app.add_typer(keys_app, name="key")
app.add_typer(audit.app, name="audit")
app.add_typer(backup.app, name="backup")
app.command("restore")(backup.restore)
app.add_typer(jobs_app, name="jobs")
app.add_typer(new_app, name="new")
app.add_typer(node.app, name="node")
app.add_typer(gpu.app, name="gpu")
app.add_typer(discord.app, name="discord")
app.add_typer(policy.app, name="policy")
app.add_typer(secrets.app, name="secrets")

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]
ApprovalId = Annotated[str, typer.Argument(help="The approval's id, apr_…")]
JobId = Annotated[str, typer.Argument(help="The job's id, job_…")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for a job to end")]
Comment = Annotated[str, typer.Option(help="A word about why")]


class RoleName(StrEnum):
    """The roles; a copy of the kernel's, so that help needs no kernel."""

    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"
    CLIENT = "client"


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to bind to")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind to")] = None,
    redis: Annotated[bool, typer.Option("--redis", help="Start an embedded Valkey too")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser")] = False,
) -> None:
    """Start everything and print one link."""
    from ui.cli.up import Wishes
    from ui.cli.up import up as start

    start(Wishes(host=host, port=port, redis=redis, browser=not no_browser))


@app.command()
def worker(
    jobs: Annotated[
        int | None, typer.Option(min=1, max=64, help="Jobs at once; else JARVIS_WORKERS")
    ] = None,
) -> None:
    """Run jobs in this process, beside or instead of those that 'jarvis up' runs."""
    from ui.cli.worker import worker as work

    work(jobs)


@app.command()
def chat(
    message: Annotated[str, typer.Argument(help="Say this and leave; empty to converse")] = "",
    session: Annotated[str | None, typer.Option(help="Go on with this session")] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="A new session in which Jarvis only looks")
    ] = False,
) -> None:
    """Talk to Jarvis; Ctrl-C stops what he is doing."""
    from ui.cli.chat import chat as talk
    from ui.cli.operator import run as run_async

    outcome = run_async(lambda: talk(message, session, read_only=read_only))
    raise typer.Exit({"answered": 0, "waiting": 3}.get(outcome, 1))


@app.command()
def run(  # noqa: PLR0917 - typer passes them by name
    tool: Annotated[str, typer.Argument(help="The tool's name; see 'jarvis tools'")],
    arg: Annotated[list[str] | None, typer.Option("--arg", "-a", help="key=value")] = None,
    json_args: Annotated[str, typer.Option(help="All arguments as one JSON object")] = "",
    call_id: Annotated[str, typer.Option(help="Repeat a call that waited for approval")] = "",
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Run one tool. Exit codes: 2 arguments, 3 waits, 4 denied, 5 not found, 6 conflict, 75 later."""
    from ui.cli.operator import run as run_async
    from ui.cli.run_tool import run_tool

    work = run_tool(
        tool, arg or [], document=json_args, as_json=as_json, call_id=call_id, detach=detach
    )
    run_async(lambda: work)


@app.command()
def tools(
    search: Annotated[str, typer.Option(help="Words that name, text or examples hold")] = "",
    as_json: Json = False,
) -> None:
    """List the tools."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import list_tools

    run_async(lambda: list_tools(search, as_json=as_json))


@app.command()
def pause(
    reason: Annotated[str, typer.Argument(help="Why, for whoever asks later")] = "",
    as_json: Json = False,
) -> None:
    """Stop every side effect at once, in every process."""
    from ui.cli.operator import run as run_async
    from ui.cli.run_tool import run_tool

    arguments = [f"reason={reason}"] if reason else []
    run_async(lambda: run_tool("policy_pause", arguments, as_json=as_json))


@app.command()
def resume(as_json: Json = False) -> None:
    """Let side effects happen again."""
    from ui.cli.operator import run as run_async
    from ui.cli.run_tool import run_tool

    run_async(lambda: run_tool("policy_resume", as_json=as_json))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is there, what is missing, and the next step."""
    from ui.cli.doctor import doctor as examine
    from ui.cli.operator import run as run_async

    raise typer.Exit(0 if run_async(lambda: examine(as_json=as_json)) else 1)


@app.command()
def migrate() -> None:
    """Bring the database to this version."""
    from nebula.db.migrate import migrate as upgrade
    from nebula.db.open import database_addresses
    from ui.cli.operator import read_settings
    from ui.cli.operator import run as run_async

    async def work() -> None:
        async with database_addresses(read_settings()) as found:
            await upgrade(found.owner, app=found.app)
        typer.echo("The database is at the newest version.")

    run_async(work)


@approvals_app.command("list")
def approvals_list(
    state: Annotated[
        str, typer.Option(help="pending, approved, denied, used, expired, withdrawn, all")
    ] = "pending",
    as_json: Json = False,
) -> None:
    """List approvals."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import list_approvals

    run_async(lambda: list_approvals(state=state, as_json=as_json))


@approvals_app.command("watch")
def approvals_watch() -> None:
    """Show what waits, live, and ask about each; Ctrl-C leaves."""
    from ui.cli.approvals import watch
    from ui.cli.operator import run as run_async

    run_async(watch)


@approvals_app.command("show")
def approvals_show(approval_id: ApprovalId, as_json: Json = False) -> None:
    """Show one with every argument."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import show_approval

    run_async(lambda: show_approval(approval_id, as_json=as_json))


@approvals_app.command("approve")
def approvals_approve(
    approval_id: ApprovalId, comment: Comment = "", as_json: Json = False
) -> None:
    """Approve one."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import decide_approval

    run_async(lambda: decide_approval(approval_id, "approve", comment, as_json=as_json))


@approvals_app.command("deny")
def approvals_deny(approval_id: ApprovalId, comment: Comment = "", as_json: Json = False) -> None:
    """Deny one."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import decide_approval

    run_async(lambda: decide_approval(approval_id, "deny", comment, as_json=as_json))


@approvals_app.command("request-changes")
def approvals_request_changes(
    approval_id: ApprovalId,
    comment: Annotated[str, typer.Argument(help="What should change, in your own words")],
    as_json: Json = False,
) -> None:
    """Say what should change first; the call does not run, and Jarvis proposes another."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import decide_approval

    run_async(lambda: decide_approval(approval_id, "request_changes", comment, as_json=as_json))


@users_app.command("list")
def user_list(as_json: Json = False) -> None:
    """List users."""
    from ui.cli.operator import run as run_async
    from ui.cli.run_tool import run_tool

    run_async(lambda: run_tool("users_list", as_json=as_json))


@users_app.command("create")
def user_create(name: str, role: RoleName = RoleName.VIEWER, as_json: Json = False) -> None:
    """Create a user and print a one-time sign-in link."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import create_user

    run_async(lambda: create_user(name, role.value, as_json=as_json))


@users_app.command("link")
def user_link(name: str, as_json: Json = False) -> None:
    """Print a fresh one-time sign-in link."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import user_link as link

    run_async(lambda: link(name, as_json=as_json))


@users_app.command("disable")
def user_disable(name: str, as_json: Json = False) -> None:
    """Lock an account; its sign-ins and keys end within a second."""
    from ui.cli.operator import run as run_async
    from ui.cli.run_tool import run_tool

    arguments = [f"user={name}", "enabled=false"]
    run_async(lambda: run_tool("users_update", arguments, as_json=as_json))


@keys_app.command("create")
def key_create(  # noqa: PLR0917 - typer passes them by name
    name: Annotated[str, typer.Option(help="What it is for")],
    role: Annotated[RoleName, typer.Option(help="The most it may do")] = RoleName.VIEWER,
    user: Annotated[str, typer.Option(help="Whose key; the administrator's if left out")] = "",
    days: Annotated[
        float | None, typer.Option(help="How long it lives; left out, for good")
    ] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Only this, e.g. gpu:read")] = None,
    as_json: Json = False,
) -> None:
    """Make an API key; it is shown once."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import create_key

    run_async(lambda: create_key(name, role.value, user, days, scope or [], as_json=as_json))


@keys_app.command("list")
def key_list(as_json: Json = False) -> None:
    """List the live keys."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import list_keys

    run_async(lambda: list_keys(as_json=as_json))


@keys_app.command("revoke")
def key_revoke(key_id: str, as_json: Json = False) -> None:
    """End a key."""
    from ui.cli.operator import run as run_async
    from ui.cli.records import revoke_key

    run_async(lambda: revoke_key(key_id, as_json=as_json))


@jobs_app.callback(invoke_without_command=True)
def jobs(
    context: typer.Context,
    state: Annotated[str, typer.Option(help="queued, running, succeeded, failed, …")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many")] = 20,
    as_json: Json = False,
) -> None:
    """List the jobs, newest first."""
    if context.invoked_subcommand is not None:
        return
    from ui.cli.jobs import list_jobs
    from ui.cli.operator import run as run_async

    run_async(lambda: list_jobs(state, limit=limit, as_json=as_json))


@jobs_app.command("follow")
def jobs_follow(job_id: JobId, as_json: Json = False) -> None:
    """Show a job's progress until it ends, then its result."""
    from ui.cli.jobs import follow
    from ui.cli.operator import run as run_async

    run_async(lambda: follow(job_id, as_json=as_json))


@jobs_app.command("cancel")
def jobs_cancel(job_id: JobId, as_json: Json = False) -> None:
    """Stop a job that waits or runs."""
    from ui.cli.jobs import cancel
    from ui.cli.operator import run as run_async

    run_async(lambda: cancel(job_id, as_json=as_json))


@jobs_app.command("retry")
def jobs_retry(job_id: JobId, detach: Detach = False, as_json: Json = False) -> None:
    """Run a job that has ended once more, as a new job."""
    from ui.cli.jobs import retry
    from ui.cli.operator import run as run_async

    run_async(lambda: retry(job_id, detach=detach, as_json=as_json))


@new_app.command("feature")
def new_feature(name: Annotated[str, typer.Argument(help="One lower-case word")]) -> None:
    """Write a feature's folder and its test."""
    from ui.cli.feature import new_feature as write

    for path in write(name):
        typer.echo(path)
    typer.echo(f"Now: python -m pytest tests/tools/test_{name}.py")
    typer.echo("Then 'make docs' writes it into the reference and the catalogue of contracts.")


def main() -> None:
    """Run a command; an error is one line with its next step and a code by its kind."""
    try:
        app()
    except NebulaError as error:
        tell(error, as_json="--json" in sys.argv)
        sys.exit(code_of(error))
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("\nStopped.\n")
        sys.exit(STOPPED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader left: nothing more can be said
        sys.exit(0)


if __name__ == "__main__":
    main()
