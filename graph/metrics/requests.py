"""Metrics of HTTP requests."""

import time
from collections import Counter
from typing import Any, Final

from starlette.types import Scope

from graph.metrics.instruments import Instruments
from graph.metrics.labels import method_of, scheme_of
from graph.observation import RequestEnd

_NO_STATUS: Final = ""


class RequestMetrics:
    """`route` is the path of the GraphQL endpoint, whose requests need no router."""

    def __init__(self, instruments: Instruments, route: str) -> None:
        self._duration = instruments.http_duration
        self._route = route
        self._children: dict[tuple[str, ...], Any] = {}
        self.active: Counter[tuple[str, str]] = Counter()

    def begin(self, scope: Scope) -> RequestEnd:
        begun = time.perf_counter()
        kind = method_of(scope), scheme_of(scope)
        self.active[kind] += 1

        def end(status: int | None) -> None:
            self.active[kind] -= 1
            key = (*kind, self._route_of(scope), _NO_STATUS if status is None else str(status))
            child = self._children.get(key)
            if child is None:
                child = self._children[key] = self._duration.labels(*key)
            child.observe(time.perf_counter() - begun)

        return end

    def _route_of(self, scope: Scope) -> str:
        """Return the path of the route, or nothing if there is none."""
        if (route := scope.get("route")) is not None:
            return str(getattr(route, "path", ""))
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        return path if path == self._route else ""
