"""An issuer's published keys (JWKS, RFC 7517): fetched, kept for a while, rotated."""

import asyncio
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from graph.issuers import SIGNATURES, Issuer, PublicKey, fitting

log = structlog.get_logger("roster")

LIFETIME: Final = 600.0  # seconds that keys are kept before they are asked for again
# Seconds between two fetches: after one that failed, and after one that worked. However many
# tokens name keys that there are not, the issuer is asked no more often.
_AFTER_FAILURE: Final = 5.0
_AFTER_SUCCESS: Final = 30.0
_TIMEOUT: Final = 5.0
_LONGEST: Final = 1024 * 1024
_MOST_KEYS: Final = 100
_CHUNK: Final = 64 * 1024

Keys = list[tuple[str | None, PublicKey, tuple[str, ...]]]  # kid, key, the algorithms it is for


class KeysUnavailable(Exception):
    """An issuer's keys can't be had right now: nobody can tell whether a token is good."""


class _NotThere(Exception):
    """Why the keys didn't come: a kind of error, and nothing that came from outside."""


class PublishedKeys:
    """The keys behind one URL. Where they can't be fetched, the old ones go on.

    Many who wait for a fetch wait for the same one.
    """

    def __init__(self, issuer: Issuer, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._url = issuer.jwks_url or ""
        self._clock = clock
        self._keys: Keys = []
        self._stale_from = self._not_before = clock()
        self._failed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jwks")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """Find the key of a name for an algorithm; without a name, the only one for it.

        An unknown name has the keys fetched again, as it may be a new one. Raises
        `KeysUnavailable` where there are none at all.
        """
        key = self._held(kid, algorithm)
        if key is None or self._clock() >= self._stale_from:
            await self._refresh(wait=key is None or not self._failed)
            key = self._held(kid, algorithm)
        if not self._keys:
            raise KeysUnavailable("the issuer's keys cannot be fetched")
        return key

    def _held(self, kid: str | None, algorithm: str) -> PublicKey | None:
        fit = [k for name, k, uses in self._keys if algorithm in uses and kid in (None, name)]
        return fit[0] if len(fit) == 1 else None

    async def _refresh(self, *, wait: bool) -> None:
        if self._fetching is None and self._clock() >= self._not_before:
            self._fetching = asyncio.create_task(self._fetch())
        if self._fetching is not None and wait:
            await asyncio.shield(self._fetching)  # whoever gives up leaves it to the others

    async def _fetch(self) -> None:
        try:
            # A thread that waits for a name server heeds no time-out. It is left to itself, and
            # keeps nobody else's work waiting, as it would in the loop's own few threads.
            async with asyncio.timeout(_TIMEOUT):
                fetched = asyncio.get_running_loop().run_in_executor(
                    self._thread, _download, self._url
                )
                self._keys = await fetched
        except (OSError, http.client.HTTPException, ValueError, _NotThere) as error:
            self._failed = True
            self._not_before = self._clock() + _AFTER_FAILURE
            log.warning(
                "an issuer's keys cannot be fetched",
                host=urlsplit(self._url).hostname,
                reason=str(error) if isinstance(error, _NotThere) else type(error).__name__,
                old_keys=len(self._keys),
            )
        else:
            self._failed = False
            self._stale_from = self._clock() + LIFETIME
            self._not_before = self._clock() + _AFTER_SUCCESS
        finally:
            self._fetching = None


class _Nowhere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the URL in the settings is the one that is believed."""

    def redirect_request(self, *_: object) -> None:
        return None


def _download(url: str) -> Keys:
    """Fetch the keys; blocks for a few seconds at most, unless in the look-up of the name."""
    until = time.monotonic() + _TIMEOUT
    handlers: list[urllib.request.BaseHandler] = [_Nowhere()]
    if url.startswith("http:"):
        handlers.append(urllib.request.ProxyHandler({}))  # this machine needs no proxy
    opener = urllib.request.build_opener(*handlers)
    request = urllib.request.Request(url, headers={"accept": "application/json"})  # noqa: S310 - checked in the settings
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            return _parse(_read(response, until))
    except urllib.error.HTTPError as error:
        error.close()  # it is the response, too
        raise _NotThere(f"status {error.code}") from None


def _read(response: http.client.HTTPResponse, until: float) -> bytes:
    if response.status != HTTPStatus.OK:
        raise _NotThere(f"status {response.status}")
    body = b""
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > _LONGEST:
            raise _NotThere("the answer is too long")
        if time.monotonic() > until:
            raise _NotThere("the answer is too slow")
    return body


def _parse(body: bytes) -> Keys:
    try:
        document = json.loads(body)
        listed = document["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise _NotThere("the answer is no key set") from None
    keys = list(_usable(listed[:_MOST_KEYS])) if isinstance(listed, list) else []
    if not keys:
        raise _NotThere("there is no usable key in the answer")
    return keys


def _usable(listed: list[Any]) -> Iterator[tuple[str | None, PublicKey, tuple[str, ...]]]:
    """Take the public keys that sign; whatever else stands there is for others."""
    for jwk in listed:
        if not isinstance(jwk, dict) or jwk.get("kty") not in {"RSA", "EC", "OKP"}:
            continue
        operations = jwk.get("key_ops", ["verify"])
        if jwk.get("use", "sig") != "sig" or "verify" not in operations:
            continue
        try:
            key = PyJWK({k: v for k, v in jwk.items() if k != "alg"}).key
        except (PyJWTError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, PublicKey):
            named = jwk.get("alg")
            uses = tuple(a for a in fitting(key) if a in SIGNATURES and named in (None, a))
            kid = jwk.get("kid")
            yield kid if isinstance(kid, str) else None, key, uses
