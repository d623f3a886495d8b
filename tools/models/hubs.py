"""Searching the hubs, and showing one model wherever it is from."""

import asyncio
from typing import TYPE_CHECKING

from nebula.errors import InvalidInput, NebulaError, NotFound
from nebula.services.folders import ModelKind
from nebula.services.map import ServiceSpec
from nebula.services.sizes import gigabytes
from tools.models.civitai import CivitAI
from tools.models.huggingface import HuggingFace
from tools.models.inventory import list_models
from tools.models.offer import Offer
from tools.models.ollama import OllamaModels
from tools.models.places import services_named
from tools.models.reference import Reference, Source, read_reference
from tools.models.schemas import FoundModel, ModelCard, ModelEntry, ModelFile, SearchReport
from tools.models.settings import ModelsSettings

if TYPE_CHECKING:
    from nebula.tool.context import Context

Hub = HuggingFace | CivitAI

OLLAMA_NOTE = (
    "Ollama has no search of its own: its models are listed at ollama.com/library, and any GGUF "
    "model of Hugging Face can be downloaded as hf.co/owner/name:Q4_K_M."
)


def hub_of(ctx: "Context", source: Source) -> Hub:
    """Return the client of a hub."""
    settings = ctx.settings(ModelsSettings)
    if source is Source.CIVITAI:
        return CivitAI(ctx.http, settings)
    return HuggingFace(ctx.http, settings)


async def search(
    ctx: "Context", query: str, source: Source | None, kind: ModelKind | None, limit: int
) -> SearchReport:
    """Ask the hubs at once; one that fails becomes a note.

    Raises:
        NebulaError: when none of them answered.
    """
    if source is Source.OLLAMA:
        raise InvalidInput("Ollama's models cannot be searched", hint=OLLAMA_NOTE)
    sources = [source] if source else [Source.HUGGINGFACE, Source.CIVITAI]
    asked = (hub_of(ctx, each).search(query, kind, limit) for each in sources)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    found: list[FoundModel] = []
    notes: list[str] = []
    failed: list[NebulaError] = []
    for answer in answers:
        if isinstance(answer, NebulaError):
            failed.append(answer)
            notes.append(f"{answer}.")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += [_found(offer) for offer in answer]
    if len(failed) == len(sources):
        raise failed[0]
    if source is None and kind is None:
        notes.append(OLLAMA_NOTE)
    return SearchReport(query=query, found=found, notes=notes)


def _found(offer: Offer) -> FoundModel:
    return FoundModel(
        source=offer.source.value,
        id=offer.id,
        name=offer.name,
        creator=offer.creator,
        kind=offer.kind_name or (offer.kind.value if offer.kind else ""),
        base_model=offer.base_model,
        downloads=offer.downloads,
        likes=offer.likes,
        gated=offer.gated,
        nsfw=offer.nsfw,
        updated=offer.updated,
    )


async def show(ctx: "Context", model: str, source: Source | None, service: str | None) -> ModelCard:
    """Show a model that a service has, or one that a hub offers.

    Raises:
        NotFound: when nothing is called that.
    """
    reference = read_reference(model, source)
    if reference.source in {Source.HUGGINGFACE, Source.CIVITAI} and service is None:
        if source is None and (card := await _installed(ctx, model, None)) is not None:
            return card
        return card_of(await hub_of(ctx, reference.source).show(reference))
    card = await _installed(ctx, reference.id, service)
    if card is None:
        raise NotFound(
            f"No service has a model called {model[:100]!r}",
            hint="models_list shows what there is; models_search finds what could be fetched.",
        )
    return card


async def _installed(ctx: "Context", model: str, service: str | None) -> ModelCard | None:
    """Show a model that services have; the first of them describes it."""
    specs = services_named(ctx.parts.services, service, None)
    entries = [m for m in (await list_models(ctx, specs)).models if matches(m, model)]
    if not entries:
        return None
    first = entries[0]
    spec = next(s for s in specs if s.name == first.service)
    card = ModelCard(
        source=first.service,
        id=first.name,
        name=first.name,
        kind=first.kind,
        size_gb=first.size_gb,
        where=[f"{m.service} on {m.node}" for m in entries],
    )
    return await _ollama_card(ctx, spec, card) if _is_ollama(ctx, spec) else card


def _is_ollama(ctx: "Context", spec: ServiceSpec) -> bool:
    return spec.kind == "ollama" and not ctx.parts.services.map.simulated(spec)


async def _ollama_card(ctx: "Context", spec: ServiceSpec, card: ModelCard) -> ModelCard:
    server = OllamaModels(ctx.http, spec.name, ctx.parts.services.map.address(spec))
    shown = await server.show(card.id)
    return card.model_copy(
        update={
            "family": shown.family,
            "parameters": shown.parameters,
            "quantization": shown.quantization,
            "context_length": shown.context_length,
            "capabilities": list(shown.capabilities),
            "license": shown.license,
        }
    )


def matches(entry: ModelEntry, name: str) -> bool:
    """Say whether a model of the list has exactly this name; a file's folders may be left out."""
    forms = {entry.name, entry.name.removesuffix(":latest"), entry.name.rpartition("/")[2]}
    return name.strip() in forms


def card_of(offer: Offer) -> ModelCard:
    """Return what a hub offers as a card."""
    return ModelCard(
        source=offer.source.value,
        id=offer.id,
        name=offer.name,
        page=offer.page,
        creator=offer.creator,
        kind=offer.kind_name or (offer.kind.value if offer.kind else ""),
        version=" ".join(w for w in (offer.version[:12], offer.version_name) if w),
        versions=list(offer.versions),
        base_model=offer.base_model,
        license=offer.license,
        trained_words=list(offer.trained_words),
        tags=list(offer.tags),
        gated=offer.gated,
        nsfw=offer.nsfw,
        downloads=offer.downloads,
        files=[
            ModelFile(
                name=f.name,
                size_gb=gigabytes(f.size),
                kind=f.kind.value if f.kind else "",
                checksum=bool(f.sha256 or f.git),
                note=f.note,
            )
            for f in offer.files[:200]
        ],
    )


def named(reference: Reference) -> str:
    """Return a model's name for people."""
    version = f"@{reference.version}" if reference.version else ""
    return f"{reference.id}{version}"
