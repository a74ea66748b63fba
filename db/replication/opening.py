"""Creates the parts of a replica: its engine, its reader and its monitor."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import asyncpg
from sqlalchemy import URL

from db import postgres
from db.connector import Connector
from db.reader import Reader
from db.replication.servers import Primary, Replica
from db.session import Backend


class _Check:
    """The check of a pool whose replica is created after it."""

    replica: Replica

    def check_usable(self) -> None:
        self.replica.check_usable()

    async def check_connection(self, driver: asyncpg.Connection) -> None:
        await self.replica.check_connection(driver)


def open_replica(
    url: URL,
    backend: Backend,
    primary: Primary,
    make_connector: Callable[..., Connector],
    options: Mapping[str, Any],
) -> Replica:
    """Create a replica with the options of the primary's engine. Nothing connects yet."""
    timing = options["timing"]
    # A request does not wait for a replica that does not answer.
    fast = replace(timing, connect=timing.replica_answer)
    check = _Check()
    engine = postgres.engine(url, make_connector(fast, check=check), **options)
    reading = replace(
        backend,
        engine=engine,
        autocommit=engine.execution_options(**postgres.AUTOCOMMIT),
        reader=Reader(engine, postgres.fetch, postgres.AUTOCOMMIT),
    )
    connector = make_connector(fast)

    async def connect() -> asyncpg.Connection:
        _, options = engine.dialect.create_connect_args(url)
        return await connector.connect(**options)

    check.replica = Replica(server_name(url), reading, primary, connect, timing)
    return check.replica


def server_name(url: URL) -> str:
    host = url.host or url.query.get("host", "")
    port = url.port or url.query.get("port", "")
    return f"{host}:{port}" if port else str(host)
