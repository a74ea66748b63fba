"""The setting that names the replicas: parsed, or rejected in one line without its value."""

from pathlib import Path

import pytest

from db.url import parse_replica_urls
from graph.environment import InvalidSettings
from graph.settings import load


@pytest.mark.parametrize(
    ("written", "hosts"),
    [
        ("postgresql://u:p@one/r", [("one", None)]),
        ("postgresql://u:p@one:1,two:2/r", [("one", 1), ("two", 2)]),
        (
            "postgresql://u@one,two/r  postgres://v@[::1]:6/r\n",
            [("one", 5432), ("two", 5432), ("::1", 6)],
        ),
        ("postgresql://u@/r?hostaddr=10.0.0.1,10.0.0.2&port=7", [("10.0.0.1", 7), ("10.0.0.2", 7)]),
        ("postgresql://u@one,two/r?target_session_attrs=standby", [("one", 5432), ("two", 5432)]),
    ],
)
def test_each_host_is_a_replica(written: str, hosts: list[tuple[str, int | None]]) -> None:
    found = parse_replica_urls(written)
    assert [(url.host, url.port) for url in found] == hosts
    assert all("target_session_attrs" not in url.query for url in found)
    assert all(url.database == "r" for url in found)


def test_each_folder_of_sockets_is_a_replica() -> None:
    found = parse_replica_urls("postgresql://u@/r?host=/run/a,/run/b&sslmode=disable")
    expected = [{"host": f"/run/{name}", "port": "5432", "ssl": "disable"} for name in "ab"]
    assert [dict(url.query) for url in found] == expected


SQLITE = "ROSTER_READ_DATABASE_URL: SQLite has no replicas: "
PRIMARY = (
    "ROSTER_READ_DATABASE_URL: in the database URL target_session_attrs asks for the primary, not "
    "for a replica"
)
POSTGRESQL = "postgresql://u:s3cret@one/r"


@pytest.mark.parametrize(
    ("database", "written", "line"),
    [
        (
            "sqlite:///roster.db",
            POSTGRESQL,
            SQLITE + "remove it, or name a PostgreSQL database in ROSTER_DATABASE_URL",
        ),
        (POSTGRESQL, "sqlite:///s3cret", SQLITE + "the URL must begin with postgresql://"),
        (
            POSTGRESQL,
            f"{POSTGRESQL}?target_session_attrs=read-write",
            PRIMARY,
        ),
        (
            POSTGRESQL,
            f"{POSTGRESQL} {POSTGRESQL}",
            "ROSTER_READ_DATABASE_URL: the database URLs name the same host twice",
        ),
    ],
)
def test_unusable_replicas_are_rejected_in_one_line_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str, written: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_DATABASE_URL", database)
    monkeypatch.setenv("ROSTER_READ_DATABASE_URL", written)
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value) == line
