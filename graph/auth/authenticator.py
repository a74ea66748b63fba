"""Authenticates the `Authorization` header of a request: a token or an API key.

Exception
├── InvalidCredentials        the credentials are rejected
└── SubjectsUnavailableError  services cannot be authenticated: the identity secret is missing
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from db import identity_key
from db.engine import Database
from db.identity_key import IdentityKey, IdentityKeyError
from db.models import ActorKind, UserStatus
from db.statements.external_ids import SIGN_IN
from graph.auth import development
from graph.auth.issuers import Issuer
from graph.auth.jwks import JwksCache
from graph.auth.tokens import Claims, InvalidToken, TokenVerifier
from users import api_keys
from users.api_keys import ApiKey
from users.clock import now as utc_now
from users.policy import Caller
from users.recorder import Actor

log = structlog.get_logger("roster")

T = TypeVar("T")

CACHE_SECONDS: Final = 5.0  # a revocation or deactivation takes effect within this time
# For KNOWN_SECONDS, credentials that were valid are exempt from the limit of invalid ones. For
# REJECTED_SECONDS, rejected credentials are not checked again above that limit.
KNOWN_SECONDS: Final = 300.0
REJECTED_SECONDS: Final = 10.0
# Nothing else limits how long a request waits for authentication, or how long `close` waits.
SEARCH_SECONDS: Final = 10.0
NOTE_SECONDS: Final = 5.0
MAX_CACHED: Final = 10_000
# RFC 6750 2.1 and RFC 9110 11.1: the scheme is case-insensitive; spaces and a b64token follow.
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE | re.ASCII)


class InvalidCredentials(Exception):
    """The credentials are rejected. The reason is logged, so it contains no personal data."""


class _CachedCaller(NamedTuple):
    """A caller with valid credentials. Both times are times of the authenticator's clock."""

    caller: Caller
    fresh_until: float
    known_until: float


class SubjectsUnavailableError(Exception):
    """The process lacks the database's identity secret, so it cannot recognise former users.

    It must be restarted with ROSTER_IDENTITY_SECRET. `retry_after` is in seconds.
    """

    retry_after: Final = 60


