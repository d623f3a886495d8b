"""Open the editor in which a workflow is written."""

from typing import Annotated

from pydantic import Field

from nebula.errors import InvalidInput
from nebula.owned import slug
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from tools.workflows.ready import ready_workflow
from tools.workflows.schemas import WorkflowForm
from tools.workflows.service import Workflows


@tool(
    effect=Effect.READ,
    selectors={"workflow": Kind.WORDS, "from_ready": Kind.WORDS},
    says=[
        "(create|make|build|write|add) (a|a new|another) workflow",
        "(new workflow|workflow editor)",
        "(edit|change) [the] workflow {workflow}",
    ],
    examples=["I want to write a workflow", "let me edit the disk workflow in the editor"],
)
async def workflows_compose(
    ctx: Context,
    workflow: Annotated[
        str, Field(max_length=60, description="The workflow to change; empty for a new one")
    ] = "",
    from_ready: Annotated[
        str, Field(max_length=40, description="A ready-made workflow to begin a new one with")
    ] = "",
) -> WorkflowForm:
    """Open the editor for writing a workflow, or for changing one; it changes nothing by itself."""
    if workflow and from_ready:
        raise InvalidInput("Edit a workflow, or begin with a ready-made one: not both at once")
    if from_ready:
        ready_workflow(slug(from_ready))
        return WorkflowForm(workflow=None, from_ready=slug(from_ready))
    if not workflow:
        return WorkflowForm(workflow=None)
    workflows = Workflows(ctx.parts)
    row = await workflows.get(ctx.principal, workflow)
    return WorkflowForm(workflow=await workflows.shown(row))
