"""The checks of each database, in their order."""

from typing import Final

from db.checks import file, schema, server, server_settings
from db.checks.check import Check
from db.checks.inspected import File, Server

_CONNECTED: Final = ("connection",)
_READY: Final = ("connection", "primary", "pooler")
_DIRECT: Final = (*_READY, "direct-connection")

SERVER_CHECKS: Final[tuple[Check[Server], ...]] = (
    Check(
        "connection",
        server.connection,
        fix="ROSTER_DATABASE_URL has to name a database that accepts connections from here",
    ),
    Check(
        "direct-connection",
        server.direct_connection,
        fix="ROSTER_DATABASE_DIRECT_URL has to name a database that accepts connections from here",
    ),
    Check("version", server_settings.version, _CONNECTED),
    Check("primary", server.primary, _CONNECTED),
    Check(
        "pooler",
        server.pooler,
        ("connection", "direct-connection"),
        fix="in PgBouncer raise default_pool_size: in session mode it limits Roster's connections",
    ),
    Check("session-reset", server.session_reset, ("connection", "pooler")),
    Check("prepared-statements", server.prepared_statements, ("connection", "pooler")),
    Check("listen", server.listen, _DIRECT),
    Check("advisory-lock", server.advisory_lock, _DIRECT),
    Check("pg-trgm", server_settings.trigrams, _CONNECTED),
    Check("revision", schema.revision, _CONNECTED),
    Check("identity-key", schema.identity_key, ("revision",)),
    Check("privileges", server_settings.privileges, _CONNECTED),
    Check(
        "migration-privileges",
        server_settings.migration_privileges,
        ("connection", "direct-connection"),
    ),
    Check("clock", server.clock, _CONNECTED),
    Check("disk-space", server_settings.disk_space, ("connection", "primary")),
    Check("idle-limit", server_settings.idle_limit, _CONNECTED),
    Check("connections", server_settings.connections, ("connection", "pooler")),
    Check("durability", server_settings.durability, _CONNECTED),
    Check("jit", server_settings.jit, _CONNECTED),
)
FILE_CHECKS: Final[tuple[Check[File], ...]] = (
    Check("connection", file.file, fix="ROSTER_DATABASE_URL has to name a database of Roster"),
    Check("version", file.version),
    Check("permissions", file.permissions, _CONNECTED),
    Check("file-system", file.file_system),
    Check("disk-space", file.disk_space, _CONNECTED),
    Check("log", file.log, _CONNECTED),
    Check("writable", file.writable, _CONNECTED),
    Check("revision", schema.revision, _CONNECTED),
    Check("identity-key", schema.identity_key, ("revision",)),
)
