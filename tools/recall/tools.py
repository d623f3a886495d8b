"""Tools over what Jarvis remembers of the person who talks."""

from typing import Annotated

from pydantic import Field

from memory.recall.store import Recall
from nebula.policy.labels import Label, tainted
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.recall.schemas import ForgottenMemory, Memories, Saved


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    rest="POST /recall",
    selectors={"text": Kind.WORDS},
    says=[
        "[please] remember [that|this] {text}",
        "[please] (keep|bear) in mind that {text}",
        "note [down] that {text}",
    ],
    examples=[
        "remember that my GPU is an RTX 3060",
        "don't forget that I prefer short answers",
        "keep in mind that backups run at three at night",
        "my dog is called Rex, remember that",
    ],
)
async def recall_save(
    ctx: Context,
    text: Annotated[
        str,
        Field(description="One fact, in a sentence", min_length=1, max_length=2000),
    ],
) -> Saved:
    """Remember a fact about the person who talks, for later conversations."""
    label = Label.OUTSIDE if tainted(ctx.caller.labels) else Label.USER
    memory, new = await Recall(ctx.parts.db, ctx.parts.embedder).save(ctx.principal, text, label)
    return Saved(memory=memory, new=new)


@tool(
    effect=Effect.READ,
    rest="GET /recall",
    outside=True,
    says=[
        "what do you (know|remember) about me",
        "what do you remember [about {query}]",
        "what did I (tell you|say) about {query}",
        "do you remember {query}",
        "(list|show) [me] [all] [my] (memories|remembered facts)",
    ],
    examples=[
        "what do you know about me?",
        "what did I tell you about my dog",
        "do you remember which GPU I have",
        "show my memories",
    ],
)
async def recall_search(
    ctx: Context,
    query: Annotated[
        str, Field(description="What the fact is about; everything when left out", max_length=1000)
    ] = "",
    limit: Annotated[int, Field(description="How many facts", ge=1, le=200)] = 20,
) -> Memories:
    """Find what was remembered about the person who talks; without a question, list it all."""
    recall = Recall(ctx.parts.db, ctx.parts.embedder)
    if query:
        found = await recall.search(ctx.principal, query, limit=limit)
    else:
        found = await recall.newest(ctx.principal, limit=limit)
    return Memories(query=query, memories=found)


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="DELETE /recall/{memory}",
    selectors={"memory": Kind.WORDS},
    says=[
        "forget (that|about|what) {memory}",
        "(stop remembering|do not remember) [that] {memory}",
        "(delete|remove) the memory [about] {memory}",
    ],
    examples=[
        "forget that my GPU is an RTX 3060",
        "forget what I said about my dog",
        "delete the memory about my birthday",
    ],
)
async def recall_forget(
    ctx: Context,
    memory: Annotated[
        str,
        Field(
            description="A memory's id, its words, or what it is about",
            min_length=1,
            max_length=2000,
        ),
    ],
) -> ForgottenMemory:
    """Forget one fact about the person who talks."""
    forgotten = await Recall(ctx.parts.db, ctx.parts.embedder).forget(ctx.principal, memory)
    return ForgottenMemory(text=forgotten.text, label=forgotten.label)
