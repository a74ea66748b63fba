"""Verifies JWTs (RFC 7519) of configured issuers, following RFC 8725.

Exception
└── InvalidToken  the token is rejected
"""

import time
import unicodedata
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import jwt
import orjson
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidSignatureError,
    MissingRequiredClaimError,
)

from graph.auth.issuers import Issuer, PublicKey
from graph.auth.jwks import FETCH_TIMEOUT, JwksCache, KeysUnavailableError
from users.api_keys import known_scopes
from users.identity import external_id_key
from users.policy import EVERY_SCOPE, Scope

__all__ = ["Claims", "InvalidToken", "KeysUnavailableError", "TokenVerifier"]

MAX_BYTES: Final = 8 * 1024
LABEL_LENGTH: Final = 200
_LAST_MOMENT: Final = 253_402_300_799 - 3600  # the end of year 9999, minus more than the leeway
# Access tokens by RFC 9068 2.1, and the types that older issuers use. Logout tokens, for example,
# are rejected.
_TYPES: Final = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
_JOINERS: Final = "\u200c\u200d"  # of category Cf, but needed to write names in some scripts
_REQUIRED: Final = ["iss", "aud", "exp", "sub"]
# The scope claims of RFC 8693 section 4.2, of Microsoft and Okta, and of Auth0.
_SCOPE_CLAIMS: Final = ("scope", "scp", "permissions")
_REASONS: Final[Mapping[type[Exception], str]] = {
    ExpiredSignatureError: "the token has expired",
    ImmatureSignatureError: "the token is not valid yet: compare the clocks",
    InvalidAudienceError: "`aud` does not contain the configured audience",
    InvalidSignatureError: "the signature is not that of the issuer's key",
    MissingRequiredClaimError: "`iss`, `aud`, `exp` or `sub` is missing",
}


class InvalidToken(Exception):
    """The token is rejected. The reason is logged, so it contains no part of the token."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The content of a valid token. `expires_at` is its `exp` plus the leeway.

    `services` is the issuer's setting: whether subjects that are no users are accepted.
    """

    subject: str
    issuer: str
    scopes: frozenset[Scope]
    expires_at: datetime
    label: str | None
    services: bool = True


class TokenVerifier:
    def __init__(
        self,
        issuers: Sequence[Issuer],
        clock: Callable[[], float] = time.monotonic,
        fetch_timeout: float = FETCH_TIMEOUT,
    ) -> None:
        """`clock` and `fetch_timeout`, in seconds, are those of the issuers' published keys."""
        self._issuers = {
            issuer.issuer: _SignatureVerifier(issuer, clock, fetch_timeout) for issuer in issuers
        }

    async def verify(self, token: str) -> Claims:
        """Raise `InvalidToken`, or `KeysUnavailableError` if the signature cannot be checked."""
        try:
            return await self._verify(token)
        except (InvalidToken, KeysUnavailableError):
            raise
        except Exception as error:  # noqa: BLE001 - untrusted input can raise any error
            # The message of the error may quote the token.
            raise InvalidToken(_REASONS.get(type(error), type(error).__name__)) from None

    @property
    def published_keys(self) -> Sequence[JwksCache]:
        """The key sets that are fetched."""
        return [each.published for each in self._issuers.values() if each.published]

    def is_plausible(self, token: str) -> bool:
        """Return whether a token names a known issuer and its audience, and has not expired.

        The signature is not verified. This takes 5 µs, and at most 200 µs for a hostile token.
        """
        if len(token) > MAX_BYTES:
            return False
        try:
            _, payload, _ = token.split(".")
            claims = orjson.loads(urlsafe_b64decode(payload + "=="))
            issuer = self._issuers[claims["iss"]].issuer
            audience, exp = claims["aud"], claims["exp"]
            named = audience == issuer.audience or issuer.audience in list(audience)
            return bool(named and exp > time.time() - issuer.leeway)  # noqa: TID251 - `exp` is wall-clock time
        except Exception:  # noqa: BLE001 - as in `verify`
            return False

    async def _verify(self, token: str) -> Claims:
        if len(token.encode(errors="surrogatepass")) > MAX_BYTES:
            raise InvalidToken("longer than 8 KiB")
        header, claims = _unverified(token)
        signatures = self._issuers.get(claims["iss"])
        if signatures is None:
            raise InvalidToken("the issuer is unknown")
        claims = await signatures.verify(token, header)
        issuer = signatures.issuer
        return Claims(
            subject=_subject(claims),
            issuer=issuer.issuer,
            scopes=_scopes(claims),
            expires_at=datetime.fromtimestamp(claims["exp"] + issuer.leeway, UTC),
            label=_label(claims),
            services=issuer.services,
        )


