"""Settings: variables with the prefix `ROSTER_` from the environment or from `.env`.

`roster settings` prints a table of them, for docs/operations.md. An invalid value is rejected with
a message that names its variable.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AliasChoices,
    AliasGenerator,
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
from db.erasure_ledger.opening import check_ledger, open_ledger
from db.poolers import Pooler
from db.replication.router import ReadConsistency
from db.url import check_url, parse_replica_urls, parse_url
from graph.auth.issuers import Issuer, is_loopback
from graph.documents.limits import Limits
from graph.documents.persisted import PersistedMode, read_manifest
from graph.environment import InvalidSettings, Variables, names_of, set_variable, validation_alias
from graph.limits.storage_url import parse_storage_url
from graph.protocol.origins import parse_host, parse_list, parse_origin
from graph.setting_errors import issuer_lines, line_of
from graph.setting_values import check_rate, clean, parse_address, parse_issuers
from users.identity import UsernameEmails


class Mode(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


_SECRET_BYTES = 32
_LIMITS = Limits()
_LOWER: Final = BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given)
DEVELOPMENT_DEFAULTS: Final[dict[str, Any]] = {
    "max_connections_per_caller": 10_000,
    "rate_limit": None,
    "max_aliases": 200,
    "drain_period": 0,
    "max_root_fields": 200,
    "introspection": True,
}


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="ROSTER_",
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=validation_alias),
        validate_by_name=True,
        use_attribute_docstrings=True,  # `roster settings` prints them
    )

    mode: Annotated[Mode, _LOWER] = Mode.DEVELOPMENT
    """`production` requires authentication and may listen on any address. `development` accepts
    every caller, and listens on the local machine only.
    """
    database_url: Annotated[
        str, Field(validation_alias=AliasChoices("ROSTER_DATABASE_URL", "DATABASE_URL"))
    ] = "sqlite:///./roster.db"
    """The database. `DATABASE_URL` is read too. See [Database URLs](#database-urls)."""
    database_direct_url: str | None = None
    """The same PostgreSQL database without a pooler, for what needs a session: `LISTEN` and
    `roster migrate`. See [Poolers](#poolers).
    """
    database_pooler: Annotated[Pooler, _LOWER] = Pooler.NONE
    """The kind of pooler that `ROSTER_DATABASE_URL` leads to: `none`, which includes session mode;
    `transaction`; or `transaction-named`, if a pooler in transaction mode supports named
    statements. See [Poolers](#poolers).
    """
    read_database_url: str | None = None
    """PostgreSQL's replicas, for queries: URLs separated by spaces, of which each host is a
    replica. See [Replicas](#replicas).
    """
    read_consistency: Annotated[ReadConsistency, _LOWER] = ReadConsistency.CALLER
    """What reads on replicas show to clients that send no `Roster-Position`. `caller`: at least
    what the caller has written and read by the same process. `token`: anything within
    `ROSTER_READ_MAX_LAG`.
    """
    read_max_lag: Annotated[float, Field(gt=0, le=3600)] = 10
    """Seconds that a replica may be behind the primary."""
    host: str = "127.0.0.1"
    """The address to listen on. In development it must be a local one."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """The port to listen on."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """The number of server processes."""
    management_port: Annotated[int | None, Field(ge=1, le=65535)] = None
    """The port of `/metrics`. If not set, nothing is measured. See [Metrics](#metrics)."""
    management_host: str = "127.0.0.1"
    """The address of `ROSTER_MANAGEMENT_PORT`. Nothing authenticates its callers."""
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    """Database connections of each process."""
    pool_timeout: Annotated[float, Field(gt=0, le=600)] = 30
    """Seconds to wait for a connection of the pool."""
    pool_pre_ping: bool = True
    """Ping a PostgreSQL connection that has rested for a second before it is used. Without an
    answer within two seconds all connections are replaced. Closed connections are noticed
    without a ping, and a read whose connection is cut is retried once.
    """
    pool_max_age: Annotated[float, Field(gt=0, le=86_400)] = 1800
    """Seconds after which a connection to PostgreSQL is replaced, so that no process stays
    connected to a server that was replaced by another.
    """
    database_wait: Annotated[float, Field(ge=0, le=3600)] = 30
    """Seconds in which `roster serve` waits for PostgreSQL to accept connections."""
    statement_timeout: Annotated[float, Field(gt=0, le=3600)] = 30
    """Seconds to wait for an answer from PostgreSQL."""
    idle_transaction_timeout: Annotated[float, Field(ge=0, le=86_400)] = 30
    """Seconds after which PostgreSQL ends an idle transaction. Until then, the transaction of a
    frozen server locks its rows and holds back the feed. `0` means no limit.
    """
    set_database_idle_timeout: bool = True
    """Whether `roster migrate` sets this limit for the whole database, which covers other programs
    too.
    """
    ws_init_timeout: Annotated[float, Field(gt=0, le=600)] = 8
    """Seconds in which a WebSocket must send `connection_init`."""
    max_operations_per_connection: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Concurrent operations of one WebSocket."""
    max_connections_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Open WebSockets and event streams of one caller, in each process."""
    auth_recheck_interval: Annotated[float, Field(gt=0, le=3600)] = 30
    """Seconds between two checks of the credentials of a waiting WebSocket or stream."""
    send_timeout: Annotated[float, Field(gt=0, le=600)] = 10
    """Seconds in which a subscriber must accept a message."""
    keep_alive_timeout: Annotated[int, Field(ge=1, le=3600)] = 75
    """Seconds until an idle connection is closed. It must be longer than a proxy or balancer keeps
    idle connections.
    """
    drain_period: Annotated[float, Field(ge=0, le=600)] = 5
    """Seconds after SIGTERM in which new requests are still served, while `/health/ready` fails:
    longer than a balancer needs to notice.
    """
    shutdown_timeout: Annotated[float, Field(gt=0, le=600)] = 8
    """Seconds in which requests in progress can complete after the drain period."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=100_000_000)] = 1024 * 1024
    """Bytes of a request body."""
    body_timeout: Annotated[float, Field(gt=0, le=600)] = 10
    """Seconds in which a request body must arrive."""
    max_batch_size: Annotated[int, Field(ge=0, le=100)] = 0
    """Requests in one POST, as an array. `0` disables batches."""
    query_timeout: Annotated[float, Field(gt=0, le=3600)] = 15
    """Seconds that a query may take."""
    mutation_timeout: Annotated[float, Field(gt=0, le=3600)] = 60
    """Seconds that a request with mutations may take."""
    max_concurrent_operations: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Concurrent queries and mutations, in each process."""
    rate_limit: str | None = "6000/minute"
    """A rate per second, minute, hour, day, month or year, or `off`. It limits requests of one
    caller, and invalid tokens of one network (an IPv4 address or an IPv6 /64), in each process or,
    with `ROSTER_RATE_LIMIT_STORAGE`, in all.
    """
    rate_limit_storage: SecretStr | None = None
    """The URL of a Redis or Valkey server in which all processes and servers count together, such
    as `rediss://user:password@redis.internal:6379/0`. See [Shared rate
    limits](#shared-rate-limits).
    """
    rate_limit_storage_timeout: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Seconds in which it must answer. Then each process counts its requests until it does."""
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)] = _LIMITS.characters
    """Characters of a document."""
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = _LIMITS.tokens
    """Tokens of a document."""
    max_depth: Annotated[int, Field(ge=1, le=100)] = _LIMITS.depth
    """Nesting levels of fields."""
    max_fields: Annotated[int, Field(ge=1, le=100_000)] = _LIMITS.fields
    """Fields of an operation, including those of fragments."""
    max_aliases: Annotated[int, Field(ge=0, le=100_000)] = _LIMITS.aliases
    """Aliases of an operation."""
    max_directives: Annotated[int, Field(ge=0, le=100_000)] = _LIMITS.directives
    """Directives of an operation."""
    max_root_fields: Annotated[int, Field(ge=1, le=100_000)] = _LIMITS.root_fields
    """Root fields of an operation."""
    max_fragments: Annotated[int, Field(ge=0, le=10_000)] = _LIMITS.fragments
    """Fragments of a document."""
    max_cost: Annotated[int, Field(ge=1, le=10_000_000)] = _LIMITS.cost
    """The cost of an operation: the rows that it requests."""
    max_values: Annotated[int, Field(ge=1, le=1_000_000)] = _LIMITS.values
    """Values in a document, in its variables, and in an operation, where the values of a variable
    count for each use. Each operation of `bulkUsers` may have 20 more.
    """
    max_response_values: Annotated[int, Field(ge=1, le=100_000_000)] = _LIMITS.answer
    """Values that a response could contain: the requested rows times the fields of each."""
    username_emails: Annotated[UsernameEmails, _LOWER] = UsernameEmails.OWN
    """Which usernames may be an e-mail address: the user's `own`, `any` or `none`. A service that
    accepts either for authentication could otherwise confuse two users.
    """
    introspection: bool = False
    """Whether introspection is enabled, and similar names are suggested."""
    federation: bool = False
    """Whether the schema is a subgraph of Apollo Federation 2. `_service` does not depend on
    `ROSTER_INTROSPECTION`. See [Federation](federation.md).
    """
    persisted_documents: Annotated[PersistedMode, _LOWER] = PersistedMode.OFF
    """`on` accepts only documents of the manifest, by `documentId`. `log` logs other documents."""
    persisted_documents_file: Path | None = None
    """The manifest of persisted documents: JSON as written by graphql-codegen, Relay or Apollo."""
    allowed_hosts: list[str] = []
    """Host names and IP addresses of this server, without ports. `*.example.com` means all names
    below `example.com`. If not set, every host is accepted.
    """
    cors_origins: list[str] = []
    """Origins whose pages may send requests, such as `https://app.example.com`. There are no
    wildcards. If not set, only pages of this server may.
    """
    log_format: Annotated[Literal["text", "json"], _LOWER] = "text"
    """`text` for people, `json` for machines."""
    traces: bool = False
    """Whether traces are exported to an OpenTelemetry collector. See [Traces](#traces)."""
    traces_per_second: Annotated[float, Field(ge=1, le=100_000)] = 10
    """New traces of each process in a second. Requests with a `traceparent` are traced if it says
    so, and do not count. `OTEL_TRACES_SAMPLER` replaces this limit.
    """
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
    auth_issuers: tuple[Issuer, ...] = ()
    """Several issuers: a JSON list of objects with the names above in lower case and without
    `ROSTER_AUTH_`, for example `issuer`, `audience` and `public_key`. Equal `sub`s of two
    issuers are the same user.
    """
    auth_api_keys: bool = True
    """Whether API keys are accepted. Without an issuer, production mode starts only if this is set
    to `true` explicitly.
    """
    sqlite_checkpoints: bool = True
    """Whether Roster copies SQLite's log into the database file. `false` leaves that to
    Litestream.
    """
    erasure_ledger: str | None = None
    """Where erasures are recorded outside of the database, so that a restore cannot undo them: a
    file, or the URL of another PostgreSQL database. See [The ledger of
    erasures](#the-ledger-of-erasures).
    """
    identity_secret: SecretStr | None = None
    """A secret of at least 32 bytes for the digests of former external ids. See [External ids of
    former users](#external-ids-of-former-users).
    """

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, Variables(settings_cls)

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _database_can_be_used(cls, url: str | None) -> str | None:
        if url is not None:
            check_url(parse_url(url))
        return url

    @field_validator("read_database_url")
    @classmethod
    def _replicas_can_be_used(cls, urls: str | None) -> str | None:
        for url in () if urls is None else parse_replica_urls(urls):
            check_url(url)
        return urls

    @field_validator("erasure_ledger")
    @classmethod
    def _ledger_can_be_used(cls, given: str | None) -> str | None:
        if given is not None:
            check_ledger(given)
        return given

    @field_validator("identity_secret")
    @classmethod
    def _is_long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(_bytes(secret)) < _SECRET_BYTES:
            raise ValueError(f"the secret needs at least {_SECRET_BYTES} bytes")
        return secret

    @field_validator("host", "management_host")
    @classmethod
    def _host_is_an_address(cls, host: str) -> str:
        return parse_address(host)

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
        check_rate(given)
        return given

    @field_validator("rate_limit_storage")
    @classmethod
    def _storage_can_be_used(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse_storage_url(url.get_secret_value())
        return url

    @field_validator("persisted_documents_file")
    @classmethod
    def _manifest_can_be_read(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_manifest(path)
        return path

    @field_validator("auth_issuers", mode="before")
    @classmethod
    def _issuers_are_a_list(cls, issuers: Any) -> Any:
        return parse_issuers(issuers) if isinstance(issuers, str) else issuers

    @field_validator("*", mode="before")  # pydantic runs the last `before` validator first
    @classmethod
    def _value_is_clean(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, str):
            return given
        field = cls.model_fields[info.field_name or ""]
        return clean(given, exact=SecretStr in get_args(field.annotation))

    @model_validator(mode="before")
    @classmethod
    def _with_room_for_a_developer(cls, given: dict[str, Any]) -> dict[str, Any]:
        mode = given.get("mode", Mode.DEVELOPMENT)
        if isinstance(mode, str) and mode.strip().lower() == Mode.DEVELOPMENT:
            return {
                n: v for n, v in DEVELOPMENT_DEFAULTS.items() if not names_of(n) & set(given)
            } | given
        return given

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        # InvalidSettings, not ValueError: pydantic would report the model instead of a variable.
        persisted = self.persisted_documents is not PersistedMode.OFF
        if persisted and self.persisted_documents_file is None:
            name = set_variable("persisted_documents")
            raise InvalidSettings(f"{name}: needs ROSTER_PERSISTED_DOCUMENTS_FILE")
        if self.read_database_url and parse_url(self.database_url).get_backend_name() == "sqlite":
            raise InvalidSettings(
                "ROSTER_READ_DATABASE_URL: SQLite has no replicas: remove it, or name a PostgreSQL "
                "database in ROSTER_DATABASE_URL"
            )
        if self.mode is Mode.DEVELOPMENT and not is_loopback(self.host):
            raise InvalidSettings(
                "ROSTER_HOST: development mode does not authenticate, so this must be an address "
                "of this machine alone: 127.0.0.1, ::1 or localhost. ROSTER_MODE=production "
                "accepts any"
            )
        keys_are_meant = self.auth_api_keys and "auth_api_keys" in self.model_fields_set
        if self.mode is Mode.PRODUCTION and not (self.issuers() or keys_are_meant):
            raise InvalidSettings(
                "ROSTER_MODE: production requires authentication: ROSTER_AUTH_ISSUER and its key, "
                "or ROSTER_AUTH_API_KEYS=true for API keys alone"
            )
        return self

    @model_validator(mode="after")
    def _pooler_can_be_used(self) -> Self:
        direct = self.database_direct_url
        if direct and not (_is_postgresql(direct) and _is_postgresql(self.database_url)):
            raise InvalidSettings(
                "ROSTER_DATABASE_DIRECT_URL: is for PostgreSQL, like ROSTER_DATABASE_URL"
            )
        if self.database_pooler is not Pooler.NONE and not direct:
            raise InvalidSettings(
                "ROSTER_DATABASE_POOLER: needs ROSTER_DATABASE_DIRECT_URL, a URL of the same "
                "database without the pooler"
            )
        return self

    @model_validator(mode="after")
    def _ledger_is_elsewhere(self) -> Self:
        ledger = self.erasure_ledger or ""
        if "://" in ledger and _place(ledger) == _place(self.database_url):
            raise InvalidSettings(
                "ROSTER_ERASURE_LEDGER: must be another database than the directory's, or a "
                "restore takes the ledger back"
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
        return (
            {}
            if self.persisted_documents_file is None
            else read_manifest(self.persisted_documents_file)
        )

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
            answer=self.max_response_values,
        )

    def tracing(self) -> dict[str, Any]:
        return {"enabled": self.traces, "per_second": self.traces_per_second}

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

    def database(self, *, for_requests: bool = True) -> Database:
        return self._database(
            self.database_url,
            direct_url=self.database_direct_url,
            pooler=self.database_pooler,
            statement_timeout=self.statement_timeout if for_requests else None,
            read_url=self.read_database_url if for_requests else None,
            read_consistency=self.read_consistency,
            read_max_lag=self.read_max_lag,
        )

    def direct_database(self) -> Database:
        """Return the database without a pooler and timeouts, for commands that need a session."""
        return self._database(self.database_direct_url or self.database_url)

    def _database(self, url: str, **options: Any) -> Database:
        return Database(
            url,
            pool_size=self.pool_size,
            pool_timeout=self.pool_timeout,
            pool_pre_ping=self.pool_pre_ping,
            pool_max_age=self.pool_max_age,
            idle_transaction_timeout=self.idle_transaction_timeout,
            identity_secret=_bytes(self.identity_secret) if self.identity_secret else None,
            sqlite_checkpoints=self.sqlite_checkpoints,
            erasure_ledger=open_ledger(self.erasure_ledger) if self.erasure_ledger else None,
            **options,
        )


def load() -> Settings:
    """Read the settings from the environment. Raises InvalidSettings."""
    try:
        return Settings()
    except ValidationError as error:
        lines = (line_of(e, Settings.model_fields) for e in error.errors())
        raise InvalidSettings("\n".join(lines)) from None


def _is_postgresql(url: str) -> bool:
    return parse_url(url).get_backend_name() == "postgresql"


def _place(url: str) -> tuple[object, ...]:
    parsed = parse_url(url)
    return parsed.host, parsed.query.get("host"), parsed.port, parsed.database


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode(errors="surrogatepass")
