"""Settings: `ROSTER_` in the environment or in `.env`; each stands in the README."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from limits import parse
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from db.engine import Database
from db.url import check_url, parse_url
from graph.issuers import Issuer, is_loopback
from graph.limits import Limits
from graph.trusted import TrustedMode, read_manifest
from users.identity import UsernameEmails


class Mode(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


_SECRET_BYTES = 32
_LIMITS = Limits()
_DEVELOPMENT: dict[str, Any] = {
    "sockets_per_caller": 10_000,
    "rate_limit": None,
    "max_aliases": 200,
    "max_root_fields": 200,
    "introspection": True,
}


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ROSTER_", env_file=".env", extra="ignore")

    mode: Mode = Mode.DEVELOPMENT
    database_url: Annotated[
        str, Field(validation_alias=AliasChoices("ROSTER_DATABASE_URL", "DATABASE_URL"))
    ] = "sqlite:///./roster.db"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    pool_timeout: Annotated[float, Field(gt=0, le=600)] = 30
    pool_pre_ping: bool = True
    pool_max_age: Annotated[float, Field(gt=0, le=86_400)] = 1800
    statement_timeout: Annotated[float, Field(gt=0, le=3600)] = 30
    idle_transaction_timeout: Annotated[float, Field(ge=0, le=86_400)] = 30
    database_idle_timeout: bool = True
    socket_init_timeout: Annotated[float, Field(gt=0, le=600)] = 8
    socket_operations: Annotated[int, Field(ge=1, le=10_000)] = 100
    sockets_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    caller_watch: Annotated[float, Field(gt=0, le=3600)] = 30
    send_timeout: Annotated[float, Field(gt=0, le=600)] = 10
    keep_alive_timeout: Annotated[int, Field(ge=1, le=3600)] = 75
    shutdown_timeout: Annotated[float, Field(gt=0, le=600)] = 8
    body_limit: Annotated[int, Field(ge=1024, le=100_000_000)] = 1024 * 1024
    body_timeout: Annotated[float, Field(gt=0, le=600)] = 10
    batch_limit: Annotated[int, Field(ge=0, le=100)] = 0
    query_timeout: Annotated[float, Field(gt=0, le=3600)] = 15
    mutation_timeout: Annotated[float, Field(gt=0, le=3600)] = 60
    concurrent_operations: Annotated[int, Field(ge=1, le=100_000)] = 500
    rate_limit: str | None = "6000/minute"
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)] = _LIMITS.characters
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = _LIMITS.tokens
    max_depth: Annotated[int, Field(ge=1, le=100)] = _LIMITS.depth
    max_fields: Annotated[int, Field(ge=1, le=100_000)] = _LIMITS.fields
    max_aliases: Annotated[int, Field(ge=0, le=100_000)] = _LIMITS.aliases
    max_directives: Annotated[int, Field(ge=0, le=100_000)] = _LIMITS.directives
    max_root_fields: Annotated[int, Field(ge=1, le=100_000)] = _LIMITS.root_fields
    max_fragments: Annotated[int, Field(ge=0, le=10_000)] = _LIMITS.fragments
    max_cost: Annotated[int, Field(ge=1, le=10_000_000)] = _LIMITS.cost
    max_values: Annotated[int, Field(ge=1, le=1_000_000)] = _LIMITS.values
    max_answer_values: Annotated[int, Field(ge=1, le=100_000_000)] = _LIMITS.answer
    username_emails: UsernameEmails = UsernameEmails.OWN
    introspection: bool = False
    trusted_documents: TrustedMode = TrustedMode.OFF
    trusted_manifest: Path | None = None
    allowed_hosts: Annotated[list[str], NoDecode] = []
    cors_origins: Annotated[list[str], NoDecode] = []
    log_format: Annotated[str, Field(pattern="^(text|json)$")] = "text"
    auth_issuer: str | None = None
    auth_audience: str | None = None
    auth_jwks_url: str | None = None
    auth_public_key: str | None = None
    auth_secret: SecretStr | None = None
    auth_algorithms: str | None = None
    auth_leeway: float | None = None
    auth_services: bool | None = None
    auth_issuers: Annotated[tuple[Issuer, ...], NoDecode] = ()
    auth_api_keys: bool = True
    identity_secret: SecretStr | None = None

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, host: str) -> str:
        return host.removeprefix("[").removesuffix("]")

    @field_validator("database_url")
    @classmethod
    def _database_can_be_used(cls, url: str) -> str:
        check_url(parse_url(url))
        return url

    @field_validator("identity_secret", "auth_services", mode="before")
    @classmethod
    def _empty_is_none(cls, given: object) -> object:
        return given or None

    @field_validator("identity_secret")
    @classmethod
    def _is_long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(_bytes(secret)) < _SECRET_BYTES:
            raise ValueError(f"the secret needs at least {_SECRET_BYTES} bytes")
        return secret

    @field_validator("allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _comma_separated(cls, given: object) -> object:
        if isinstance(given, str):
            return [part for part in map(str.strip, given.split(",")) if part]
        return given

    @field_validator("rate_limit")
    @classmethod
    def _rate_can_be_read(cls, given: str | None) -> str | None:
        if not given or given == "off":
            return None
        try:
            parse(given)
        except ValueError:
            raise ValueError("has to be a rate such as 6000/minute, or off") from None
        return given

    @model_validator(mode="before")
    @classmethod
    def _with_room_for_a_developer(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Give development defaults of its own, where nothing else is said."""
        if given.get("mode", Mode.DEVELOPMENT) == Mode.DEVELOPMENT:
            return _DEVELOPMENT | given
        return given

    @model_validator(mode="after")
    def _manifest_is_there(self) -> Self:
        if self.trusted_documents is not TrustedMode.OFF and self.trusted_manifest is None:
            raise ValueError("ROSTER_TRUSTED_DOCUMENTS needs ROSTER_TRUSTED_MANIFEST")
        self.manifest()
        return self

    @field_validator("auth_issuers", mode="before")
    @classmethod
    def _is_a_list(cls, issuers: Any) -> Any:
        if not isinstance(issuers, str):
            return issuers
        try:
            match json.loads(issuers):
                case list(listed):
                    return listed
        except (ValueError, RecursionError):
            pass
        raise ValueError("this is a JSON list of objects")

    @model_validator(mode="after")
    def _issuers_are_told_apart(self) -> Self:
        names = [issuer.issuer for issuer in self.issuers()]
        if len(set(names)) < len(names):
            raise ValueError("ROSTER_AUTH_ISSUERS: an issuer stands there twice")
        return self

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> Self:
        if self.mode is Mode.DEVELOPMENT and not is_loopback(self.host):
            raise ValueError(
                f"development mode asks nobody to sign in, so {self.host} must be 127.0.0.1"
            )
        keys_are_meant = self.auth_api_keys and "auth_api_keys" in self.model_fields_set
        if self.mode is Mode.PRODUCTION and not (self.issuers() or keys_are_meant):
            raise ValueError(
                "production needs a way to sign in: ROSTER_AUTH_ISSUER and its key, "
                "or ROSTER_AUTH_API_KEYS=true for API keys alone"
            )
        return self

    def manifest(self) -> dict[str, str]:
        return {} if self.trusted_manifest is None else read_manifest(self.trusted_manifest)

    def document_limits(self) -> Limits:
        return Limits(
            characters=self.max_characters,
            tokens=self.max_tokens,
            depth=self.max_depth,
            fields=self.max_fields,
            aliases=self.max_aliases,
            directives=self.max_directives,
            root_fields=self.max_root_fields,
            fragments=self.max_fragments,
            cost=self.max_cost,
            values=self.max_values,
            answer=self.max_answer_values,
        )

    def issuers(self) -> tuple[Issuer, ...]:
        """Give every issuer: those of AUTH_ISSUERS, and the one of the settings of its own."""
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
            raise ValueError(_issuer_line(error)) from None

    def database(self, *, for_requests: bool = True) -> Database:
        return Database(
            self.database_url,
            pool_size=self.pool_size,
            pool_timeout=self.pool_timeout,
            pool_pre_ping=self.pool_pre_ping,
            pool_max_age=self.pool_max_age,
            statement_timeout=self.statement_timeout if for_requests else None,
            idle_transaction_timeout=self.idle_transaction_timeout,
            identity_secret=_bytes(self.identity_secret) if self.identity_secret else None,
        )


class WrongSettings(Exception):
    """One line for each wrong setting, and never its value: it may hold a password."""


def load() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        raise WrongSettings("\n".join(_line(e) for e in error.errors())) from None


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode(errors="surrogatepass")


def _line(error: object) -> str:
    assert isinstance(error, dict)
    name = "_".join(str(part) for part in error["loc"]).upper().removeprefix("ROSTER_")
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"ROSTER_{name}: {message}" if name else message


def _issuer_line(error: ValidationError) -> str:
    """Say what is wrong with the one issuer, by the name of its setting."""
    first = error.errors()[0]
    return _line({"loc": ("auth", *(first["loc"] or ("issuer",))), "msg": first["msg"]})