class Authenticator:
    """Authenticates callers by tokens and API keys. Close it before the database.

    Callers are cached for CACHE_SECONDS, by the digest of their credentials. Rejections are not
    cached.
    """

    def __init__(
        self,
        database: Database,
        issuers: Sequence[Issuer] = (),
        *,
        api_keys: bool = True,
        development_tokens: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
        max_cached: int = MAX_CACHED,
    ) -> None:
        self._max_cached = max_cached
        self._database = database
        self._verifier = TokenVerifier(issuers)
        self._api_keys = api_keys
        self._development_tokens = development_tokens
        self._clock = clock
        self._now = now
        self._cache: dict[bytes, _CachedCaller] = {}
        self._rejected: dict[bytes, float] = {}
        self._searches: dict[bytes, asyncio.Task[Caller]] = {}
        self._notes: dict[int, asyncio.Task[None]] = {}
        self._identity_key: IdentityKey | None = None

    async def authenticate(self, authorization: str | None) -> Caller | None:
        """Return the caller with this `Authorization` header; None without a header.

        Raises `InvalidCredentials`, `KeysUnavailableError`, `SubjectsUnavailableError`, and the
        driver's errors if the database is unreachable.
        """
        if authorization is None:
            return None
        found = _BEARER.fullmatch(authorization)
        if found is None:
            raise InvalidCredentials("the header has no bearer token")
        digest = _digest(found[1])
        if caller := self._cached(digest):
            return caller
        return await self._search_once(digest, found[1])

    @property
    def published_keys(self) -> Sequence[JwksCache]:
        """The key sets of issuers that are fetched."""
        return self._verifier.published_keys

    def is_known(self, authorization: str) -> bool:
        """Return whether the last check within KNOWN_SECONDS accepted these credentials."""
        # Credentials that have expired since then still count as known. The next check rejects
        # them and removes them from the cache.
        found = _BEARER.fullmatch(authorization)
        known = found and self._cache.get(_digest(found[1]))
        return bool(known and self._clock() < known.known_until)

    def may_be_valid(self, authorization: str) -> bool:
        """Return False if credentials are invalid without a full check.

        Takes a small part of the time of a full check, and has no side effects.
        """
        found = _BEARER.fullmatch(authorization)
        if found is None or self._clock() < self._rejected.get(_digest(found[1]), 0.0):
            return False
        if found[1].startswith(api_keys.PREFIX):
            return self._api_keys
        return self._is_development(found[1]) or self._verifier.is_plausible(found[1])

    async def close(self) -> None:
        await asyncio.gather(*self._searches.values(), return_exceptions=True)
        await asyncio.gather(*self._notes.values())

    async def _search_once(self, digest: bytes, text: str) -> Caller:
        # Concurrent requests with the same credentials share one search: their cache entry expires
        # for all of them in the same moment. `shield`: a cancelled request does not cancel it.
        search = self._searches.get(digest)
        if search is None:
            search = self._searches[digest] = asyncio.create_task(self._search(text))
            search.add_done_callback(partial(self._end_search, digest))
        return await asyncio.shield(search)

    def _end_search(self, digest: bytes, search: asyncio.Task[Caller]) -> None:
        del self._searches[digest]
        if search.cancelled():
            return
        error = search.exception()
        if error is None:
            self._store(digest, search.result())
        elif isinstance(error, InvalidCredentials):
            self._cache.pop(digest, None)
            self._remember(self._rejected, digest, self._clock() + REJECTED_SECONDS)

    async def _search(self, text: str) -> Caller:
        async with asyncio.timeout(SEARCH_SECONDS):
            return await self._find(text)

    async def _find(self, text: str) -> Caller:
        if self._identity_key is None:  # loaded once per process
            await self._load_identity_key()
        if text.startswith(api_keys.PREFIX):
            return await self._api_key_caller(text)
        try:
            if self._is_development(text):
                return await self._development_caller(text)
            claims = await self._verifier.verify(text)
        except InvalidToken as invalid:
            raise InvalidCredentials(str(invalid)) from None
        return await self._token_caller(claims)

    def _is_development(self, text: str) -> bool:
        return self._development_tokens and development.is_development(text)

    async def _development_caller(self, text: str) -> Caller:
        async with self._database.session() as session:
            claims, user = await development.verify(session, text)
        if user.status is not UserStatus.ACTIVE:
            raise InvalidCredentials("the user is not active")
        actor = Actor(ActorKind.USER, str(user.id), claims.label)
        return Caller(actor, claims.scopes, user.id, claims.expires_at, user.external_id)

    async def _load_identity_key(self) -> None:
        with suppress(IdentityKeyError):  # `_sign_in` reports it for subjects that need the key
            async with self._database.session() as session:
                self._identity_key = await identity_key.load(session)

    async def _token_caller(self, claims: Claims) -> Caller:
        """Return the user that is linked to a token's subject, or a service without such a user.

        Raises `InvalidCredentials` for the external id of a former user: a deleted or erased user
        must not become a service with all scopes of their token.
        """
        async with self._database.session() as session:
            found = await self._sign_in(session, claims.subject)
        user_id: int | None = found.user_id
        if user_id is not None:
            if found.status is not UserStatus.ACTIVE:
                raise InvalidCredentials("the user is not active")
            actor = Actor(ActorKind.USER, str(user_id), claims.label)
        elif found.was_a_user:
            raise InvalidCredentials("the subject was a user")
        elif not claims.services:
            raise InvalidCredentials(
                "the subject is no user, and the issuer's services are refused"
            )
        else:
            actor = Actor(ActorKind.SERVICE, claims.subject, claims.label)
        return Caller(actor, claims.scopes, user_id, claims.expires_at, claims.subject)

    async def _sign_in(self, session: AsyncSession, subject: str) -> Row[Any]:
        # One statement reads the user and the former users: between two statements, a deletion
        # could go unnoticed. Only the lookup of former users needs the digest.
        #
        # The row contains the database's current key. That key changes if `roster migrate` adds
        # the secret, or if another database replaces this one.
        found = await self._read_subject(session, subject)
        if found.user_id is None and not (self._identity_key and self._identity_key.is_in(found)):
            secret = identity_key.secret_of(session)
            try:
                self._identity_key = IdentityKey.of(found.key, found.secret_verifier, secret)
            except IdentityKeyError as error:
                log.error("no service can sign in", reason=str(error))  # noqa: TRY400 - expected error
                raise SubjectsUnavailableError from None
            found = await self._read_subject(session, subject)
        return found

    async def _read_subject(self, session: AsyncSession, subject: str) -> Row[Any]:
        digest = self._identity_key.digest(subject) if self._identity_key else ""
        parameters = {"external_id": subject, "digest": digest}
        found: Row[Any] = (await session.execute(SIGN_IN, parameters)).one()
        return found

    async def _api_key_caller(self, text: str) -> Caller:
        if not self._api_keys:
            raise InvalidCredentials("API keys are not accepted")
        async with self._database.session() as session:
            key = await api_keys.find(session, text)
        if key is None:
            raise InvalidCredentials("there is no such API key")
        if not key.is_valid(self._now()):
            raise InvalidCredentials("the API key is revoked or has expired")
        self._note_use(key)
        # The prefix `key-` distinguishes the key's id from an issuer's subject.
        actor = Actor(ActorKind.SERVICE, f"key-{key.id}", key.name)
        return Caller(actor, key.scopes, expires_at=key.expires_at)

    def _note_use(self, key: ApiKey) -> None:
        """Record the use of a key in the background. The request neither waits nor fails."""
        if key.id in self._notes or key.is_use_recorded(self._now()):
            return
        note = asyncio.create_task(self._write_use(key.id))
        self._notes[key.id] = note
        note.add_done_callback(lambda _: self._notes.pop(key.id))

    async def _write_use(self, key_id: int) -> None:
        try:
            async with (
                asyncio.timeout(NOTE_SECONDS),
                self._database.session() as session,
                session.transaction(),
            ):
                await api_keys.record_use(session, key_id, self._now())
        except Exception as error:  # noqa: BLE001 - a background task
            log.warning("the use of an API key was not noted", reason=type(error).__name__)

    def _cached(self, digest: bytes) -> Caller | None:
        known = self._cache.get(digest)
        return known.caller if known and self._clock() < known.fresh_until else None

    def _store(self, digest: bytes, caller: Caller) -> None:
        # An entry never outlives the credentials.
        seconds = CACHE_SECONDS
        if caller.expires_at is not None:
            seconds = min(seconds, (caller.expires_at - self._now()).total_seconds())
        now = self._clock()
        known = _CachedCaller(caller, now + seconds, now + KNOWN_SECONDS)
        self._remember(self._cache, digest, known)

    def _remember(self, memory: dict[bytes, T], digest: bytes, value: T) -> None:
        # The oldest entry makes room.
        memory.pop(digest, None)
        if len(memory) >= self._max_cached:
            del memory[next(iter(memory))]
        memory[digest] = value


def _digest(credentials: str) -> bytes:
    return hashlib.sha256(credentials.encode()).digest()
