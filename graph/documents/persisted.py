"""Persisted documents: the operations that a server accepts, known before it starts.

A manifest is the JSON file that a frontend's build writes. graphql-codegen's client preset
(`persisted-documents.json`) and Relay's compiler (`persistConfig.file`) write an object of ids and
texts. Apollo's `generate-persisted-query-manifest` lists operations with `id` and `body`.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import structlog

from graph.protocol.errors import RequestError
from graph.protocol.request import Request

log = structlog.get_logger("roster")

_APOLLO_FORMAT: Final = "apollo-persisted-query-manifest"
_HASH_PREFIX: Final = "sha256:"  # of a documentId, by the persisted documents specification


class PersistedMode(StrEnum):
    OFF = "off"
    LOG = "log"
    ON = "on"


class PersistedDocuments:
    """`ON` accepts known documents only, by their id. `LOG` accepts all and logs unknown ones.

    A document's ids are the manifest's id and the SHA-256 of its text, each with or without
    `sha256:`. `documents` are the texts of the manifest.
    """

    def __init__(self, mode: PersistedMode, texts: Mapping[str, str]) -> None:
        self._mode = mode
        self._texts = {_digest(text): text for text in texts.values()}
        self._known = frozenset(self._texts)
        self.documents = frozenset(texts.values())
        self._texts |= {_plain(id_): text for id_, text in texts.items()}

    def text(self, request: Request) -> str:
        """Return the text of a request's document. Raises RequestError if it is not accepted."""
        if request.document_id is not None:
            return self._document(request, request.document_id)
        known = request.persisted_hash is not None and _plain(request.persisted_hash) in self._texts
        if request.persisted_hash is not None and (known or request.query is None):
            return self._persisted(request, request.persisted_hash)
        assert request.query is not None  # a request without any of the three is rejected earlier
        if self._mode is PersistedMode.ON:
            message = "Only documents of the manifest are accepted, by their `documentId`."
            raise RequestError("DOCUMENT_NOT_TRUSTED", message, 403)
        self._note(request.query)
        return request.query

    def _document(self, request: Request, id_: str) -> str:
        found = self._texts.get(_plain(id_))
        if found is None:
            raise RequestError("UNKNOWN_DOCUMENT", "The manifest has no document with this id.")
        if request.query is not None and request.query != found:
            raise RequestError("BAD_REQUEST", "`query` is not the document that the id names.")
        return found

    def _persisted(self, request: Request, digest: str) -> str:
        """Return the document with the hash of Apollo's extension."""
        # Automatic persisted queries register a document when a client sends it, which this server
        # does not support. On the message below, clients fall back to sending the text.
        if self._mode is PersistedMode.ON or _plain(digest) in self._texts:
            return self._document(request, digest)
        message = "PersistedQueryNotSupported"
        raise RequestError("PERSISTED_QUERY_NOT_SUPPORTED", message, 200)

    def _note(self, text: str) -> None:
        if self._mode is PersistedMode.LOG and (digest := _digest(text)) not in self._known:
            log.info("unknown document", sha256=digest, size=len(text))


def _plain(id_: str) -> str:
    return id_.removeprefix(_HASH_PREFIX)


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class InvalidManifest(ValueError):
    """The manifest cannot be used. The message is one line for the operator."""


def read_manifest(path: Path) -> dict[str, str]:
    """Return the texts of a manifest by their ids. Raises InvalidManifest."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InvalidManifest(f"the manifest cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InvalidManifest("the manifest is not JSON") from None
    documents = _apollo_documents(found) if _is_apollo(found) else found
    if not isinstance(documents, dict) or not all(isinstance(t, str) for t in documents.values()):
        raise InvalidManifest("the manifest must be an object of document ids and texts")
    return documents


def _is_apollo(found: Any) -> bool:
    return isinstance(found, dict) and found.get("format") == _APOLLO_FORMAT


def _apollo_documents(manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest.get("version") != 1 or not isinstance(manifest.get("operations"), list):
        raise InvalidManifest("the manifest must be version 1 of Apollo's format")
    documents: dict[str, Any] = {}
    for operation in manifest["operations"]:
        match operation:
            case {"id": str(id_), "body": str(body)}:
                documents[id_] = body
            case _:
                raise InvalidManifest("each operation of the manifest needs an `id` and a `body`")
    return documents
