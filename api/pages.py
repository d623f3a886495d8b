"""The two small pages this door shows to browsers itself; both work without any other host."""

from html import escape
from importlib.resources import files

from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from nebula.errors import NebulaError

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:100vh;margin:0;
background:#0b1020;color:#e8ecf8}
main{max-width:24rem;padding:2rem;text-align:center;background:#151c33;border-radius:1rem}
h1{font-size:1.4rem;margin:0 0 .5rem}p{color:#aab4d4}
button{font:inherit;font-weight:600;padding:.7rem 1.6rem;border:0;border-radius:.6rem;
background:#7c9cff;color:#0b1020;cursor:pointer}button:focus-visible{outline:3px solid #fff}
"""
_LINK_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
)
_DOCS_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
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
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{inner}</main></body></html>"
    )
    headers = {"Content-Security-Policy": _LINK_CSP, "Cache-Control": "no-store"}
    return HTMLResponse(page, error.status if error else 200, headers=headers)


def docs_page() -> HTMLResponse:
    """Return the API's documentation page."""
    return HTMLResponse(_DOCS, headers={"Content-Security-Policy": _DOCS_CSP})


def docs_assets() -> StaticFiles:
    """Return Swagger UI's files, which come in a wheel: no other host is asked."""
    return StaticFiles(directory=str(files("fastapi_offline").joinpath("static")))
