"""Models on disk, from wherever they come, for whichever service."""

from typing import Annotated

from pydantic import Field

from nebula.policy.selectors import Kind
from nebula.services.folders import ModelKind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.models import fetching, hubs, inventory, removal
from tools.models.places import services_named
from tools.models.previews import delete_preview, delete_versions
from tools.models.reference import Source
from tools.models.schemas import (
    DeleteReport,
    DownloadReport,
    ModelCard,
    ModelList,
    SearchReport,
)

Service = Annotated[
    str | None,
    Field(max_length=200, description="The service that keeps it, such as ollama or comfyui"),
]
Node = Annotated[str | None, Field(max_length=80, description="Only services of this node")]
From = Annotated[
    Source | None,
    Field(description="Where it is from; found out from the name when left out"),
]
FileKind = Annotated[
    ModelKind | None, Field(description="What a file is for; found out when left out")
]

_DAY = 24 * 3600.0


@tool(
    effect=Effect.READ,
    rest="GET /models",
    outside=True,
    timeout=60.0,
    says=[
        "(list|show) [me] [all] [the|my|installed] models [of {service}] [on {node}]",
        "(which|what) models (do i have|are there|are installed|are on disk) [on {node}]",
        "(list|show) [me] [all] [the|my] (loras|checkpoints|vaes) [of {service}]",
        "how (big|large) are (my|the) models",
    ],
    examples=[
        "list my models",
        "which models are installed",
        "show all checkpoints and LoRAs on disk",
        "how much disk do my models take",
        "which LLMs does Ollama have",
        "are there unfinished downloads",
    ],
)
async def models_list(
    ctx: Context, service: Service = None, node: Node = None, kind: FileKind = None
) -> ModelList:
    """List every model on disk of every service and node: kind, size, where, loaded, VRAM."""
    await ctx.parts.services.refresh()
    specs = services_named(ctx.parts.services, service, node)
    return await inventory.list_models(ctx, specs, kind)


@tool(
    effect=Effect.READ,
    rest="GET /models/search",
    outside=True,
    public=True,
    timeout=60.0,
    says=[
        "(search|look) [for] [a|the] model[s] (named|called|like|for) {query} "
        "[(on|at|in) {source}]",
        "(search|look on|look at) (hugging face|civitai) for {query}",
        "find [me] [a] (model|lora|checkpoint) (for|like|called) {query} [(on|at) {source}]",
    ],
    examples=[
        "search Hugging Face for SDXL Turbo",
        "find a LoRA for pixel art on CivitAI",
        "is there a model for anime line art",
        "look for a small embedding model to download",
        "which GGUF versions of Mistral are there",
    ],
)
async def models_search(
    ctx: Context,
    query: Annotated[str, Field(min_length=1, max_length=200, description="Words to look for")],
    source: From = None,
    kind: FileKind = None,
    limit: Annotated[int, Field(ge=1, le=50, description="How many per source")] = 10,
) -> SearchReport:
    """Search Hugging Face and CivitAI for models to download; Ollama has no search."""
    return await hubs.search(ctx, query, source, kind, limit)


@tool(
    effect=Effect.READ,
    rest="GET /models/show",
    outside=True,
    timeout=60.0,
    says=[
        "(show|describe) [me] [the] model {model} [(on|from|of) {source}]",
        "(what|which) (files|versions) does [the] model {model} have",
        "tell me about [the] model {model}",
        "what is the (licence|license|context length|size) of [the] [model] {model}",
    ],
    examples=[
        "show the model llama3.1:8b",
        "which files does stabilityai/stable-diffusion-xl-base-1.0 have",
        "what licence does this checkpoint have",
        "which trigger words does civitai:12345 know",
        "what is the context length of llama3.1:8b",
    ],
)
async def models_show(
    ctx: Context,
    model: Annotated[
        str,
        Field(
            min_length=1,
            max_length=400,
            description="An installed model's name, owner/name of Hugging Face, civitai:NUMBER, "
            "or a page's address",
        ),
    ],
    source: From = None,
    service: Service = None,
) -> ModelCard:
    """Show one model: size, quantization, context, licence, versions, trigger words, files."""
    await ctx.parts.services.refresh()
    return await hubs.show(ctx, model, source, service)


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.IDEMPOTENT,
    rest="POST /models",
    selectors={
        "model": Kind.MODEL,
        "source": Kind.CHOICE,
        "file": Kind.PATH,
        "service": Kind.SERVICE,
        "node": Kind.NODE,
        "name": Kind.PATH,
    },
    timeout=_DAY,
    background=True,
    says=[
        "(download|pull|fetch|get) [the] model {model} [from {source}] [(for|into) {service}] "
        "[on {node}]",
        "ollama pull {model}",
        "install [the] model {model} [(for|into|in) {service}] [on {node}]",
        "(download|pull|fetch) [the] (lora|checkpoint|vae) {model} [from {source}] "
        "[(for|into) {service}]",
    ],
    examples=[
        "download the model llama3.2:3b",
        "pull mistral into Ollama",
        "download stabilityai/sdxl-turbo for ComfyUI",
        "get the LoRA civitai:12345",
        "install the model hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M",
        "go on with the download that broke off",
    ],
)
async def models_download(
    ctx: Context,
    model: Annotated[
        str,
        Field(
            min_length=1,
            max_length=400,
            description="llama3.2:3b (Ollama), owner/name or owner/name@revision (Hugging Face), "
            "civitai:NUMBER or civitai:NUMBER@VERSION, or a page's address",
        ),
    ],
    *,
    source: From = None,
    file: Annotated[
        str | None,
        Field(
            max_length=300,
            description="Which file of it; a pattern such as unet/* takes several, in a folder",
        ),
    ] = None,
    kind: FileKind = None,
    service: Service = None,
    node: Node = None,
    name: Annotated[
        str | None, Field(max_length=200, description="The file's name on disk, when not its own")
    ] = None,
) -> DownloadReport:
    """Download a model into Ollama or the right folder of ComfyUI or SD WebUI, and check it.

    What broke off goes on where it stopped; what is there already is not fetched again.
    """
    await ctx.parts.services.refresh()
    return await fetching.download(
        ctx,
        model,
        source=source,
        file=file or None,
        kind=kind,
        service=service,
        node=node,
        name=name or None,
    )


@tool(
    effect=Effect.DESTRUCTIVE,
    outside=True,
    kind=EffectKind.IDEMPOTENT,
    rest="DELETE /models",
    selectors={
        "model": Kind.MODEL,
        "service": Kind.SERVICE,
        "node": Kind.NODE,
        "force": Kind.CHOICE,
    },
    preview=delete_preview,
    versions=delete_versions,
    timeout=120.0,
    says=[
        "(delete|remove|uninstall) [the] model {model} [(from|of) {service}] [on {node}]",
        "ollama rm {model}",
        "delete [the] (lora|checkpoint|vae) {model} [(from|of) {service}]",
    ],
    examples=[
        "delete the model llama3.2:3b",
        "remove the old checkpoint from disk",
        "uninstall mistral from Ollama",
        "make room on the disk by deleting a model",
        "throw away the unfinished download",
    ],
)
async def models_delete(
    ctx: Context,
    model: Annotated[
        str, Field(min_length=1, max_length=400, description="Its exact name, as models_list says")
    ],
    service: Service = None,
    node: Node = None,
    force: Annotated[bool, Field(description="Unload it first when it is loaded")] = False,
) -> DeleteReport:
    """Delete one model from a service's disk; refuse while it is loaded."""
    await ctx.parts.services.refresh()
    return await removal.delete(ctx, model, service, node, force=force)
