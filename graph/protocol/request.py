"""A GraphQL request, as parsed by all transports."""

from dataclasses import dataclass
from typing import Any, Final

from graph.protocol.errors import InvalidRequest

POSITION: Final = "rosterPosition"  # in the `extensions` of requests and responses


@dataclass(slots=True)  # not frozen: that doubles the time to create one
class Request:
    """One operation, requested by its text or by the id of a document.

    `persisted_hash` is the SHA-256 in Apollo's `extensions.persistedQuery`. `position` is what a
    query must show: a position of an earlier response, or an empty string.
    """

    query: str | None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    document_id: str | None = None
    persisted_hash: str | None = None
    position: str | None = None

    @classmethod
    def of(cls, given: object) -> "Request":
        if isinstance(given, list):
            raise InvalidRequest("A request must be a JSON object. Batches are not enabled.")
        if not isinstance(given, dict):
            raise InvalidRequest("A request must be a JSON object.")
        query, document_id = _text(given, "query"), _text(given, "documentId")
        extensions = _object(given, "extensions")
        persisted_hash = _persisted_hash(extensions)
        if query is None and document_id is None and persisted_hash is None:
            raise InvalidRequest("A request must have a `query` or a `documentId`, as a string.")
        variables = _object(given, "variables")
        # Clients send an empty name for anonymous operations.
        operation_name = _text(given, "operationName") or None
        position = _text(extensions, POSITION) if extensions else None
        return cls(query, variables, operation_name, document_id, persisted_hash, position)


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidRequest(f"`{name}` must be a string.")


def _object(given: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = given.get(name)
    if value is None or isinstance(value, dict):
        return value
    if value == []:  # PHP encodes an empty map as a list
        return {}
    raise InvalidRequest(f"`{name}` must be an object.")


def _persisted_hash(extensions: dict[str, Any] | None) -> str | None:
    match extensions:
        case {"persistedQuery": {"sha256Hash": str(digest)}}:
            return digest
    return None
