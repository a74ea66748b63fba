"""GraphiQL, for development (ADR 1). The GraphQL endpoint serves its page."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from graph.http.negotiation import HTML

# The package contains GraphiQL's published bundles. None of its Python code is used.
_FILES: Final = files("graphene_django_graphiql_static") / "static/graphene_django_graphiql_static"
_PAGE: Final = (files("graph.http") / "graphiql.html").read_text("utf-8")
_SCRIPTS: Final = " ".join(
    f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
    for script in re.findall(r"(?s)<script>(.*?)</script>", _PAGE)
)
# 'unsafe-inline' and data: URLs: GraphiQL's editor sets inline styles and embeds icons and fonts.
_PAGE_POLICY: Final = (
    f"default-src 'none'; script-src 'self' {_SCRIPTS}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws: wss:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def page(root_path: str) -> Response:
    # An application that is mounted in another one has a `root_path`.
    html = _PAGE.replace('="/graphiql/', f'="{root_path}/graphiql/')
    return Response(html, media_type=HTML, headers={"content-security-policy": _PAGE_POLICY})


def add_graphiql(app: FastAPI, path: str) -> None:
    def home(request: Request) -> Response:
        return RedirectResponse(request.scope.get("root_path", "") + path)

    app.mount("/graphiql", StaticFiles(directory=str(_FILES)))
    app.add_api_route("/", home)
