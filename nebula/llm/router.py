"""Decides which model answers: tiers, providers in order, breakers, and command mode last."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

from nebula.auth.principal import Caller
from nebula.errors import Conflict, InvalidInput, NebulaError, NotFound, UpstreamUnavailable
from nebula.llm.choices import ModelChoices
from nebula.llm.choose import TIERS, Tier, choose
from nebula.llm.failure import AttemptFailed, Why
from nebula.llm.place import Place
from nebula.llm.provider import AUTO, COMMAND, Provider, Ref
from nebula.llm.settings import LlmSettings
from nebula.llm.status import ProviderStatus, RouterStatus, TierStatus
from nebula.llm.usage import Usage
from nebula.secrets.redact import hide
from nebula.settings import Settings

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

    from nebula.db.engine import Database
    from nebula.llm.answering import Candidate

Evicted = Callable[[], Awaitable[Collection[str]]]
"""Says which models (`provider:model`) gave their GPU to something else."""
Using = Callable[[str, str, Caller | None], AbstractAsyncContextManager[None]]
"""Holds a provider's model for a caller, as long as the context lasts."""
MakeCommandModel = Callable[[Caller | None], "BaseChatModel"]

log = structlog.get_logger(__name__)

_TICK: Final = 0.5
_FIRST_LOOK: Final = 15.0