class _SignatureVerifier:
    """Checks the signature, issuer, audience and times of one issuer's tokens."""

    def __init__(self, issuer: Issuer, clock: Callable[[], float], fetch_timeout: float) -> None:
        self.issuer = issuer
        self.published = (
            JwksCache(issuer, clock, fetch_timeout) if issuer.jwks_url is not None else None
        )
        self._public = issuer.loaded_key() if issuer.public_key is not None else None

    async def verify(self, token: str, header: Mapping[str, Any]) -> dict[str, Any]:
        algorithm = header.get("alg")
        if algorithm not in self.issuer.accepted():
            raise InvalidToken("the algorithm is not allowed")
        *others, last = await self._keys(header.get("kid"), str(algorithm))
        for key in others:
            with suppress(InvalidSignatureError):
                return self._decode(token, key, str(algorithm))
        return self._decode(token, last, str(algorithm))

    def _decode(self, token: str, key: PublicKey | str, algorithm: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self.issuer.audience,
            issuer=self.issuer.issuer,
            leeway=self.issuer.leeway,
            options={"require": _REQUIRED, "enforce_minimum_key_length": True},
        )

    async def _keys(self, kid: str | None, algorithm: str) -> Sequence[PublicKey | str]:
        # Keys that the token contains or points to (jwk, jku, x5u) are never used.
        if self.issuer.secret is not None:
            return [self.issuer.secret.get_secret_value()]
        keys: Sequence[PublicKey] = ()
        if self.published is not None:
            keys = await self.published.find(kid, algorithm)
        elif self._public is not None and algorithm in self.issuer.allowed(self._public):
            keys = [self._public]
        if not keys:
            raise InvalidToken("there is no such key for the algorithm")
        return keys


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    # The header and the issuer select the key, so they are read before the verification.
    whole = jwt.decode_complete(token, options={"verify_signature": False})
    header, claims = whole["header"], whole["payload"]
    if "crit" in header or "b64" in header:  # RFC 7515 4.1.11: no extension is supported
        raise InvalidToken("the header has an extension")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise InvalidToken("it is of another type")
    if not all(_is_moment(claims[name]) for name in ("exp", "nbf", "iat") if name in claims):
        raise InvalidToken("a time is not a time")
    if not isinstance(claims.get("iss"), str):
        raise InvalidToken("there is no issuer")
    return header, claims


def _is_moment(value: Any) -> bool:
    """Return whether a JSON value is a NumericDate (RFC 7519 2) before the year 10000."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= _LAST_MOMENT  # False for NaN and Infinity, which Python's JSON accepts


def _subject(claims: Mapping[str, Any]) -> str:
    # The `sub` must be a valid external id: 1 to 255 characters of readable text.
    subject = claims["sub"]
    if not isinstance(subject, str) or external_id_key(subject) is None:
        raise InvalidToken("the subject is no readable text of 1 to 255 characters")
    return subject


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    return known_scopes({name for claim in _SCOPE_CLAIMS for name in _names(claim, claims)})


def _names(claim: str, claims: Mapping[str, Any]) -> list[str]:
    """Return the names in a scope claim: a space-separated string, or a list of strings.

    Null counts as an absent claim. Raises InvalidToken for any other value.
    """
    # An ignored claim would remove the caller's scopes: they would see an empty directory instead
    # of an error.
    match claims.get(claim):
        case None:
            return []
        case str(names):
            return names.split()
        case list(names) if all(isinstance(name, str) and _is_one_name(name) for name in names):
            return names
    raise InvalidToken(f"the claim `{claim}` is neither a string nor a list of scope names")


def _is_one_name(entry: str) -> bool:
    """Return False if an entry contains a Roster scope and other text."""
    # Scope names contain no spaces (RFC 6749 section 3.3), so an entry such as "not users:write"
    # is ambiguous. Other entries with spaces are names in another system.
    return entry in EVERY_SCOPE or not known_scopes(entry.split())


def _label(claims: Mapping[str, Any]) -> str | None:
    # The label is shown in the history of users, so invisible characters are removed.
    for claim in ("name", "preferred_username"):
        if isinstance(name := claims.get(claim), str):
            seen = "".join(c for c in name if c in _JOINERS or _is_seen(c))
            if label := seen.strip()[:LABEL_LENGTH].strip():
                return label
    return None


def _is_seen(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] != "C" and category not in {"Zl", "Zp"}
