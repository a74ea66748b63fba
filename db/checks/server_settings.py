"""Checks of PostgreSQL's settings, extensions and privileges."""

import os
import shutil
from pathlib import Path
from typing import Final

from db.checks.check import Caution, Failure
from db.checks.inspected import Server, ask
from db.models import IdempotencyKey, Model, SchemaCompatibility
from db.poolers import Pooler
from db.pooling import Pooling

_OLDEST: Final = 14
_BESIDE: Final = 3  # connections of a process besides its pool: NOTIFY, LISTEN and health checks
_USUAL: Final = frozenset({"SELECT", "INSERT", "UPDATE"})
_OTHER: Final = {
    IdempotencyKey.__tablename__: _USUAL | {"DELETE"},
    SchemaCompatibility.__tablename__: frozenset({"SELECT"}),
    "alembic_version": frozenset({"SELECT"}),
}
_MISSING: Final = """
  SELECT name, privilege FROM unnest($1::text[], $2::text[]) AS wanted (name, privilege)
  WHERE NOT has_table_privilege(to_regclass(name), privilege)
  UNION ALL SELECT sequence, 'USAGE' FROM (
    SELECT pg_get_serial_sequence(name, 'id') AS sequence FROM unnest($3::text[]) AS name
    WHERE EXISTS (SELECT FROM pg_attrdef WHERE adrelid = to_regclass(name)
      AND pg_get_expr(adbin, adrelid) LIKE 'nextval(%')) AS sequences
  WHERE sequence IS NOT NULL AND NOT has_sequence_privilege(sequence, 'USAGE')"""
_WITH_ID: Final = """
  SELECT name FROM unnest($1::text[]) AS name JOIN pg_attribute ON attrelid = to_regclass(name)
  WHERE attname = 'id'"""
_OF_OTHERS: Final = """
  SELECT name FROM unnest($1::text[]) AS name JOIN pg_class ON pg_class.oid = to_regclass(name)
  WHERE NOT pg_has_role(relowner, 'USAGE')"""
_LIMITS: Final = """
  SELECT current_setting('max_connections')::int
      - current_setting('superuser_reserved_connections')::int
      - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
      AND application_name <> 'roster')"""
_SLOTS: Final = """
  SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0)::bigint
  FROM pg_replication_slots WHERE NOT active"""
_MUCH_WAL: Final = 1024**3
_LEAST_FREE: Final = 256 * 1024**2
_SPARE: Final = 0.1


async def version(server: Server) -> str:
    [[number, name, encoding]] = await server.query(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
        "current_setting('server_encoding')"
    )
    if encoding != "UTF8":
        raise Failure(
            f"the encoding of the database is {encoding}",
            "create the database with `createdb --encoding UTF8 --template template0`",
        )
    if number < _OLDEST * 10_000:
        raise Caution(
            f"PostgreSQL {name} is not supported any more", f"use PostgreSQL {_OLDEST} or newer"
        )
    return f"PostgreSQL {name}, encoding UTF8"


async def trigrams(server: Server) -> str:
    [[installed, available, may_create]] = await server.query(
        "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm'), "
        "EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm'), "
        "has_database_privilege(current_database(), 'CREATE')"
    )
    if not available:
        raise Failure(
            "the extension pg_trgm is not available on the server",
            "install PostgreSQL's contrib modules (Debian: postgresql-contrib)",
        )
    if not installed:
        create = "CREATE EXTENSION pg_trgm"
        if may_create:
            raise Failure("the extension pg_trgm is not installed", "run `roster migrate`")
        raise Failure(
            "the extension pg_trgm is not installed, and this role may not create it",
            f"as a superuser or the owner of the database: {create}",
        )
    [[found]] = await server.query("SELECT to_regprocedure('similarity(text, text)') IS NOT NULL")
    if not found:
        raise Failure(
            "the extension pg_trgm is in a schema that is not in the search_path",
            "ALTER EXTENSION pg_trgm SET SCHEMA public, or add its schema to the search_path",
        )
    await server.query("SELECT similarity('roster', 'rooster')")
    return "the extension pg_trgm works"


async def privileges(server: Server) -> str:
    wanted = [
        (table, privilege)
        for table in (*Model.metadata.tables, "alembic_version")
        for privilege in sorted(_OTHER.get(table, _USUAL))
        if await server.has_table(table)
    ]
    names = sorted({table for table, _ in wanted})
    with_id = [row[0] for row in await server.query(_WITH_ID, names)]
    missing = await server.query(
        _MISSING, [table for table, _ in wanted], [privilege for _, privilege in wanted], with_id
    )
    if missing:
        listed = ", ".join(f"{privilege} on {name}" for name, privilege in missing)
        [[user, schema]] = await server.query(
            "SELECT quote_ident(current_user), quote_ident(current_schema())"
        )
        raise Failure(
            f"the role {user} lacks {listed}",
            f"as the owner: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} "
            f"TO {user}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {user}",
        )
    return f"{len(wanted)} privileges on {len(names)} tables"