class Router:
    """Hands out chat models; use it inside `async with router.running():`."""

    def __init__(
        self,
        settings: Settings,
        providers: Sequence[Provider],
        db: "Database",
        *,
        limits: LlmSettings | None = None,
        command: MakeCommandModel | None = None,
        evicted: Evicted | None = None,
        using: Using | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the providers in the order they are preferred."""
        self.limits = limits or LlmSettings()
        self.usage = Usage(db)
        self._places = {p.name: Place(p, self.limits, clock=clock) for p in providers}
        self._configured: dict[str, list[Ref]] = {t: _configured(settings, t) for t in TIERS}
        self._rows = ModelChoices(db)
        self._choices: dict[str, str] = {}
        self._command = command
        self._ask_evicted = evicted
        self._using = using
        self._evicted: frozenset[str] = frozenset()
        self._clock = clock
        self._read_at: float | None = None
        self._looked = asyncio.Event()

    def model(self, tier: str, *, caller: Caller | None) -> "BaseChatModel":
        """Return a tier's chat model; it ends in command mode when nobody else answers."""
        from nebula.llm.routed import RoutedChatModel

        return RoutedChatModel.over(self, tier, caller)

    def command_model(self, caller: Caller | None) -> "BaseChatModel | None":
        """Return command mode as a chat model."""
        return self._command(caller) if self._command else None

    @asynccontextmanager
    async def using(self, provider: str, model: str, caller: Caller | None) -> AsyncIterator[None]:
        """Hold a model while it answers, so that its card is not taken away meanwhile.

        Raises:
            AttemptFailed: when its card does not become free in time.
        """
        async with AsyncExitStack() as stack:
            if self._using is not None:
                try:
                    await stack.enter_async_context(self._using(provider, model, caller))
                except Conflict as error:
                    raise AttemptFailed(Why.NO_MEMORY, str(error)) from error
            yield

    async def candidates(self, tier: str) -> list["Candidate"]:
        """Return the models to ask now, best first; those that are away or evicted are left out."""
        from nebula.llm.answering import Candidate

        if not self._looked.is_set():
            await self._first_look()
        return [
            Candidate(self._places[ref.provider], ref.model)
            for ref in self._order(tier)
            if self._usable(ref)
        ]

    async def embed(self, texts: Sequence[str]) -> tuple[str, list[list[float]]]:
        """Turn texts into vectors with the embed tier; return which model made them.

        Raises:
            UpstreamUnavailable: when no provider has an embedding model; there is no fallback
                to a model of other dimensions.
        """
        hidden = [hide(text) for text in texts]
        for candidate in await self.candidates("embed"):
            try:
                async with self.using(candidate.place.name, candidate.model, None):
                    vectors = await candidate.place.provider.embed(candidate.model, hidden)
            except AttemptFailed as failure:
                candidate.place.note(candidate.model, failure)
                continue
            return f"{candidate.place.name}:{candidate.model}", vectors
        raise UpstreamUnavailable("No embedding model answers")

    async def status(self) -> RouterStatus:
        """Describe every provider and tier."""
        if not self._looked.is_set():
            await self._first_look()
        tiers = [self._tier_status(tier) for tier in TIERS]
        return RouterStatus(
            providers=[_provider_status(place) for place in self._places.values()],
            tiers=tiers,
            evicted=sorted(self._evicted),
        )

    async def switch(self, tier: str, choice: str, *, by: str = "") -> None:
        """Choose a tier's model: `provider:model`, `auto` or `command`, for every process.

        Raises:
            InvalidInput: when the tier or the spelling is unknown.
            NotFound: when the provider is not set up or does not have this model.
        """
        if tier not in TIERS:
            raise InvalidInput(f"There is no tier {tier!r}", hint=f"Tiers: {', '.join(TIERS)}.")
        choice = choice.strip()
        if choice not in (AUTO, COMMAND):
            self._check(choice)
        await self._rows.write(tier, choice, by=by)
        self._choices = await self._rows.read()

    def evict(self, *models: str) -> None:
        """Note at once that models gave their GPU away, before the next look would tell."""
        self._evicted |= frozenset(models)

    def restore(self, *models: str) -> None:
        """Note at once that models are back."""
        self._evicted -= frozenset(models)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Router"]:
        """Look after the providers and write usage until the block ends."""
        work = asyncio.create_task(self._work(), name="llm-router")
        work.add_done_callback(_tell)
        try:
            yield self
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            with contextlib.suppress(NebulaError):
                await self.usage.flush()
            for place in self._places.values():
                await place.provider.aclose()

    async def refresh(self) -> None:
        """Do one round of the background work: probes, choices, evictions, usage."""
        exchange = self._exchange_due()
        due = [place.look() for place in self._places.values() if place.due]
        await asyncio.gather(*due, *([self._follow()] if exchange else []))
        self._looked.set()
        if exchange:
            with contextlib.suppress(NebulaError):  # what is away now is asked again
                await self.look_for_evictions()
            with contextlib.suppress(NebulaError):
                await self.usage.flush()

    def _exchange_due(self) -> bool:
        at = self._clock()
        if self._read_at is not None and at - self._read_at < self.limits.refresh_seconds:
            return False
        self._read_at = at
        return True

    async def _follow(self) -> None:
        """Read the choices that any process made; without a database the last ones stay."""
        with contextlib.suppress(NebulaError):
            self._choices = await self._rows.read()

    async def _work(self) -> None:
        await self.refresh()
        up = [place.provider for place in self._places.values() if place.breaker.closed]
        await asyncio.gather(*(asyncio.to_thread(provider.warm) for provider in up))
        while True:
            await asyncio.sleep(_TICK)
            await self.refresh()

    async def _first_look(self) -> None:
        """Wait for the first look; one that is down ends it after its connect time-out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK):
                await self._looked.wait()

    async def look_for_evictions(self) -> None:
        """Ask now which models gave their GPU to something else."""
        if self._ask_evicted is not None:
            self._evicted = frozenset(await self._ask_evicted())

    def _order(self, tier: str) -> list[Ref]:
        choice = self._choices.get(tier, AUTO)
        if choice == COMMAND:
            return []
        usual = self._configured.get(tier) or self._found(tier)
        first = [] if choice == AUTO else [Ref.parse(choice)]
        return list(dict.fromkeys([*first, *usual]))

    def _found(self, tier: str) -> list[Ref]:
        return [
            Ref(place.name, name)
            for place in self._places.values()
            for name in choose(_tier(tier), place.models)
        ]

    def _usable(self, ref: Ref) -> bool:
        place = self._places.get(ref.provider)
        return place is not None and place.ready(ref.model) and str(ref) not in self._evicted

    def _check(self, choice: str) -> None:
        try:
            ref = Ref.parse(choice)
        except ValueError:
            raise InvalidInput(
                f"{choice!r} is not a model", hint="Say provider:model, auto or command."
            ) from None
        place = self._places.get(ref.provider)
        if place is None:
            raise NotFound(
                f"No provider {ref.provider!r} is set up",
                hint=f"There is {', '.join(self._places) or 'none'}.",
            )
        names = [model.name for model in place.models]
        if place.breaker.closed and names and ref.model not in names:
            raise NotFound(
                f"{ref.provider} does not have {ref.model}", hint=f"It has {', '.join(names[:20])}."
            )

    def _tier_status(self, tier: str) -> TierStatus:
        order = self._order(tier)
        active = next((str(ref) for ref in order if self._usable(ref)), "")
        if not active and tier != "embed" and self._command is not None:
            active = COMMAND
        return TierStatus(
            tier=tier,
            choice=self._choices.get(tier, AUTO),
            active=active,
            order=[str(ref) for ref in order],
        )


def _tell(work: "asyncio.Task[None]") -> None:
    """Log a bug that ended the background work: providers would never be looked at again."""
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("the router's background work ended", exc_info=error)


def _tier(name: str) -> Tier:
    for tier in TIERS:
        if tier == name:
            return tier
    raise InvalidInput(f"There is no tier {name!r}", hint=f"Tiers: {', '.join(TIERS)}.")


def _configured(settings: Settings, tier: str) -> list[Ref]:
    """Read a tier's ordered list, separated by commas."""
    text = str(getattr(settings, f"model_{tier}"))
    try:
        return [Ref.parse(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InvalidInput(
            f"JARVIS_MODEL_{tier.upper()}: {error}",
            hint="Write provider:model, e.g. ollama:llama3.2:3b.",
        ) from error


def _provider_status(place: Place) -> ProviderStatus:
    up = place.breaker.closed
    return ProviderStatus(
        name=place.name,
        address=place.provider.address,
        state="up" if up else "down",
        models=[model.name for model in place.models],
        error=place.error,
        latency_ms=None if place.latency is None else round(place.latency * 1000, 1),
        retry_in_seconds=None
        if place.breaker.probe_in is None
        else round(place.breaker.probe_in, 1),
    )
