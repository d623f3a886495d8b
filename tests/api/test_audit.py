"""The audit tools, and the export, through the doors."""

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from nebula.app import App
from nebula.auth.principal import Role
from nebula.db.engine import Database
from nebula.tool.audit.export import verify_file
from tests.api.conftest import Door


async def test_an_administrator_finds_who_did_what_page_by_page(program: Door) -> None:
    ada, vic = await program(Role.ADMIN), await program(Role.VIEWER)
    for n in range(3):
        await ada.post("/api/tools/sample_look", json={"name": f"thing {n}"})
    refused = await vic.post("/api/tools/sample_write", json={"name": "x"})
    assert refused.status_code == 403
    denied = (await ada.get("/api/audit", params={"outcome": "permission_denied"})).json()
    assert [(line["principal"], line["tool"]) for line in denied["lines"]] == [
        ("viewer-program", "sample_write")
    ]
    first = (await ada.get("/api/audit?tool=sample_look&limit=2")).json()
    rest = (await ada.get(f"/api/audit?tool=sample_look&before={first['next']}")).json()
    names = [line["detail"]["arguments"]["name"] for line in first["lines"] + rest["lines"]]
    assert names == ["thing 2", "thing 1", "thing 0"] and rest["next"] is None
    found = (await ada.post("/api/tools/audit_search", json={"text": "thing 1"})).json()
    assert "thing 1" in json.dumps(found)


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.VIEWER, Role.CLIENT])
async def test_only_administrators_read_the_audit_log(program: Door, role: Role) -> None:
    http = await program(role)
    for path in ("/api/audit", "/api/audit/verify", "/api/audit/export"):
        assert (await http.get(path)).status_code == 403


async def test_tampering_is_told_by_the_tool(program: Door, database: Database) -> None:
    ada = await program(Role.ADMIN)
    await ada.post("/api/tools/sample_look", json={})
    whole = (await ada.post("/api/tools/audit_verify", json={})).json()
    assert whole["report"]["intact"]
    async with database.session() as session:
        await session.execute(text("ALTER TABLE audit_log DISABLE TRIGGER ALL"))
        await session.execute(text("UPDATE audit_log SET payload = replace(payload, 'ok', 'no')"))
    broken = (await ada.get("/api/audit/verify")).json()
    assert not broken["report"]["intact"]
    assert broken["report"]["problems"][0] == "line 1 was changed"


async def test_the_whole_log_is_sent_as_a_file_that_can_be_verified(
    program: Door, app: App, tmp_path: Path
) -> None:
    ada = await program(Role.ADMIN)
    await ada.post("/api/tools/sample_look", json={})
    answer = await ada.get("/api/audit/export")
    file = tmp_path / "audit.jsonl"
    file.write_bytes(answer.content)
    report = verify_file(file)
    assert (report.lines, report.problems) == (3, []), (
        "the key made, the call, and the export itself"
    )
    table = await ada.get("/api/audit/export?as=csv&tool=sample_look")
    assert table.headers["content-type"].startswith("text/csv")
    assert len(table.text.splitlines()) == 2
