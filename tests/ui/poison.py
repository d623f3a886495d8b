"""A model that plans, runs a tool for, and then says every form of the markup corpus."""

from benchmarks.corpora import markup
from tests.fakes.scripted import ModelRequest, Reply, call, calls

ASKING = "look closely and then show me the poison in every form there is, step by step"
_ANSWER = "\n\n".join(form.text for form in markup()) + "\n\nThat was everything."


def poisoned(request: ModelRequest) -> Reply:
    """Policy: run the tool that returns every form, then say every form."""
    if request.last.get("role") == "tool":
        return Reply(pieces=tuple(_ANSWER[at : at + 211] for at in range(0, len(_ANSWER), 211)))
    if "plan" not in request.tools:
        return call("sample_poison", {})
    steps = [form.text[:180] for form in markup()[:9]]
    return calls(("plan", {"steps": steps}), ("sample_poison", {}))
