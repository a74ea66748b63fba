"""Faults of a PostgreSQL database on demand: any SQLSTATE, in any statement, or a cut connection.

One row selects the fault: a SQLSTATE is raised; `cut` ends the server process.
"""

from sqlalchemy import make_url

from tests.conftest import run_in

_FAIL = """
CREATE TABLE fault (what text);
INSERT INTO fault VALUES ('');
CREATE FUNCTION fail() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE chosen text := (SELECT what FROM fault);
BEGIN
  IF chosen = 'cut' THEN
    PERFORM pg_terminate_backend(pg_backend_pid());
    PERFORM pg_sleep(60);
  ELSIF chosen <> '' THEN
    RAISE EXCEPTION 'this is said to nobody' USING ERRCODE = chosen;
  END IF;
  RETURN true;
END $$;
CREATE FUNCTION fail_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM fail(); RETURN NEW; END $$;
"""
IN_WRITES = (
    _FAIL
    + """
CREATE TRIGGER failing BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fail_row();
"""
)
IN_COMMITS = (
    _FAIL
    + """
CREATE CONSTRAINT TRIGGER failing AFTER INSERT OR UPDATE ON users
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail_row();
"""
)
_IN_READS = """
ALTER TABLE {table} RENAME TO {table}_really;
CREATE VIEW {table} AS SELECT * FROM {table}_really WHERE (SELECT fail());
"""


def in_reads(table: str) -> str:
    return _FAIL + _IN_READS.format(table=table)


class Faults:
    """Selects the fault of a database that a script has prepared."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).render_as_string(hide_password=False)

    async def prepare(self, script: str) -> None:
        await run_in(self._url, script)

    async def choose(self, what: str) -> None:
        await run_in(self._url, f"UPDATE fault SET what = '{what}'")  # noqa: S608 - a test's own word
