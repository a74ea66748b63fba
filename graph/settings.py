"""Settings: `ROSTER_` in the environment or in `.env`; docs/operations.md describes each.

Every value is parsed into what it means, or rejected with a line that names its variable.
"""

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from limits import parse
from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from db.engine import Database
from db.url import check_url, parse_url
from graph.auth.issuers import InvalidIssuerField, Issuer, is_loopback
from graph.documents.limits import Limits
from graph.documents.persisted import PersistedMode, read_manifest
from graph.environment import NAME, InvalidSettings, Variables
from graph.protocol.origins import parse_host, parse_list, parse_origin
from users.identity import UsernameEmails


class Mode(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


_SECRET_BYTES = 32
_LIMITS = Limits()
_LOWER: Final = BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given)
_RATE: Final = (
    "must be one rate such as 6000/minute, of at least 1 per second, minute, hour, day, month or "
    "year, or off"
)
_RATE_FORM: Final = re.compile(
    r"[0-9]{1,10}\s*(/|per)\s*([1-9][0-9]{0,8})?\s*[a-z]+", re.IGNORECASE
)
_MOST_REQUESTS: Final = 10**9
_LONGEST_WINDOW: Final = 366 * 24 * 3600  # seconds
_HOST: Final = "must be an IP address or a host name, without a scheme and without a port"
_DEVELOPMENT: dict[str, Any] = {
    "sockets_per_caller": 10_000,
    "rate_limit": None,
    "max_aliases": 200,
    "max_root_fields": 200,
    "introspection": True,
}


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="ROSTER_", extra="forbid", hide_input_in_errors=True
    )

    mode: Annotated[Mode, _LOWER] = Mode.DEVELOPMENT
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
    username_emails: Annotated[UsernameEmails, _LOWER] = UsernameEmails.OWN
    introspection: bool = False
    trusted_documents: Annotated[PersistedMode, _LOWER] = PersistedMode.OFF
    trusted_manifest: Path | None = None
    allowed_hosts: list[str] = []
    cors_origins: list[str] = []
    log_format: Annotated[Literal["text", "json"], _LOWER] = "text"
    auth_issuer: str | None = None
    auth_audience: str | None = None
    auth_jwks_url: str | None = None
    auth_public_key: str | None = None
    auth_secret: SecretStr | None = None
    auth_algorithms: str | None = None
    auth_leeway: float | None = None
    auth_services: bool | None = None
    auth_issuers: tuple[Issuer, ...] = ()
    auth_api_keys: bool = True
    identity_secret: SecretStr | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, Variables(settings_cls)

    @field_validator("database_url")
    @classmethod
    def _database_can_be_used(cls, url: str) -> str:
        check_url(parse_url(url))
        return url

    @field_validator("identity_secret")
    @classmethod
    def _is_long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(_bytes(secret)) < _SECRET_BYTES:
            raise ValueError(f"the secret needs at least {_SECRET_BYTES} bytes")
        return secret

    @field_validator("host")
    @classmethod
    def _host_is_an_address(cls, host: str) -> str:
        name = host.removeprefix("[").removesuffix("]").lower()
        if re.fullmatch(r"[a-z0-9_.-]+", name):
            return name
        try:
            return str(ip_address(name))
        except ValueError:
            raise ValueError(_HOST) from None

    @field_validator("allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _entries_are_parsed(cls, given: object, info: ValidationInfo) -> object:
        parse = parse_host if info.field_name == "allowed_hosts" else parse_origin
        if isinstance(given, list):
            return [parse(entry) for entry in given]
        return parse_list(given, parse) if isinstance(given, str) else given

    @field_validator("rate_limit")
    @classmethod
    def _rate_can_be_read(cls, given: str | None) -> str | None:
        if given is None or given.lower() == "off":
            return None
        _check_rate(given)
        return given

    @field_validator("trusted_manifest")
    @classmethod
    def _manifest_can_be_read(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_manifest(path)
        return path

    @field_validator("auth_issuers", mode="before")
    @classmethod
    def _issuers_are_a_list(cls, issuers: Any) -> Any:
        return _parse_issuers(issuers) if isinstance(issuers, str) else issuers

    @field_validator("*", mode="before")  # the last one, which is the first to be run
    @classmethod
    def _value_is_clean(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, str):
            return given
        field = cls.model_fields[info.field_name or ""]
        return _clean(given, exact=SecretStr in get_args(field.annotation))

    @model_validator(mode="before")
    @classmethod
    def _with_room_for_a_developer(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Use the defaults of development for what is not set."""
        mode = given.get("mode", Mode.DEVELOPMENT)
        if isinstance(mode, str) and mode.strip().lower() == Mode.DEVELOPMENT:
            return _DEVELOPMENT | given
        return given

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        """Raise InvalidSettings, which names the variable to change and not the model."""
        if self.trusted_documents is not PersistedMode.OFF and self.trusted_manifest is None:
            raise InvalidSettings("ROSTER_TRUSTED_DOCUMENTS: needs ROSTER_TRUSTED_MANIFEST")
        if self.mode is Mode.DEVELOPMENT and not is_loopback(self.host):
            raise InvalidSettings(
                "ROSTER_HOST: in development mode nobody signs in, so this must be an address of "
                "this machine alone: 127.0.0.1, ::1 or localhost. ROSTER_MODE=production accepts "
                "any"
            )
        keys_are_meant = self.auth_api_keys and "auth_api_keys" in self.model_fields_set
        if self.mode is Mode.PRODUCTION and not (self.issuers() or keys_are_meant):
            raise InvalidSettings(
                "ROSTER_MODE: production needs a way to sign in: ROSTER_AUTH_ISSUER and its key, "
                "or ROSTER_AUTH_API_KEYS=true for API keys alone"
            )
        return self

    @model_validator(mode="after")
    def _issuers_are_told_apart(self) -> Self:
        names = [issuer.issuer for issuer in self.auth_issuers]
        if len(set(names)) < len(names):
            raise InvalidSettings("ROSTER_AUTH_ISSUERS: lists the same issuer twice")
        if len(self.issuers()) > len(names) and self.auth_issuer in names:
            raise InvalidSettings("ROSTER_AUTH_ISSUER: is listed in ROSTER_AUTH_ISSUERS, too")
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
        """Return all issuers: those of AUTH_ISSUERS, and the one that has its own settings."""
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
            raise InvalidSettings("\n".join(_issuer_lines(error, list(given)))) from None

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


def load() -> Settings:
    """Read the settings from the environment. Raises InvalidSettings."""
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettings("\n".join(_line(e) for e in error.errors())) from None


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode(errors="surrogatepass")


def _check_rate(text: str) -> None:
    """Raise ValueError for what is not one rate: `limits` would take the first of several."""
    try:
        rate = parse(text) if _RATE_FORM.fullmatch(text) else None
    except ValueError:  # there is no such unit
        rate = None
    if not rate or not 1 <= rate.amount <= _MOST_REQUESTS or rate.get_expiry() > _LONGEST_WINDOW:
        raise ValueError(_RATE)


def _clean(value: str, *, exact: bool) -> str:
    """Remove white space around a value; raise ValueError for what was not meant to be in it.

    Of a secret nothing is removed: the result would be another secret.
    """
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("is not in UTF-8")
    stripped = value.strip()
    if exact and stripped != value:
        raise ValueError("has white space before or after it, such as a line break: remove it")
    if len(stripped) > 1 and stripped[0] == stripped[-1] and stripped[0] in "\"'":
        raise ValueError("is in quotation marks, which `docker --env-file` keeps: remove them")
    return stripped


def _parse_issuers(text: str) -> list[Any]:
    try:
        match json.loads(text, object_pairs_hook=_without_duplicates):
            case list(listed):
                return listed
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"must be a JSON list of objects: no JSON from {where} on") from None
    except RecursionError:
        pass
    raise ValueError("must be a JSON list of objects")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("must be a JSON list of objects, in which each key occurs once")
    return found


def _line(error: object) -> str:
    """Format an error. pydantic names a field by its own name, or by the alias that is set."""
    assert isinstance(error, dict)
    first, *rest = error["loc"]
    name = first if first.isupper() else f"ROSTER_{first.upper()}"
    if error["type"] == "extra_forbidden" and not rest:
        return _unknown(name)
    return f"{name}{_path(rest, error)}: {_message(error)}"


def _path(keys: list[Any], error: dict[str, Any]) -> str:
    """Format the place in a JSON value: `[0].secret`."""
    keys = [key for key in (*keys, *_key(error)) if isinstance(key, int) or NAME.fullmatch(key)]
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def _key(error: dict[str, Any]) -> list[str]:
    """Name the key of an issuer that is wrong because of the others."""
    cause = error.get("ctx", {}).get("error")
    return [cause.key] if isinstance(cause, InvalidIssuerField) else []


def _message(error: dict[str, Any]) -> str:
    if error["type"] == "bool_parsing":
        return "Input should be a valid boolean, true or false"
    return str(error["msg"]).removeprefix("Value error, ")


def _unknown(name: str) -> str:
    if not NAME.fullmatch(name):
        return "a variable has a name that begins with ROSTER_ and is no setting"
    known = [field_name.upper() for field_name in Settings.model_fields]
    close = get_close_matches(name.removeprefix("ROSTER_"), known, n=1)
    hint = f"did you mean ROSTER_{close[0]}?" if close else "docs/operations.md lists all settings"
    return f"{name}: there is no such setting; {hint}"


def _issuer_lines(error: ValidationError, given: list[str]) -> Iterator[str]:
    """Say what is wrong with the issuer that has its own settings, by their names."""
    for found in error.errors():
        key = str([*found["loc"], *_key(dict(found)), "issuer"][0])
        message = _message(dict(found))
        if found["type"] == "missing":
            message = f"is missing, and ROSTER_AUTH_{given[0].upper()} needs it"
        yield f"ROSTER_AUTH_{key.upper()}: {message}"
