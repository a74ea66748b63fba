"""Fetches and caches the published keys of an issuer (JWKS, RFC 7517).

Responses are untrusted input. Keys of unknown kinds are ignored (RFC 7517 section 5), and a
response without a usable key leaves the cached keys unchanged.

    Exception
    ├── KeysUnavailableError  no key of the issuer is known
    └── _KeySetError          a response is rejected
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from http import HTTPStatus
from math import inf
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import structlog
from jwt import PyJWK
from pydantic import BaseModel, ConfigDict, Field

from graph.auth.issuers import Issuer, PublicKey, fitting
from graph.tracing.propagation import TraceParent

log = structlog.get_logger("roster")

LIFETIME: Final = 600.0  # seconds after which cached keys are fetched again
# Minimum seconds from the end of one fetch to the start of the next. In addition, at most two
# fetches start within a minute, however many tokens name unknown keys.
_AFTER_FAILURE: Final = 5.0
_AFTER_SUCCESS: Final = 30.0
_MINUTE: Final = 60.0
FETCH_TIMEOUT: Final = 5.0  # seconds for a complete fetch
_MAX_BYTES: Final = 1024 * 1024
_KEY_TYPES: Final = ("RSA", "EC", "OKP")
# The number of keys that are tried for one signature. Each failed check takes about 50 µs.
_MAX_CANDIDATES: Final = 4
# Parameters of public keys (RFC 7518 section 6, RFC 8037 section 2).
_PARAMETERS: Final = {"kty", "crv", "n", "e", "x", "y"}


_TRACE: Final = TraceParent()


class KeysUnavailableError(Exception):
    """No key of the issuer is known, so its tokens cannot be verified.

    `retry_after` is the number of seconds until the next fetch.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__("the issuer's keys cannot be fetched")
        self.retry_after = retry_after


class _KeySetError(Exception):
    """A response is rejected. The message contains no part of the response."""


class Key(NamedTuple):
    """A public key and the algorithms that it may be used with."""

    kid: str | None
    public: PublicKey
    algorithms: tuple[str, ...]


class KeySet:
    """The usable keys of an issuer.

    `unreadable` contains the ids of keys that could not be parsed. `ignored` is the number of such
    keys, including those without an id.
    """

    def __init__(
        self, keys: Iterable[Key] = (), unreadable: Collection[str] = (), ignored: int = 0
    ) -> None:
        self.keys = tuple(keys)
        self.ignored = ignored
        self._unreadable = frozenset(unreadable)
        self._by_kid: dict[str | None, list[Key]] = {}
        for key in self.keys:
            self._by_kid.setdefault(key.kid, []).append(key)

    def candidates(self, kid: str | None, algorithm: str) -> tuple[PublicKey, ...]:
        """Return the distinct keys that may have signed a token, at most _MAX_CANDIDATES.

        Without a `kid`, the key must be unambiguous (OpenID Connect Core 1.0 section 10.1).
        """
        found: list[PublicKey] = []
        for key in self.keys if kid is None else self._by_kid.get(kid, ()):
            if algorithm in key.algorithms and key.public not in found:
                found.append(key.public)
                if len(found) == _MAX_CANDIDATES:
                    break
        return () if kid is None and len(found) > 1 else tuple(found)

    def completed_from(self, cached: "KeySet") -> "KeySet":
        """Return this set, plus the cached keys that it contains in an unreadable form."""
        # An issuer revokes a key by removing it. A key that is damaged is not revoked.
        kept = [
            key
            for key in cached.keys
            if key.kid in self._unreadable and key.kid not in self._by_kid
        ]
        return KeySet([*self.keys, *kept], self._unreadable, self.ignored) if kept else self


