"""The documents say what is true: their links lead somewhere, their commands exist."""

import re
from pathlib import Path

import pytest

from docs.generate import ROOT

PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "knowledge/docs").glob("*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_links_only_to_what_exists(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [t.split("#")[0] for t in targets if not re.match(r"[a-z]+:", t)]
    missing = [t for t in local if t and not t.startswith("/") and not (page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("command", ["run", "test", "check", "bench", "docs"])
def test_the_makefile_has_the_commands_that_the_documents_name(command: str) -> None:
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_threat_model_names_tests_that_exist() -> None:
    text = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
    assert len(named) >= 20, "each risk has the test that covers it"
    missing = [f"{p}::{t}" for p, t in named if f"def {t}(" not in (ROOT / p).read_text()]
    assert missing == []
