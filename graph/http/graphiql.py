"""What a browser sees at the address of the API: GraphiQL in development (ADR 1)."""

from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from graph.http.negotiation import HTML

# Built by `make graphiql`, and part of the wheel.
_FILES: Final = Path(str(files("graph"))) / "graphiql" / "dist"
_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# 'unsafe-inline' and data: URLs: GraphiQL's editor sets inline styles and embeds icons and fonts.
_GRAPHIQL_POLICY: Final = (
    f"{_POLICY}; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'"
)
_TEXT: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">{head}<title>Roster</title>
</head>
<body><main><h1>{title}</h1><p>{text}</p></main></body>
</html>
"""
_NOT_BUILT: Final = "GraphiQL is not built yet"
_RELOAD: Final = '<meta http-equiv="refresh" content="2">'
_BUILDING: Final = (
    "<code>make run</code> builds it, which takes about 20 seconds. This page reloads itself. "
    "If it stays, run <code>make graphiql</code>. The API at this address already answers."
)
_FAILED: Final = (
    "{reason}<p><code>make graphiql</code> tries again. This page reloads itself. "
    "The API at this address answers without it."
)
_PRODUCTION: Final = _TEXT.format(
    head="",
    title="This is a GraphQL API",
    text="GraphiQL is available on development servers only. Send operations to this address by "
    "POST, with a token in the header <code>Authorization: Bearer …</code>.",
)


def graphiql(request_scope: Scope, folder: Path = _FILES) -> Response:
    """Return GraphiQL's page, or until it is built a page that reloads itself and says why."""
    try:
        built = (folder / "index.html").read_text("utf-8")
    except FileNotFoundError:
        html = _TEXT.format(head=_RELOAD, title=_NOT_BUILT, text=_why_not_built(folder))
        return _page(html, _POLICY)
    # An application that is mounted in another one has a `root_path`.
    prefix = f'="{request_scope.get("root_path", "")}/graphiql/'
    return _page(built.replace('="./', prefix), _GRAPHIQL_POLICY)


def _why_not_built(folder: Path) -> str:
    try:
        reason = (folder / "failure.txt").read_text("utf-8")
    except FileNotFoundError:
        return _BUILDING
    return _FAILED.format(reason=escape(reason))


def explanation(_: Scope) -> Response:
    return _page(_PRODUCTION, _POLICY)


def _page(html: str, policy: str) -> Response:
    headers = {"content-security-policy": policy, "vary": "Accept"}
    return Response(html, media_type=HTML, headers=headers)


class _Assets(StaticFiles):
    async def check_config(self) -> None:
        """Do not fail if the folder is missing: it may be built later."""

    def file_response(
        self,
        full_path: str | PathLike[str],
        *arguments: object,
        **options: object,
    ) -> Response:
        response = super().file_response(full_path, *arguments, **options)  # type: ignore[arg-type] # passed through
        if Path(full_path).parent.name == "assets":  # names contain hashes of the content
            response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


def add_graphiql(app: FastAPI, path: str, folder: Path = _FILES) -> None:
    def home(request: Request) -> Response:
        return RedirectResponse(request.scope.get("root_path", "") + path)

    app.mount("/graphiql", _Assets(directory=folder, check_dir=False))
    app.add_api_route("/", home)
