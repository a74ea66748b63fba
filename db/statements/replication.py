"""Statements on the position of a server in the log. PostgreSQL only, run by the driver."""

SERVER_IDENTITY = "SELECT pg_postmaster_start_time()::text"

# The primary's position is that of the last record in memory: everything that a read has seen, or
# that was committed, lies before it, also with synchronous_commit=off. `pg_walfile_name` is the
# only function that reports the current timeline. After a promotion the control file has the
# previous one until the next checkpoint.
PRIMARY_POSITION = """
SELECT pg_postmaster_start_time()::text AS server,
  pg_is_in_recovery() AS is_standby,
  newest.number, newest.name, newest.lineage,
  CASE WHEN NOT pg_is_in_recovery() THEN concat_ws('/',
    (SELECT system_identifier FROM pg_control_system()),
    left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
    (SELECT oid FROM pg_database WHERE datname = current_database())
  ) END AS current_lineage,
  CASE WHEN NOT pg_is_in_recovery() THEN
    (pg_current_wal_insert_lsn() - '0/0')::bigint
  END AS lsn
FROM (SELECT) AS one LEFT JOIN LATERAL (
  SELECT id AS number, name, lineage FROM primary_terms ORDER BY id DESC LIMIT 1
) AS newest ON true
"""

ADD_PRIMARY_TERM = """
INSERT INTO primary_terms (name, lineage, began_at) SELECT $1, $2::text, clock_timestamp()
WHERE NOT EXISTS (
  SELECT FROM (SELECT lineage FROM primary_terms ORDER BY id DESC LIMIT 1) AS newest
  WHERE newest.lineage = $2::text
)
"""

# The order of the columns matters. The term is of the statement's snapshot, which is older than the
# position. The timeline is read after the position: it never decreases, so the position is on this
# timeline or on an earlier one. Reading it needs the privileges of pg_read_all_stats.
REPLICA_POSITION = """
SELECT pg_postmaster_start_time()::text AS server,
  pg_is_in_recovery() AS is_standby,
  (SELECT id FROM primary_terms ORDER BY id DESC LIMIT 1) AS number,
  (SELECT name FROM primary_terms ORDER BY id DESC LIMIT 1) AS name,
  (pg_last_wal_replay_lsn() - '0/0')::bigint AS replayed,
  (pg_last_wal_receive_lsn() - '0/0')::bigint AS received,
  (SELECT received_tli FROM pg_stat_get_wal_receiver()) AS timeline,
  pg_has_role('pg_read_all_stats', 'USAGE') AS sees_timeline
"""
