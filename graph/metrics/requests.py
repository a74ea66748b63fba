"""Metrics of HTTP requests."""

import time
from collections.abc import Mapping
from typing import Final

from starlette.types import Scope

from graph.metrics.instruments import Instruments
from graph.metrics.labels import method_of, scheme_of
from graph.observation import RequestEnd

_NO_STATUS: Final = ""


class _Kind:
    """Requests with one method and scheme."""

    __slots__ = ("active", "labels")

    def __init__(self, *labels: str) -> None:
        self.labels = labels
        self.active = 0


class RequestMetrics:
    """`route` is the path of the GraphQL endpoint, whose requests need no router."""

    def __init__(self, instruments: Instruments, route: str) -> None:
        self._instruments = instruments
        self._durations = instruments.timings.of(instruments.http_duration)
        self._route = route
        self._kinds: dict[tuple[str, str], _Kind] = {}

    @property
    def active(self) -> Mapping[tuple[str, ...], int]:
        """The number of requests in progress, by method and scheme."""
        return {kind.labels: kind.active for kind in self._kinds.values()}

    def begin(self, scope: Scope) -> RequestEnd:
        begun = time.perf_counter()
        kind = self._kinds.get((scope["method"], scope.get("scheme", "http")))
        if kind is None:
            kind = self._kind_of(scope)
        kind.active += 1

        def end(status: int | None, code: str | None = None) -> None:
            kind.active -= 1
            route = scope["path"] if scope["path"] == self._route else self._route_of(scope)
            named = _NO_STATUS if status is None else str(status)
            self._durations.note((*kind.labels, route, named), time.perf_counter() - begun)
            if code is not None:
                self._instruments.count_error(code)
                self._instruments.count_rejection(code, "http")

        return end

    def _kind_of(self, scope: Scope) -> _Kind:
        labels = method_of(scope), scheme_of(scope)
        return self._kinds.setdefault(labels, _Kind(*labels))

    def _route_of(self, scope: Scope) -> str:
        """Return the path of the route, or nothing if there is none."""
        if (route := scope.get("route")) is not None:
            return str(getattr(route, "path", ""))
        path: str = scope["path"]
        return self._route if path == scope.get("root_path", "") + self._route else ""
