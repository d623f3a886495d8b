"""What the audit tools return."""

from collections.abc import Sequence

from nebula.policy.labels import Label
from nebula.tool.audit.log import AuditLine
from nebula.tool.audit.verify import AuditReport
from nebula.tool.render import as_text, escape
from nebula.tool.result import Block, Markdown, Result, Table


class AuditFound(Result):
    """Lines of the log, newest first."""

    lines: list[AuditLine]
    next: int | None = None
    """Give it as `before` for the lines that come next; None at the end."""

    def render(self) -> Sequence[Block]:
        """Show them as a table."""
        if not self.lines:
            return [Markdown(text="No line of the audit log fits.")]
        columns = ["line", "at", "who", "door", "tool", "outcome", "what"]
        rows = [
            [
                str(line.seq),
                line.at[:19].replace("T", " "),
                line.principal,
                line.surface,
                line.tool,
                line.outcome,
                as_text(line.detail.get("arguments") or line.detail or ""),
            ]
            for line in self.lines
        ]
        more = [] if self.next is None else [Markdown(text=f"More: before={self.next}.")]
        return [Table(columns=columns, rows=rows), *more]


class AuditVerified(Result):
    """Whether the log is as it was written."""

    report: AuditReport

    def render(self) -> Sequence[Block]:
        """Say it in a sentence, then everything that is wrong or worth knowing."""
        report = self.report
        held = f"{report.lines} lines, held against {report.anchors} anchors"
        state = "intact" if report.intact else "**not intact**"
        told = [f"- {escape(line)}" for line in (*report.problems, *report.notes)]
        return [Markdown(text="\n".join([f"The audit log is {state} ({held}).", *told]))]

    def origin(self) -> Label:
        """Say that it quotes names from the log only where something is wrong."""
        return Label.SYSTEM if self.report.intact else Label.OUTSIDE
