"""Parameters that several tools of workflows take."""

from typing import Annotated, Any

from pydantic import Field

from tools.workflows.reading import LONGEST

WorkflowName = Annotated[
    str, Field(min_length=1, max_length=60, description="The workflow's name, or its id wfl_…")
]
Definition = Annotated[
    str,
    Field(
        max_length=LONGEST,
        description="YAML: name, description, inputs, steps (id, tool, with, when, for_each, "
        "repeat, parallel, ask, needs, retry, timeout, on_failure, clean_up), finally, output, "
        "cron, timezone, trigger; `${steps.a.result.x}` passes data on",
    ),
]
Structure = Annotated[
    dict[str, Any] | None,
    Field(description="The same as a structure, in place of the text"),
]
RunId = Annotated[str, Field(min_length=1, max_length=40, description="The run's id wfr_…")]