async def migration_privileges(server: Server) -> str:
    driver = await server.direct()
    [[user, schema]] = await ask(driver, "SELECT current_user::text, current_schema()::text")
    if schema is None:
        raise Failure("no schema of the search_path exists", "CREATE SCHEMA, or set search_path")
    [[may_create]] = await ask(driver, "SELECT has_schema_privilege(current_schema(), 'CREATE')")
    as_owner = "give `roster migrate` a role that owns the database"
    if not may_create:
        raise Caution(
            f"the role {user} may not create tables in the schema {schema}",
            f"as the owner: GRANT CREATE ON SCHEMA {schema} TO {user}; or {as_owner}",
        )
    others = await ask(driver, _OF_OTHERS, [*Model.metadata.tables])
    if others:
        listed = ", ".join(row[0] for row in others)
        raise Caution(f"the role {user} does not own {listed}", as_owner)
    return f"the role {user} may migrate the schema {schema}"


async def connections(server: Server) -> str:
    [[most, of_role, of_database, others]] = await server.query(_LIMITS)
    each = server.expected.pool_size + _BESIDE
    needed = server.expected.processes * each
    said = f"up to {needed} connections ({server.expected.processes} x {each})"
    if server.pooling is not Pooling.DIRECT:
        return f"{said}, to the pooler"
    limits = [limit for limit in (most, of_role, of_database) if limit is not None and limit >= 0]
    allowed = min(limits)
    fix = "lower ROSTER_WORKERS or ROSTER_POOL_SIZE, or raise max_connections"
    if needed > allowed:
        raise Failure(f"{said}, and PostgreSQL allows {allowed}", fix)
    if needed + others > allowed:
        raise Caution(f"{said}; PostgreSQL allows {allowed}, and others use {others} now", fix)
    return f"{said} for each machine; PostgreSQL allows {allowed}, and others use {others} now"


async def durability(server: Server) -> str:
    rows = await server.query(
        "SELECT name FROM pg_settings WHERE setting = 'off' "
        "AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name"
    )
    off = [row[0] for row in rows]
    if not off:
        return "fsync, full_page_writes and synchronous_commit are on"
    said = f"{', '.join(off)}: off"
    if off == ["synchronous_commit"]:
        raise Caution(f"{said}. A crash loses commits that clients were told of", "set it to on")
    problem = Failure if server.expected.production else Caution
    raise problem(f"{said}. A crash can destroy the database", "set them to on")


async def idle_limit(server: Server) -> str:
    [[milliseconds]] = await server.query(
        "SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
    )
    if milliseconds:
        return f"idle transactions of all programs are ended after {milliseconds / 1000:g} s"
    if server.expected.idle_transaction_timeout == 0:
        return "none, as configured"
    whose = "other programs" if server.pooler is Pooler.NONE else "all programs, Roster's included,"
    wanted = round(server.expected.idle_transaction_timeout * 1000)
    raise Caution(
        f"idle transactions of {whose} have no limit, and hold back the feed",
        "run `roster migrate` as the owner, or ALTER DATABASE ... SET "
        f"idle_in_transaction_session_timeout = {wanted}",
    )


async def jit(server: Server) -> str:
    if server.pooler is Pooler.NONE:
        return "Roster's sessions disable it"
    [[found]] = await server.query("SELECT current_setting('jit')")
    if found == "on":
        [[user]] = await server.query("SELECT quote_ident(current_user)")
        raise Caution(
            "jit is on, which makes short statements slow. Behind the pooler Roster cannot "
            "disable it for its sessions",
            f"ALTER ROLE {user} SET jit = off, then reconnect the pooler (RECONNECT)",
        )
    return "off"


async def disk_space(server: Server) -> str:
    [[database, kept, folder]] = await server.query(
        f"SELECT pg_database_size(current_database()), ({_SLOTS}), "  # noqa: S608 - constants
        "(SELECT setting FROM pg_settings WHERE name = 'data_directory')"
    )
    said = f"the database has {_size(database)}"
    if kept > _MUCH_WAL:
        raise Caution(
            f"{said}, and an inactive replication slot keeps {_size(kept)} of the log",
            "start its standby again, or drop it: SELECT pg_drop_replication_slot(...)",
        )
    if not (server.is_local and folder and os.access(folder, os.R_OK | os.X_OK)):
        return f"{said}. PostgreSQL does not tell how much is free: watch its disk"
    disk = shutil.disk_usage(Path(folder))
    said = f"{said}, and {_size(disk.free)} are free"
    if disk.free < _LEAST_FREE:
        raise Failure(said, "free space on the disk of the server")
    if disk.free < _SPARE * disk.total:
        raise Caution(said, "free space on the disk of the server")
    return said


def _size(number: int) -> str:
    return f"{number / 1024**2:,.0f} MB"
