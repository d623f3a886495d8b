"""The page's outer HTML: no address outside this server, and a policy that keeps it so."""

import base64
import hashlib
import re
from collections.abc import Callable

_CDN_LINK = re.compile(r"<link\b[^>]*https?://[^>]*>", re.DOTALL)
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)

# Before the bundle runs: follow the system's theme, and paint its background at once.
_BOOT = """<script>
(() => {
  const stored = localStorage.getItem("vite-ui-theme");
  if (!stored) localStorage.setItem("vite-ui-theme", "system");
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const theme = stored === "dark" || stored === "light" ? stored : system;
  document.documentElement.classList.add(theme);
})();
</script>
<meta name="theme-color" content="#0f121a" media="(prefers-color-scheme: dark)">
<meta name="theme-color" content="#ffffff" media="(prefers-color-scheme: light)">
<style>html { background: #fff } html.dark { background: #0f121a }</style>
"""

_POLICY = {
    "default-src": "'self'",
    # Custom elements are JSX that Chainlit compiles in the page: that needs 'unsafe-eval'.
    "script-src": "'self' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    # Plots and plans travel as data: addresses, so that history needs no file store.
    "connect-src": "'self' data:",
    "worker-src": "'self' blob:",
    "manifest-src": "'self'",
    "frame-src": "'none'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
}


def clean(html: str) -> str:
    """Drop links to other hosts and add the boot script."""
    html = _CDN_LINK.sub("", html)
    return html.replace("<head>", f"<head>\n{_BOOT}", 1)


def policy(html: str = "") -> str:
    """Return the Content-Security-Policy that allows this page's inline scripts, and only those."""
    hashes = "".join(f" '{_digest(script)}'" for script in _INLINE_SCRIPT.findall(html))
    rules = {**_POLICY, "script-src": _POLICY["script-src"] + hashes}
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def install() -> Callable[[], str]:
    """Make Chainlit serve the clean shell; return a function that gives the page's policy.

    Chainlit has no setting for its KaTeX style sheet, hence the patch.
    """
    import chainlit.server

    template: Callable[[str], str] = chainlit.server.get_html_template

    def patched(root_path: str) -> str:
        return clean(template(root_path))

    chainlit.server.get_html_template = patched
    return lambda: policy(patched(""))


def _digest(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
