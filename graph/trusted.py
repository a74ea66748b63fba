"""Trusted documents: which operations a server takes, known before it starts.

A manifest is the JSON that a frontend's build writes: an object of ids and texts, as
graphql-codegen's client preset (`persisted-documents.json`) and Relay's compiler
(`persistConfig.file`) have it.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

import structlog

from graph.requests import Refused, Request

log = structlog.get_logger("roster")


class TrustedMode(StrEnum):
    OFF = "off"
    LOG = "log"
    ON = "on"


class TrustedDocuments:
    """`ON` takes known documents by their id alone; `LOG` takes all, and says which are unknown."""

    def __init__(self, mode: TrustedMode, texts: Mapping[str, str]) -> None:
        self._mode = mode
        self._texts = texts
        self._known = {sha256(text.encode()).digest() for text in texts.values()}

    def text(self, request: Request) -> str:
        """Give the text of a request's document; raise Refused where it is not to be had."""
        if request.document_id is not None:
            found = self._texts.get(request.document_id)
            if found is None:
                raise Refused("UNKNOWN_DOCUMENT", "No document has this documentId.")
            if request.query is not None and request.query != found:
                raise Refused("BAD_REQUEST", "`query` is not the document of `documentId`.")
            return found
        assert request.query is not None  # or it would have been no request
        if self._mode is TrustedMode.ON:
            message = "Only known documents are taken here, by their documentId."
            raise Refused("DOCUMENT_NOT_TRUSTED", message, 403)
        if self._mode is TrustedMode.LOG:
            digest = sha256(request.query.encode("utf-8", "surrogatepass"))
            if digest.digest() not in self._known:
                log.info("unknown document", sha256=digest.hexdigest(), size=len(request.query))
        return request.query


class WrongManifest(ValueError):
    """The manifest cannot be used; the message is a line for whoever starts the server."""


def read_manifest(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise WrongManifest(f"the manifest cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise WrongManifest("the manifest is not JSON") from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise WrongManifest("the manifest has to be an object of document ids and texts")
    return found
