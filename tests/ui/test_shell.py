"""The page's outer HTML."""

import base64
import hashlib
import re

from docs.generate import ROOT
from ui.chat import shell

PAGE = """<!doctype html><html><head><title>x</title>
<link rel="preconnect" href="https://fonts.googleapis.com" />
<link
  rel="stylesheet"
  href="https://cdn.jsdelivr.net/npm/katex/dist/katex.min.css"
/>
<link rel="icon" href="/favicon" />
<script>window.theme = {};</script>
<script type="module" src="/assets/index.js"></script></head><body></body></html>"""


def test_links_to_other_hosts_are_gone_and_our_own_stay() -> None:
    html = shell.clean(PAGE)
    assert "https://" not in html
    assert 'href="/favicon"' in html


def test_the_policy_names_the_hash_of_every_inline_script_and_allows_no_other() -> None:
    html = shell.clean(PAGE)
    digest = base64.b64encode(hashlib.sha256(b"window.theme = {};").digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in shell.policy(html).split("; "))
    assert f"'sha256-{digest}'" in rules["script-src"]
    assert "'unsafe-inline'" not in rules["script-src"]


def test_the_policy_lets_the_page_reach_this_server_only() -> None:
    rules = dict(rule.split(" ", 1) for rule in shell.policy("").split("; "))
    assert rules["default-src"] == "'self'"
    assert rules["img-src"] == "'self' data: blob:"
    assert not any("http" in value or "*" in value for value in rules.values())


def test_our_elements_put_no_address_into_a_page_but_paths_of_this_server() -> None:
    sources = [path.read_text() for path in (ROOT / "ui/public/elements").glob("*.jsx")]
    used = [
        found
        for text in sources
        for found in re.findall(
            r"\b(?:src|href|srcSet|poster|action|data)=({.*?}|\"[^\"]*\")", text
        )
    ]
    assert used, "this test would see nothing"
    assert [found for found in used if not found.startswith(("{`/", '"/'))] == []
    for text in sources:
        assert "dangerouslySetInnerHTML" not in text
        assert (
            re.findall(
                r"fetch\((?!`/[^/]|`\$\{path\}|\"/[^/]|url\))|EventSource\((?!`/[^/]|`\$\{path\})",
                text,
            )
            == []
        )
