"""Background jobs on Discord: a message each, changed while the job goes on, with its result below."""

import asyncio
import re
from typing import TYPE_CHECKING

import discord
import structlog

from api.jobs import JobSnapshot, snapshot
from nebula.auth.principal import Caller
from nebula.errors import NebulaError, NotAuthenticated, NotFound
from nebula.jobs.job import Job, JobState
from nebula.jobs.record import stream_of
from nebula.markup.text import escape
from tools.discord.followed import Followed, FollowedJobs
from tools.discord.places import ShownTurn
from ui.discord.canvas import NOBODY, Canvas, ChannelCanvas, Gone
from ui.discord.drawing import Pace
from ui.discord.render import code, safe, show
from ui.discord.slash import admitted
from ui.discord.split import split
from ui.discord.turn import TurnView, error_text

if TYPE_CHECKING:
    from ui.discord.client import Bot

log = structlog.get_logger(__name__)

_BUTTON = re.compile(r"^job:(job_[A-Za-z0-9]+):cancel$")
_MOST_OF_A_TURN = 5
_NO_MORE = "*This job is no longer followed here.*"
_SAID = {
    JobState.QUEUED: "🕒 Waiting",
    JobState.RUNNING: "⏳ Running",
    JobState.SUCCEEDED: "✅ Done",
    JobState.FAILED: "❌ Failed",
    JobState.CANCELLED: "⏹️ Cancelled",
    JobState.TIMED_OUT: "❌ Took too long",
    JobState.LOST: "❌ Lost",
    JobState.UNKNOWN: "❓ Outcome unknown",
}


