"""The database, and the records outside of it."""

from typing import Annotated, Any, Final, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator

from db.engine import Database
from db.erasure_ledger.opening import check_ledger, open_ledger
from db.poolers import Pooler
from db.replication.router import ReadConsistency
from db.url import check_url, parse_replica_urls, parse_url
from graph.environment import InvalidSettings
from graph.settings.group import LOWER, SettingGroup, accepted_by

_SECRET_BYTES: Final = 32


def _check_replicas(urls: str) -> None:
    for url in parse_replica_urls(urls):
        check_url(url)


def _check_length(secret: SecretStr) -> None:
    if len(_bytes(secret)) < _SECRET_BYTES:
        raise ValueError(f"the secret needs at least {_SECRET_BYTES} bytes")


_DATABASE: Final = accepted_by(lambda url: check_url(parse_url(url)))


class DatabaseSettings(SettingGroup):
    database_url: Annotated[
        str,
        Field(validation_alias=AliasChoices("ROSTER_DATABASE_URL", "DATABASE_URL")),
        _DATABASE,
    ] = "sqlite:///./roster.db"
    """The database. `DATABASE_URL` is read too. See [Database URLs](#database-urls)."""
    database_direct_url: Annotated[str | None, _DATABASE] = None
    """The same PostgreSQL database without a pooler, for what needs a session: `LISTEN` and
    `roster migrate`. See [Poolers](#poolers).
    """
    database_pooler: Annotated[Pooler, LOWER] = Pooler.NONE
    """The kind of pooler that `ROSTER_DATABASE_URL` leads to: `none`, which includes session mode;
    `transaction`; or `transaction-named`, if a pooler in transaction mode supports named
    statements. See [Poolers](#poolers).
    """
    read_database_url: Annotated[str | None, accepted_by(_check_replicas)] = None
    """PostgreSQL's replicas, for queries: URLs separated by spaces, of which each host is a
    replica. See [Replicas](#replicas).
    """
    read_consistency: Annotated[ReadConsistency, LOWER] = ReadConsistency.CALLER
    """What reads on replicas show to clients that send no `Roster-Position`. `caller`: at least
    what the caller has written and read by the same process. `token`: anything within
    `ROSTER_READ_MAX_LAG`.
    """
    read_max_lag: Annotated[float, Field(gt=0, le=3600)] = 10
    """Seconds that a replica may be behind the primary."""
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
    sqlite_checkpoints: bool = True
    """Whether Roster copies SQLite's log into the database file. `false` leaves that to
    Litestream.
    """
    erasure_ledger: Annotated[str | None, accepted_by(check_ledger)] = None
    """Where erasures are recorded outside of the database, so that a restore cannot undo them: a
    file, or the URL of another PostgreSQL database. See [The ledger of
    erasures](#the-ledger-of-erasures).
    """
    identity_secret: Annotated[SecretStr | None, accepted_by(_check_length)] = None
    """A secret of at least 32 bytes for the digests of former external ids. See [External ids of
    former users](#external-ids-of-former-users).
    """

    @model_validator(mode="after")
    def _replicas_are_possible(self) -> Self:
        # InvalidSettings, not ValueError: pydantic would report the model instead of a variable.
        if self.read_database_url and not _is_postgresql(self.database_url):
            raise InvalidSettings(
                "ROSTER_READ_DATABASE_URL: SQLite has no replicas: remove it, or name a PostgreSQL "
                "database in ROSTER_DATABASE_URL"
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


def _is_postgresql(url: str) -> bool:
    return parse_url(url).get_backend_name() == "postgresql"


def _place(url: str) -> tuple[object, ...]:
    parsed = parse_url(url)
    return parsed.host, parsed.query.get("host"), parsed.port, parsed.database


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode(errors="surrogatepass")
