"""The only module that uses undocumented parts of FastAPI.

| internal | used for |
|---|---|
| `scope["fastapi.telemetry"]` | it counts as traced already, so FastAPI adds no span |

`tests/graph/tracing/test_spans.py` fails if it changes.
"""

from starlette.types import Scope


def skip_telemetry(scope: Scope) -> None:
    """Let FastAPI pass a request on without a span, and before it inspects its middleware.

    The documented `exclude` is called later: 4 % of the CPU time of a lookup.
    """
    scope["fastapi.telemetry"] = None
