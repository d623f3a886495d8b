"""Tools over what was taken in: add, search, list, forget, embed."""

from typing import Annotated

from pydantic import Field

from knowledge.answer import passages
from knowledge.library import Visibility
from knowledge.manual import manual_there
from knowledge.search import Filters, Search
from knowledge.shelves import forget, list_documents
from knowledge.sources import SourceKind
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.knowledge import service
from tools.knowledge.previews import forget_preview, forget_versions
from tools.knowledge.schemas import AddReport, Answer, DocumentList, Embedding, Forgotten

Name = Annotated[
    str,
    Field(
        description="A collection's name; 'default' when the person names none",
        min_length=1,
        max_length=60,
        pattern=r"^[\w][\w .-]*$",
    ),
]


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.IDEMPOTENT,
    rest="POST /knowledge",
    timeout=900.0,
    selectors={"source": Kind.PLACE, "visibility": Kind.CHOICE},
    egress=["source"],
    says=[
        "(add|put|load|import|take) [the] [file|folder|page|url|repo|repository] {source} "
        "(to|into|in) [my|the] (knowledge|documents|library|knowledge base)",
        "(learn|index|ingest) [the] [file|folder|page|url|repo|repository] {source}",
        "add [the] (file|folder|page|url|repo|repository) {source}",
        "read {source} into [my|the] knowledge",
    ],
    examples=[
        "add https://docs.comfy.org/get_started to knowledge",
        "learn my notes folder",
        "index the repository https://github.com/comfyanonymous/ComfyUI",
        "put manual.pdf into my documents",
        "remember this page: https://example.com/guide",
        "import all PDFs of the inbox",
        "update what you know from the wiki folder",
    ],
)
async def knowledge_add(
    ctx: Context,
    source: Annotated[
        str,
        Field(
            description="A path inside an allowed folder (relative: in the inbox), a web address, "
            "or a git repository (https, ssh or path)",
            min_length=1,
            max_length=2000,
        ),
    ],
    kind: Annotated[
        SourceKind | None,
        Field(description="What the source is; found out when left out"),
    ] = None,
    collection: Name = "default",
    visibility: Annotated[
        Visibility | None,
        Field(
            description="Who finds it: private (the person alone, as when left out), role (people "
            "of the same role and administrators), everyone"
        ),
    ] = None,
) -> AddReport:
    """Take a file, folder, web page or git repository into knowledge, so that it can be asked about.

    Reads Markdown, text, code, HTML, PDF and docx. What is known already is left alone; adding
    a source again updates what changed.
    """
    return await service.add(ctx, source, kind, collection, visibility)


@tool(
    effect=Effect.READ,
    rest="GET /knowledge/search",
    outside=True,
    timeout=120.0,
    says=[
        "(search|look|find) [in|through] [my|the] (documents|notes|knowledge|files|library|docs) "
        "(for|about) {query}",
        "(find|look up|search for|search) {query} in [my|the] "
        "(documents|notes|knowledge|files|library|docs|manual)",
        "what (do|does) (my|the) (documents|notes|knowledge|files|docs|manual) say about {query}",
        "what does [the] [file|document] {source} say about {query}",
        "how (do|can|would|should) (I|we|you) {query}",
        "how to {query}",
        "(explain|show me|tell me) how to {query}",
        "(search knowledge for|look up) {query}",
    ],
    examples=[
        "how do I connect ComfyUI?",
        "how can I add another machine",
        "search my documents for the router password policy",
        "what do my notes say about the backup plan",
        "what does the manual say about approvals",
        "where is it documented how sessions end",
        "find the passage about CUDA out of memory",
        "which of my files mention the coffee machine",
        "look up how leases work",
        "answer from my documents: when does the warranty end",
    ],
)
async def knowledge_search(
    ctx: Context,
    query: Annotated[
        str,
        Field(description="What to look for, in plain words", min_length=1, max_length=1000),
    ],
    *,
    collection: Annotated[
        str | None, Field(description="Only this collection; 'manual' is the product's manual")
    ] = None,
    kind: Annotated[
        str | None, Field(description="Only this kind: markdown, text, code, html, pdf, docx")
    ] = None,
    source: Annotated[
        str | None, Field(description="Only documents with this in their name or address")
    ] = None,
    owner: Annotated[
        str | None, Field(description="Only documents of this person; 'me' for one's own")
    ] = None,
    limit: Annotated[int, Field(description="How many passages", ge=1, le=20)] = 5,
) -> Answer:
    """Answer a question from the documents and the product's manual, with citations.

    Finds passages by meaning and by words among what the person may read, best first.
    """
    await manual_there(ctx.parts)
    found, documents = await passages(
        Search(ctx.parts.db, ctx.parts.embedder),
        query,
        ctx.principal,
        filters=Filters(collection=collection, kind=kind, source=source, owner=owner),
        limit=limit,
    )
    return Answer(query=query, passages=found, documents=documents)


