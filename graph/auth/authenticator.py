"""Authenticates the `Authorization` header of a request: a token or an API key.

Exception
├── InvalidCredentials        the credentials are not accepted
└── SubjectsUnavailableError  no service can be authenticated: the identity secret is missing
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
from graph.auth.issuers import Issuer
from graph.auth.tokens import Claims, InvalidToken, TokenVerifier
from users import api_keys
from users.api_keys import ApiKey
from users.clock import now as utc_now
from users.policy import Caller
from users.recorder import Actor

log = structlog.get_logger("roster")

T = TypeVar("T")

CACHE_SECONDS: Final = 5.0  # so that whoever is switched off is out within as long
# Seconds for which credentials that were valid are checked before others, and for which those that
# were not are not checked again beyond the limit of invalid ones.
KNOWN_SECONDS: Final = 300.0
REJECTED_SECONDS: Final = 10.0
# Nothing else limits how long a request waits to be let in, nor how long the process waits to end.
SEARCH_SECONDS: Final = 10.0
NOTE_SECONDS: Final = 5.0
MAX_CACHED: Final = 10_000
# RFC 6750 2.1 with RFC 9110 11.1: the scheme in any case, one space or more, a b64token.
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE | re.ASCII)


class InvalidCredentials(Exception):
    """Credentials that are not believed. The reason is for the log, and names nobody."""


class _CachedCaller(NamedTuple):
    """A caller whose credentials were valid, and until when that counts."""

    caller: Caller
    fresh_until: float
    known_until: float


class SubjectsUnavailableError(Exception):
    """Nobody can be told from a former user: the process lacks the secret of the database.

    It has to be restarted with ROSTER_IDENTITY_SECRET. `retry_after` is seconds.
    """

    retry_after: Final = 60


class Authenticator:
    """Authenticates callers by tokens and API keys.

    Callers are cached for some seconds, by the digest of their credentials. Rejections are not.
    Close it before the database.
    """

    def __init__(
        self,
        database: Database,
        issuers: Sequence[Issuer] = (),
        *,
        api_keys: bool = True,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._verifier = TokenVerifier(issuers)
        self._api_keys = api_keys
        self._clock = clock
        self._now = now
        self._cache: dict[bytes, _CachedCaller] = {}
        self._rejected: dict[bytes, float] = {}
        self._searches: dict[bytes, asyncio.Task[Caller]] = {}
        self._notes: dict[int, asyncio.Task[None]] = {}
        self._identity_key: IdentityKey | None = None

    async def authenticate(self, authorization: str | None) -> Caller | None:
        """Return the caller who sends this header; None without a header.

        Raises `InvalidCredentials`, `KeysUnavailableError` where an issuer's keys can't be had,
        `SubjectsUnavailableError`, and whatever the database raises when it is not to be had.
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

    def is_known(self, authorization: str) -> bool:
        """Return whether these credentials were valid within the last minutes, and never since not.

        That they have expired since makes no difference: then they are refused once.
        """
        found = _BEARER.fullmatch(authorization)
        known = found and self._cache.get(_digest(found[1]))
        return bool(known and self._clock() < known.known_until)

    def may_be_valid(self, authorization: str) -> bool:
        """Return whether only a full check can tell that credentials are invalid.

        Costs a small part of such a check, and changes nothing.
        """
        found = _BEARER.fullmatch(authorization)
        if found is None or self._clock() < self._rejected.get(_digest(found[1]), 0.0):
            return False
        if found[1].startswith(api_keys.PREFIX):
            return self._api_keys
        return self._verifier.is_plausible(found[1])

    async def close(self) -> None:
        """Wait for what is still being read and written."""
        await asyncio.gather(*self._searches.values(), return_exceptions=True)
        await asyncio.gather(*self._notes.values())

    async def _search_once(self, digest: bytes, text: str) -> Caller:
        """Look once for all who send the same at a time: what is kept ends for all of them at once.

        Whoever is cancelled meanwhile leaves the search to the others.
        """
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
            _remember(self._rejected, digest, self._clock() + REJECTED_SECONDS)

    async def _search(self, text: str) -> Caller:
        async with asyncio.timeout(SEARCH_SECONDS):
            return await self._find(text)

    async def _find(self, text: str) -> Caller:
        if self._identity_key is None:  # once in a process, whichever credentials come first
            await self._load_identity_key()
        if text.startswith(api_keys.PREFIX):
            return await self._api_key_caller(text)
        try:
            claims = await self._verifier.verify(text)
        except InvalidToken as invalid:
            raise InvalidCredentials(str(invalid)) from None
        return await self._token_caller(claims)

    async def _load_identity_key(self) -> None:
        with suppress(IdentityKeyError):  # `_sign_in` reports it, to those whom it concerns
            async with self._database.session() as session:
                self._identity_key = await identity_key.load(session)

    async def _token_caller(self, claims: Claims) -> Caller:
        """Find the user that a token's subject is linked to; without one it is a service.

        A subject that was a user's external id is neither: a person who is deleted, or even erased,
        does not become a service with all scopes of their token.
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
        """Read who a subject is, in one statement: a deletion cannot come between two.

        The row has the key of the digests. It changes if `roster migrate` adds the secret, or if
        another database takes the place of this one. A user is found without it.
        """
        found = await self._read_subject(session, subject)
        if found.user_id is None and not (self._identity_key and self._identity_key.is_in(found)):
            secret = identity_key.secret_of(session)
            try:
                self._identity_key = IdentityKey.of(found.key, found.secret_verifier, secret)
            except IdentityKeyError as error:
                log.error("no service can sign in", reason=str(error))  # noqa: TRY400 - it is known
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
        actor = Actor(ActorKind.SERVICE, f"key-{key.id}", key.name)  # no issuer's subject, that is
        return Caller(actor, key.scopes, expires_at=key.expires_at)

    def _note_use(self, key: ApiKey) -> None:
        """Have it written that a key is used. Nobody waits for it, or fails with it."""
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
        except Exception as error:  # noqa: BLE001 - nobody waits for it
            log.warning("the use of an API key was not noted", reason=type(error).__name__)

    def _cached(self, digest: bytes) -> Caller | None:
        known = self._cache.get(digest)
        return known.caller if known and self._clock() < known.fresh_until else None

    def _store(self, digest: bytes, caller: Caller) -> None:
        """Keep a caller for some seconds, and never longer than their credentials live."""
        seconds = CACHE_SECONDS
        if caller.expires_at is not None:
            seconds = min(seconds, (caller.expires_at - self._now()).total_seconds())
        now = self._clock()
        _remember(self._cache, digest, _CachedCaller(caller, now + seconds, now + KNOWN_SECONDS))


def _digest(credentials: str) -> bytes:
    return hashlib.sha256(credentials.encode()).digest()


def _remember(memory: dict[bytes, T], digest: bytes, value: T) -> None:
    """Add to a memory of bounded size, from which the oldest goes."""
    memory.pop(digest, None)
    if len(memory) >= MAX_CACHED:
        del memory[next(iter(memory))]
    memory[digest] = value
