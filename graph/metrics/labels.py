"""Values of labels. Each label has few values, and none is personal data.

A client or another program can choose some texts freely: methods, error codes of own resolvers,
names of applications. They become one of a fixed list, or `_OTHER`, as OpenTelemetry calls it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from starlette.types import Scope

from graph.observation import CODE

OTHER: Final = "_OTHER"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_SCHEMES: Final = frozenset({"http", "https"})
# Programs that hold transactions open, by the beginning of their application_name. Other names can
# contain those of people and their machines.
_APPLICATIONS: Final = (
    *("roster", "psql", "pg_dump", "pg_restore", "pg_basebackup", "pgbench", "vacuumdb"),
    *("pgAdmin", "DBeaver", "DataGrip", "PostgreSQL JDBC Driver", "Navicat", "Metabase"),
)
_STATES: Final = frozenset(
    {"active", "idle", "idle in transaction", "idle in transaction (aborted)"}
)
_PREPARED: Final = "prepared transaction"


class Bounded:
    """Keeps the first `most` different values, and replaces later ones."""

    def __init__(self, most: int) -> None:
        self._known: set[str] = set()
        self._most = most

    def of(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value


class Codes(Bounded):
    """Keeps the codes of errors: those that are given, and the first `most` of others."""

    def __init__(self, most: int, given: Iterable[str]) -> None:
        super().__init__(most)
        self._known.update(given)
        self._most += len(self._known)

    def of(self, value: str) -> str:
        return super().of(value) if CODE.fullmatch(value) else OTHER


def method_of(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else OTHER


def scheme_of(scope: Scope) -> str:
    scheme: str = scope.get("scheme", "http")
    return scheme if scheme in _SCHEMES else OTHER


def holder_of(transaction: Mapping[str, Any]) -> tuple[str, str]:
    """Return the program and the state of a transaction that `describe_event_writers` returned."""
    if transaction["pid"] is None:
        return _PREPARED, ""
    name = str(transaction["application_name"] or "")
    application = next((a for a in _APPLICATIONS if name.lower().startswith(a.lower())), OTHER)
    state = str(transaction["state"] or "")
    return application, state if state in _STATES else OTHER