class JwksCache:
    """The keys of one URL. Concurrent callers share one fetch.

    A failed fetch leaves the cached keys valid. `failures` is the number of failed fetches.
    """

    def __init__(
        self,
        issuer: Issuer,
        clock: Callable[[], float] = time.monotonic,
        fetch_timeout: float = FETCH_TIMEOUT,
    ) -> None:
        self._timeout = fetch_timeout
        self._accepted = issuer.accepted()
        self._url = issuer.jwks_url or ""
        self._clock = clock
        self._cached = KeySet()
        self._stale_from = self._not_before = clock()
        self._starts = (-inf, -inf)  # of the last two fetches
        self._failed = False
        self.failures = 0
        self._fetched_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    @property
    def host(self) -> str:
        return urlsplit(self._url).hostname or ""

    @property
    def age(self) -> float | None:
        """Seconds since the keys were fetched; None if they never were."""
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    async def find(self, kid: str | None, algorithm: str) -> tuple[PublicKey, ...]:
        """Return the keys that may have signed a token with this `kid`; none if it is unknown.

        Raises `KeysUnavailableError` if no keys are known at all.
        """
        # An unknown `kid` can belong to a new key, so it triggers a fetch.
        found = self._cached.candidates(kid, algorithm)
        if not found or self._clock() >= self._stale_from:
            await self._refresh(wait=not found or not self._failed)
            found = self._cached.candidates(kid, algorithm)
        if not self._cached.keys:
            raise KeysUnavailableError(max(0.0, self._not_before - self._clock()))
        return found

    async def _refresh(self, *, wait: bool) -> None:
        if self._fetching is None and self._clock() >= self._not_before:
            self._starts = (self._starts[1], self._clock())
            self._fetching = asyncio.create_task(self._fetch())
        if self._fetching is not None and wait:
            await asyncio.shield(self._fetching)  # a cancelled caller does not cancel the fetch

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                body = await _download(self._url)
            # In a thread: parsing thousands of keys takes a second.
            fetched = await asyncio.to_thread(parse, body, self._accepted)
        except Exception as error:  # noqa: BLE001 - after any failure, the cached keys stay valid
            self._failed = True
            self.failures += 1
            log.warning(
                "an issuer's keys cannot be fetched",
                host=self.host,
                reason=str(error) if isinstance(error, _KeySetError) else type(error).__name__,
                old_keys=len(self._cached.keys),
            )
        else:
            self._failed = False
            self._cached = fetched.completed_from(self._cached)
            self._fetched_at = self._clock()
            self._stale_from = self._fetched_at + LIFETIME
            self._report_ignored(fetched)
        finally:
            gap = _AFTER_FAILURE if self._failed else _AFTER_SUCCESS
            self._not_before = max(self._clock() + gap, self._starts[0] + _MINUTE)
            self._fetching = None

    def _report_ignored(self, fetched: KeySet) -> None:
        if fetched.ignored:
            log.warning(
                "ignored keys of an issuer that cannot be read",
                host=self.host,
                ignored=fetched.ignored,
                used=len(fetched.keys),
            )


async def _download(url: str) -> bytes:
    """Return the body. Raises _KeySetError for any status but 200: redirects are not followed."""
    # Only the URL in the settings is trusted, not the target of a redirect.
    is_https = url.startswith("https:")
    if is_https:
        tls = await asyncio.to_thread(ssl.create_default_context)  # reads the system's certificates
    else:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used, and trusts no certificate
    asked = {"accept": "application/json", "accept-encoding": "identity"}
    _TRACE.inject(asked)
    # An http URL is on this machine, so no proxy is used for it.
    async with (
        httpx.AsyncClient(verify=tls, trust_env=is_https, timeout=FETCH_TIMEOUT) as client,
        client.stream("GET", url, headers=asked) as response,
    ):
        if response.status_code != HTTPStatus.OK:
            raise _KeySetError(f"status {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _KeySetError("the response is compressed")
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > _MAX_BYTES:
                raise _KeySetError("the response is too long")
        return bytes(body)


def parse(body: bytes, accepted: Collection[str]) -> KeySet:
    """Parse a key set. Raises _KeySetError if no key supports an accepted algorithm."""
    try:
        # No supported key contains an integer. Parsing integers as floats avoids the cost, and
        # the errors, of huge ones.
        document = json.loads(body, parse_int=float)
    except (ValueError, RecursionError):
        raise _KeySetError("the response is not JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise _KeySetError("the response is not a key set")
    unreadable: list[Any] = []
    keys = list(_usable(listed, accepted, unreadable))
    if not keys:
        raise _KeySetError("the response has no usable key")
    kids = [jwk.get("kid") for jwk in unreadable if isinstance(jwk, dict)]
    return KeySet(keys, [kid for kid in kids if isinstance(kid, str)], len(unreadable))


def _usable(listed: list[Any], accepted: Collection[str], unreadable: list[Any]) -> Iterator[Key]:
    """Yield the public keys that verify signatures. Appends invalid keys to `unreadable`."""
    for jwk in listed:
        if isinstance(jwk, dict) and jwk.get("kty") not in _KEY_TYPES:
            continue
        try:
            key = _Jwk.model_validate(jwk).key(accepted)
        except Exception:  # noqa: BLE001 - one invalid key must not affect the other keys
            unreadable.append(jwk)
        else:
            if key is not None:
                yield key


_Number = Annotated[str | None, Field(max_length=4096, pattern="^[A-Za-z0-9_+/-]+={0,2}$")]


class _Jwk(BaseModel):
    """The members of a JSON Web Key that are used here. Null means absent."""

    model_config = ConfigDict(strict=True)

    kty: str
    kid: str | None = None
    use: str | None = None
    key_ops: list[str] | None = None
    alg: str | None = None
    d: Any = None
    crv: str | None = None
    n: _Number = None
    e: _Number = None
    x: _Number = None
    y: _Number = None

    def key(self, accepted: Collection[str]) -> Key | None:
        """Return None for a key that is not for verification. Raises if it cannot be loaded."""
        if self.d is not None:  # a published private key allows anyone to sign
            return None
        if self.use not in (None, "sig"):
            return None
        if self.key_ops is not None and "verify" not in self.key_ops:
            return None
        public = PyJWK(self.model_dump(include=_PARAMETERS, exclude_none=True)).key
        if not isinstance(public, PublicKey):
            return None
        algorithms = tuple(
            name for name in fitting(public) if name in accepted and self.alg in (None, name)
        )
        return Key(self.kid, public, algorithms) if algorithms else None
