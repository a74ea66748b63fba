"""Accepted token issuers: their keys and algorithms.

ValueError
└── InvalidIssuerField  a field of an issuer conflicts with its other fields
"""

import re
from ipaddress import ip_address
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
SIGNATURES: Final = (*_RSA, *_CURVES.values(), "EdDSA")
_DEFAULT_SIGNATURES: Final = ("RS256", "ES256", "EdDSA", "PS256")
_MIN_RSA_BITS: Final = 2048  # RFC 7518 3.3
# Minimum length of a secret: the size of the hash output (RFC 7518 3.2). algorithm -> bytes.
_SECRETS: Final = {"HS256": 32, "HS384": 48, "HS512": 64}


class InvalidIssuerField(ValueError):
    """A field of an issuer conflicts with its other fields. `key` is the field's name."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Issuer(BaseModel):
    """An issuer: its `iss`, the `aud` that its tokens must contain, and its key.

    Exactly one of `jwks_url`, `public_key` (PEM) and `secret` is set. `leeway` is the accepted
    clock skew in seconds. With `services`, subjects that are no users are accepted as services.
    """

    # The kind of key determines the algorithms, never the token: otherwise an attacker could sign
    # a token with the public key as an HMAC secret (RFC 8725 2.1).
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    issuer: Annotated[str, Field(min_length=1, max_length=2000)]
    audience: Annotated[str, Field(min_length=1, max_length=2000)]
    jwks_url: str | None = None
    public_key: str | None = None
    secret: SecretStr | None = None
    algorithms: tuple[str, ...] = ()
    leeway: Annotated[float, Field(ge=0, le=300)] = 30
    services: bool = True

    @field_validator("algorithms", mode="before")
    @classmethod
    def _listed(cls, algorithms: Any) -> Any:
        if isinstance(algorithms, str):
            return tuple(name.strip() for name in algorithms.split(",") if name.strip())
        return algorithms

    @field_validator("jwks_url")
    @classmethod
    def _read_in_private(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not re.fullmatch(r"[!-~]+", url):
            raise ValueError("a URL is in ASCII and without white space")
        if not _is_private(url):
            raise ValueError("keys come over https, or over http from this machine itself")
        scheme, rest = url.split(":", 1)
        return f"{scheme.lower()}:{rest}"

    @field_validator("public_key")
    @classmethod
    def _with_lines(cls, pem: str | None) -> str | None:
        return pem and pem.replace("\\n", "\n")

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if [self.jwks_url, self.public_key, self.secret].count(None) != 2:  # noqa: PLR2004 - all but one
            raise InvalidIssuerField(
                self._key_given(), "an issuer needs exactly one of jwks_url, public_key and secret"
            )
        known = SIGNATURES if self.secret is None else tuple(_SECRETS)
        if not set(self.algorithms) <= set(known):
            raise InvalidIssuerField(
                "algorithms", f"the algorithms of this key can be {', '.join(known)}"
            )
        if self.secret is not None:
            self._check_secret(self.secret.get_secret_value())
        elif self.public_key is not None:
            self._check_public_key()
        return self

    def _key_given(self) -> str:
        names = ("jwks_url", "public_key", "secret")
        return next((n for n in reversed(names) if getattr(self, n) is not None), "issuer")

    def _check_public_key(self) -> None:
        try:
            key = self.loaded_key()
        except ValueError as error:
            raise InvalidIssuerField("public_key", str(error)) from None
        if not self.allowed(key):
            raise InvalidIssuerField("public_key", "the public_key does not fit the algorithms")

    def _check_secret(self, secret: str) -> None:
        needed = max(_SECRETS[name] for name in self.accepted())
        if len(secret.encode(errors="surrogatepass")) < needed:
            raise InvalidIssuerField("secret", f"the secret needs at least {needed} bytes")

    def accepted(self) -> tuple[str, ...]:
        if self.secret is not None:
            return self.algorithms or ("HS256",)
        return self.algorithms or _DEFAULT_SIGNATURES

    def allowed(self, key: PublicKey) -> tuple[str, ...]:
        return tuple(name for name in self.accepted() if name in fitting(key))

    def loaded_key(self) -> PublicKey:
        """Parse the PEM. Raises ValueError if it contains no supported public key."""
        try:
            key = load_pem_public_key((self.public_key or "").encode())
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("the public_key is no PEM of a public key") from None
        if not isinstance(key, PublicKey) or not fitting(key):
            raise ValueError("a public_key is RSA from 2048 bits on, EC (NIST curves) or Ed25519")
        return key


def fitting(key: PublicKey) -> tuple[str, ...]:
    """Return the algorithms of a key (RFC 7518 3.1, RFC 8037 3.1); none for a weak key."""
    match key:
        case RSAPublicKey():
            return _RSA if key.key_size >= _MIN_RSA_BITS else ()
        case EllipticCurvePublicKey():
            name = _CURVES.get(key.curve.name)
            return (name,) if name else ()
        case Ed25519PublicKey():
            return ("EdDSA",)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private(url: str) -> bool:
    # Keys must not be changed in transit, and a URL with a password could be logged.
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