@tool(
    effect=Effect.READ,
    rest="GET /knowledge",
    outside=True,
    says=[
        "(list|show) [me] [all] [my|the] (documents|knowledge|files in knowledge)",
        "what (documents|files) do you (know|have)",
        "what is in [my|the] (knowledge|library|knowledge base)",
        "(list|show) [my|the] documents (about|named|called) {containing}",
        "(list|show) [the] collection {collection}",
    ],
    examples=[
        "which documents have you read",
        "what is in my knowledge",
        "list everything added from the wiki",
        "show the pages of the manual",
    ],
)
async def knowledge_list(
    ctx: Context,
    collection: Annotated[
        str | None, Field(description="Only this collection; 'manual' lists the product's manual")
    ] = None,
    containing: Annotated[
        str | None, Field(description="Only documents with this in their title or source")
    ] = None,
    limit: Annotated[int, Field(description="How many at once", ge=1, le=500)] = 50,
    offset: Annotated[int, Field(description="How many to pass over", ge=0, le=1_000_000)] = 0,
) -> DocumentList:
    """List the documents in knowledge that the person may read, newest first."""
    documents, total = await list_documents(
        ctx.parts.db,
        ctx.principal,
        collection=collection,
        containing=containing,
        limit=limit,
        offset=offset,
    )
    return DocumentList(documents=documents, total=total)


@tool(
    effect=Effect.DESTRUCTIVE,
    outside=True,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="DELETE /knowledge/{document}",
    selectors={"document": Kind.PLACE},
    preview=forget_preview,
    versions=forget_versions,
    says=[
        "(forget|remove|delete) [the] (document|file|folder|page|repository) {document}",
        "(forget|remove|delete) {document} from [my|the] (knowledge|documents|library)",
    ],
    examples=[
        "remove old-notes.md from knowledge",
        "forget the document about the old router",
        "delete the wiki folder from my documents",
    ],
)
async def knowledge_forget(
    ctx: Context,
    document: Annotated[
        str,
        Field(
            description="A document's id, title, file name or source; or the folder, repository "
            "or address it was added from",
            min_length=1,
            max_length=2000,
        ),
    ],
) -> Forgotten:
    """Remove a document, or everything that came with a folder or repository, from knowledge."""
    return Forgotten(sources=await forget(ctx.parts.db, ctx.principal, document))


@tool(
    effect=Effect.READ,
    rest="POST /knowledge/embed",
    says=["embed [the] [text] {text}", "(make|give me) [a|the] (vector|embedding) (of|for) {text}"],
    examples=["turn this sentence into a vector", "compute the embedding of a text"],
)
async def knowledge_embed(
    ctx: Context,
    text: Annotated[
        str, Field(description="The text to turn into a vector", min_length=1, max_length=10_000)
    ],
) -> Embedding:
    """Turn a text into the vector that knowledge searches by."""
    vectors = await ctx.parts.embedder.embed([text])
    return Embedding(
        model=ctx.parts.embedder.name,
        dimension=ctx.parts.embedder.dimension,
        vector=[round(float(value), 6) for value in vectors[0]],
    )
