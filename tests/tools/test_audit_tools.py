"""The audit tools over what the executor wrote: denials are lines too."""

import pytest

from nebula.app import App
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import ApprovalRequired, NotFound, PermissionDenied
from nebula.tool.render import to_markdown
from tools.audit.schemas import AuditFound, AuditVerified


async def test_every_way_a_call_is_refused_is_a_line(
    app: App, admin: Principal, client: Principal
) -> None:
    calls = [
        (client, "users_list", {}, PermissionDenied),
        (admin, "no_such_tool", {}, NotFound),
        (admin, "users_create", {"name": "bob", "role": "viewer"}, ApprovalRequired),
    ]
    for number, (who, name, arguments, refusal) in enumerate(calls):
        caller = Caller(who, Surface.REST, session_id="s1")
        with pytest.raises(refusal):
            await app.executor.execute(name, arguments, caller=caller, call_id=f"c{number}")
    found = await app.executor.execute(
        "audit_search", {"session_id": "s1"}, caller=Caller(admin, Surface.REST), call_id="look"
    )
    assert isinstance(found, AuditFound)
    assert [(line.principal, line.tool, line.outcome) for line in reversed(found.lines)] == [
        ("client", "users_list", "permission_denied"),
        ("admin", "no_such_tool", "not_found"),
        ("admin", "users_create", "approval_required"),
    ]
    assert "permission users:read" in to_markdown(found.render())


async def test_the_log_is_verified_in_a_sentence(app: App, admin: Principal) -> None:
    caller = Caller(admin, Surface.REST)
    await app.executor.execute("users_list", {}, caller=caller, call_id="c1")
    checked = await app.executor.execute("audit_verify", {}, caller=caller, call_id="c2")
    assert isinstance(checked, AuditVerified)
    assert to_markdown(checked.render()).startswith("The audit log is intact (1 lines")
    assert checked.report.notes == []
