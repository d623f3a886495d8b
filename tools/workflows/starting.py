"""Says in words what starts a workflow, by its definition alone. Pure."""

from nebula.jobs.schedules.timing import cron_of
from nebula.jobs.schedules.words import in_words
from tools.workflows.spec import Spec


def starts(spec: Spec) -> str:
    """Return its times, its event, or that somebody starts it."""
    if spec.cron is not None:
        return in_words(cron_of(spec.cron, spec.timezone))
    return f"on {spec.trigger.event}" if spec.trigger is not None else "when it is started"
