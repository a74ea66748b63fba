"""Kinds of poolers between Roster and PostgreSQL, such as PgBouncer.

In session mode a pooler gives each client a server connection of its own, and nothing changes. In
transaction mode each transaction, or single statement, may run on another server connection. SET,
LISTEN, session-level locks and named prepared statements then reach any connection, or none.
"""

from enum import StrEnum
from typing import Any


class Pooler(StrEnum):
    NONE = "none"  # or one in session mode
    TRANSACTION = "transaction"
    # With named statements: PgBouncer since 1.21 supports them by `max_prepared_statements`.
    TRANSACTION_NAMED = "transaction-named"


def driver_options(pooler: Pooler) -> dict[str, Any]:
    """Return arguments of asyncpg's `connect`.

    Without its cache, asyncpg sends each statement without a name, and parses it in the same
    message as it runs it.
    """
    return {"statement_cache_size": 0} if pooler is Pooler.TRANSACTION else {}


def dialect_options(pooler: Pooler) -> dict[str, Any]:
    """Return arguments for SQLAlchemy's dialect, which has a cache of its own."""
    return {"prepared_statement_cache_size": 0} if pooler is Pooler.TRANSACTION else {}
