"""The small pages this door shows to browsers itself; they work without any other host."""

from html import escape
from importlib.resources import files

from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from nebula.errors import NebulaError

_STYLE = """
:root{color-scheme:light dark;--bg:#f6f8fb;--card:#fff;--ink:#1a2133;--dim:#5b6577;--line:#dde3ec;
--accent:#0d7368;--on:#fff}
@media(prefers-color-scheme:dark){:root{--bg:#0f121a;--card:#161a24;--ink:#e6eaf2;--dim:#95a0b3;
--line:#282e3b;--accent:#4fd1b5;--on:#0c1420}}
body{font:16px/1.5 -apple-system,"Segoe UI",Inter,Roboto,"Noto Sans","Liberation Sans",system-ui,
sans-serif;display:grid;place-items:center;min-height:100vh;margin:0;padding:1rem;
box-sizing:border-box;background:var(--bg);color:var(--ink)}
main{width:min(25rem,100%);box-sizing:border-box;padding:2.25rem 2rem;text-align:center;
background:var(--card);border:1px solid var(--line);border-radius:1.25rem}
h1{font-size:1.45rem;font-weight:650;letter-spacing:-.015em;margin:0 0 .25rem}
p{color:var(--dim);margin:0 0 1.5rem}
button{font:inherit;font-weight:650;width:100%;height:2.875rem;border:0;border-radius:.75rem;
background:var(--accent);color:var(--on);cursor:pointer}
button:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
button.plain{background:transparent;color:var(--ink);border:1px solid var(--line)}
form{display:grid;gap:.75rem}form+form{margin-top:.75rem}
dl{text-align:left;margin:0 0 1.5rem;display:grid;gap:.5rem}
dt{color:var(--dim);font-size:.875rem}
dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}
dd.exact{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.875rem}
main:has(section){width:min(34rem,100%);text-align:left}
main:has(section) h1{font-size:1.2rem;line-height:1.35}
section p{margin:0 0 1rem}code,small{font-size:.8125rem}
small{color:var(--dim);font-family:system-ui,sans-serif;white-space:nowrap}
.warning{padding:.625rem .875rem;border:1px solid var(--line);border-radius:.75rem;
border-left:3px solid #c98a1b;color:var(--ink)}
table{width:100%;border-collapse:collapse;font-size:.875rem;margin:0 0 1.25rem;text-align:left}
caption{text-align:left;font-weight:600;padding:0 0 .25rem}
th,td{padding:.3125rem .5rem .3125rem 0;vertical-align:top;overflow-wrap:anywhere;
border-top:1px solid var(--line)}th{font-weight:400;color:var(--dim)}td:first-child{color:var(--dim)}
hr{border:0;border-top:1px solid var(--line);margin:2rem 0}label{display:grid;gap:.375rem}
button:disabled{opacity:.45;cursor:default}
input{font:inherit;box-sizing:border-box;width:100%;height:2.875rem;padding:0 .875rem;
color:var(--ink);background:var(--bg);border:1px solid var(--line);border-radius:.75rem}
"""
_FORM_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
_DOCS_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_DOCS = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Nebula Command API</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="stylesheet" href="docs/assets/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script></body></html>"""
DOCS_START = """SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true,
  docExpansion: "none", filter: true, tryItOutEnabled: true, persistAuthorization: false,
  validatorUrl: null});"""


def link_page(*, action: str = "", error: NebulaError | None = None) -> HTMLResponse:
    """Return the sign-in link's page: a button, or why it does not work."""
    if error is None:
        inner = (
            "<h1>Welcome to Nebula Command</h1><p>This link signs you in once.</p>"
            f'<form method="post" action="{escape(action)}"><button autofocus>Sign in</button></form>'
        )
    else:
        inner = f"<h1>This link does not work</h1><p>{escape(str(error))}. {escape(error.hint)}</p>"
    return form_page("Sign in", inner, status=error.status if error else 200)


def form_page(
    title: str, inner: str, *, status: int = 200, script: str = "", inbox: bool = False
) -> HTMLResponse:
    """Return a page of one card; `inner` is HTML, `script` the path of the only script it runs.

    `inbox` marks a page that shows whatever there is, and so changes with everything.
    """
    marks = ' data-inbox="1"' if inbox else ""
    runs = f'<script src="{escape(script)}" defer></script>' if script else ""
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style>{runs}</head><body{marks}><main>{inner}</main></body></html>"
    )
    policy = f"{_FORM_CSP}; script-src 'self'; connect-src 'self'" if script else _FORM_CSP
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(page, status, headers=headers)


def docs_page() -> HTMLResponse:
    """Return the API's documentation page."""
    return HTMLResponse(_DOCS, headers={"Content-Security-Policy": _DOCS_CSP})


def docs_assets() -> StaticFiles:
    """Return Swagger UI's files, which come in a wheel: no other host is asked."""
    return StaticFiles(directory=str(files("fastapi_offline").joinpath("static")))
