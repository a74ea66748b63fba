"""Statements on the transactions that may still commit events, for the feed. PostgreSQL only.

PostgreSQL assigns ids when events are inserted, and transactions may commit in another order. A
writer holds the lock on the table from before it gets an id until after its commit. A standby does
not see the primary's locks.
"""

from typing import Any, Final

from sqlalchemy import ARRAY, Boolean, Select, String, func, literal_column, select, text

from db.prepared import PreparedStatement

_LOCKS: Final = (
    "relation = 'user_events'::regclass AND mode = 'RowExclusiveLock' AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
_WRITERS: Final = f"ARRAY(SELECT virtualtransaction FROM pg_locks WHERE {_LOCKS})"  # noqa: S608 - a constant
_STANDBY: Final = func.pg_is_in_recovery(type_=Boolean()).label("is_standby")
_SELECT_WRITERS: Select[Any] = select(  # type: ignore[assignment]  # its columns are read by name
    _STANDBY, literal_column(_WRITERS, ARRAY(String())).label("names")
)

IS_STANDBY: Final = PreparedStatement(select(_STANDBY))
EVENT_WRITERS: Final = PreparedStatement(_SELECT_WRITERS)
DESCRIBE_EVENT_WRITERS: Final = text(
    "SELECT pid, application_name, state, "  # noqa: S608 - constants
    "EXTRACT(epoch FROM clock_timestamp() - xact_start)::float AS seconds "
    "FROM pg_locks LEFT JOIN pg_stat_activity USING (pid) "
    f"WHERE virtualtransaction = ANY(:names) AND {_LOCKS} ORDER BY pid"
)