class JobCards:
    """Follows the jobs that were begun on Discord."""

    def __init__(self, bot: "Bot", pace: Pace) -> None:
        """Take the bot, and how often a message may change."""
        self._bot = bot
        self._pace = pace
        self._followed = FollowedJobs(bot.app.parts.db)
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def put(self, view: TurnView, turn: ShownTurn) -> None:
        """Put a message below an answer for each job that it began or that goes on, once."""
        for job_id in view.jobs[:_MOST_OF_A_TURN]:
            if await self._followed.is_known(job_id, turn.channel_id):
                continue
            principal = await self._bot.admission.accounts.principal(turn.discord_id)
            try:
                job = await self._bot.app.parts.jobs.get(job_id, principal)
            except NotFound:
                continue
            if job.state.ended and job_id not in view.begun:
                continue  # the answer shows it already
            # Noted before it is posted, so that a crash between the two leaves no dead message.
            followed = Followed(
                job_id=job_id, channel_id=turn.channel_id, discord_id=turn.discord_id
            )
            await self._followed.note(followed)
            self._begin(followed)

    async def take_up(self) -> None:
        """Go on with what was followed when this program ended."""
        for followed in await self._followed.standing():
            self._begin(followed)

    async def stop(self) -> None:
        """Stop following; the jobs go on, and so do their messages at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, followed: Followed) -> None:
        key = (followed.job_id, followed.channel_id)
        if key in self._tasks:
            return
        name = f"discord-{followed.job_id}"
        task = self._tasks[key] = asyncio.create_task(self._keep(followed), name=name)
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _keep(self, followed: Followed) -> None:
        """Follow a job to its end; what passes is tried again, what does not ends it quietly."""
        while True:
            try:
                await self._follow(followed)
            except Gone as error:
                log.info("discord_job_message_gone", job=followed.job_id, why=str(error))
            except (NebulaError, discord.DiscordException) as error:
                log.warning("discord_job_not_shown", job=followed.job_id, why=str(error))
                await asyncio.sleep(self._pace.sweep)
                continue
            except Exception:
                # The outermost handler of a task nobody waits for.
                log.exception("discord_job_crashed", job=followed.job_id)
                return
            await self._followed.close(followed)
            return

    async def _follow(self, followed: Followed) -> None:
        canvas = ChannelCanvas(await self._channel(followed.channel_id))
        snap = await self._seen(followed)
        if not followed.message_id:
            followed = await self._posted(followed, snap, canvas)
        # Drawn in any case: a post that Discord knew already has its old text.
        shown = ""
        shown = await self._draw(followed, snap, shown, canvas)
        if snap is None or snap.job.state.ended:
            return
        stream = stream_of(followed.job_id)
        async for _ in self._bot.app.parts.events.batches(stream, snap.number):
            snap = await self._seen(followed)
            shown = await self._draw(followed, snap, shown, canvas)
            if snap is None or snap.job.state.ended:
                return
            # What comes meanwhile is told in one piece.
            await asyncio.sleep(self._pace.job)

    async def _posted(
        self, followed: Followed, snap: JobSnapshot | None, canvas: Canvas
    ) -> Followed:
        """Put the message there; soon after a crash, Discord knows the one that was put."""
        content, view = (_NO_MORE, None) if snap is None else drawn(snap.job)
        nonce = followed.job_id[-25:]
        message_id = await canvas.post(content, view=view, nonce=nonce)
        return await self._followed.posted(followed, message_id)

    async def _channel(self, channel_id: str) -> "discord.abc.MessageableChannel":
        try:
            return await self._bot.channel(channel_id)
        except (discord.NotFound, discord.Forbidden) as error:
            raise Gone(str(error)) from error

    async def _seen(self, followed: Followed) -> JobSnapshot | None:
        """Return the job as whoever began it sees it now; None when they see it no more."""
        try:
            principal = await self._bot.admission.accounts.principal(followed.discord_id)
            return await snapshot(self._bot.app.parts, principal, followed.job_id)
        except (NotAuthenticated, NotFound):
            return None

    async def _draw(
        self, followed: Followed, snap: JobSnapshot | None, shown: str, canvas: Canvas
    ) -> str:
        if snap is None:
            await canvas.edit(followed.message_id, _NO_MORE)
            return ""
        content, view = drawn(snap.job)
        if content != shown:
            await canvas.edit(followed.message_id, content, view=view)
        if snap.job.state.ended and snap.blocks:
            await self._show_result(followed, snap, canvas)
        return content

    async def _show_result(self, followed: Followed, snap: JobSnapshot, canvas: Canvas) -> None:
        """Put what a job made below its message, once however often this is tried soon after."""
        result = show(snap.blocks, self._bot.app.parts.settings.link)
        pages = split(result.text) or [""]
        for at, page in enumerate(pages):
            files = result.files if at == len(pages) - 1 else ()
            if page or files:
                await canvas.post(page, files=files, nonce=f"{at}-{followed.job_id[-20:]}")


async def press(bot: "Bot", interaction: discord.Interaction, job_id: str) -> None:
    """Cancel a job for whoever pressed its button: they count, not who began it.

    Raises:
        NebulaError: what to tell whoever pressed it, and nobody else.
    """
    principal = await admitted(bot, interaction)
    if principal is None:
        return
    caller = Caller(principal, bot.surface)
    call_id = f"discord-{interaction.id}"
    await bot.app.executor.execute(
        "jobs_cancel", {"job_id": job_id}, caller=caller, call_id=call_id
    )
    content, view = drawn(await bot.app.parts.jobs.get(job_id, principal))
    await interaction.response.edit_message(content=content, view=view, allowed_mentions=NOBODY)


def pressed(custom_id: str) -> str | None:
    """Return which job a button belongs to, None for another button."""
    found = _BUTTON.match(custom_id)
    return None if found is None else found[1]


def drawn(job: Job) -> tuple[str, discord.ui.View | None]:
    """Return a job's message, with a button while there is something to cancel."""
    stopping = job.cancel_requested and not job.state.ended
    facts = [f"**{'⏹️ Stopping' if stopping else _SAID[job.state]}**", code(job.tool)]
    facts += _facts(job)
    lines = [" · ".join(facts), *_details(job), f"-# {code(job.id)}"]
    view = None if job.state.ended or stopping else _button(job.id)
    return "\n".join(line for line in lines if line), view


def _facts(job: Job) -> list[str]:
    progress = job.progress
    if job.state is JobState.RUNNING:
        facts = []
        if progress.fraction is not None:
            facts.append(f"{progress.fraction:.0%}")
        if progress.steps:
            facts.append(f"step {progress.step or 0} of {progress.steps}")
        if progress.eta_seconds is not None:
            facts.append(f"about {_span(progress.eta_seconds)} left")
        return facts
    if job.started_at is None or job.finished_at is None:
        return []
    return [f"took {_span((job.finished_at - job.started_at).total_seconds())}"]


def _details(job: Job) -> list[str]:
    if job.error is not None:
        return [error_text(job.error)]
    if job.state is JobState.QUEUED:
        said = job.waits_because or "It starts as soon as a worker is free."
    else:
        said = "" if job.state.ended else job.progress.message
    made = [f"-# made {', '.join(map(code, job.artefacts[:10]))}"] if job.artefacts else []
    return [f"-# {safe(escape(' '.join(said.split())[:500]))}" if said else "", *made]


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _button(job_id: str) -> discord.ui.View:
    """Return the button that cancels a job; its id says which, so it works after a restart."""
    view = discord.ui.View(timeout=None)
    button: discord.ui.Button[discord.ui.View] = discord.ui.Button(
        label="Cancel", style=discord.ButtonStyle.secondary, custom_id=f"job:{job_id}:cancel"
    )
    view.add_item(button)
    view.stop()
    return view
