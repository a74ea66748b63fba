"""Who may send requests: issuers of tokens, and API keys."""

from typing import Annotated, Self

from pydantic import BeforeValidator, SecretStr, ValidationError, model_validator

from graph.auth.issuers import Issuer
from graph.environment import InvalidSettings
from graph.settings.errors import issuer_lines
from graph.settings.group import SettingGroup
from graph.settings.values import parse_issuers


def _issuers(given: object) -> object:
    return parse_issuers(given) if isinstance(given, str) else given


class AuthSettings(SettingGroup):
    auth_issuer: str | None = None
    """The `iss` of the tokens."""
    auth_audience: str | None = None
    """The `aud` that the tokens must contain."""
    auth_jwks_url: str | None = None
    """Where the issuer publishes its keys: https, or http on the local machine."""
    auth_public_key: str | None = None
    """Instead of a URL: the issuer's public key as PEM. `\\n` is a line break."""
    auth_secret: SecretStr | None = None
    """Instead of a URL: a secret shared with the issuer, at least 32 bytes (HS256)."""
    auth_algorithms: str | None = None
    """The accepted algorithms: by default `RS256,ES256,EdDSA,PS256`, and `HS256` with a secret."""
    auth_leeway: float | None = None
    """Seconds by which the issuer's clock may differ, by default 30, at most 300."""
    auth_services: bool | None = None
    """Whether subjects of this issuer that are not users are accepted as services. The default is
    `true`.
    """
    auth_issuers: Annotated[tuple[Issuer, ...], BeforeValidator(_issuers)] = ()
    """Several issuers: a JSON list of objects with the names above in lower case and without
    `ROSTER_AUTH_`, for example `issuer`, `audience` and `public_key`. Equal `sub`s of two
    issuers are the same user.
    """
    auth_api_keys: bool = True
    """Whether API keys are accepted. Without an issuer, production mode starts only if this is set
    to `true` explicitly.
    """

    @model_validator(mode="after")
    def _issuers_are_told_apart(self) -> Self:
        names = [issuer.issuer for issuer in self.auth_issuers]
        if len(set(names)) < len(names):
            raise InvalidSettings("ROSTER_AUTH_ISSUERS: lists the same issuer twice")
        if len(self.issuers()) > len(names) and self.auth_issuer in names:
            raise InvalidSettings("ROSTER_AUTH_ISSUER: is listed in ROSTER_AUTH_ISSUERS, too")
        return self

    def issuers(self) -> tuple[Issuer, ...]:
        """Return the issuers of AUTH_ISSUERS and the one that is configured by AUTH_ISSUER etc.

        Raises InvalidSettings if the latter is invalid.
        """
        names = (
            *("issuer", "audience", "jwks_url", "public_key", "secret"),
            *("algorithms", "leeway", "services"),
        )
        given = {n: v for n in names if (v := getattr(self, f"auth_{n}")) is not None}
        if not given:
            return self.auth_issuers
        try:
            return (*self.auth_issuers, Issuer(**given))
        except ValidationError as error:
            raise InvalidSettings("\n".join(issuer_lines(error, list(given)))) from None
