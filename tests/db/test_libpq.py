"""Database URLs: Roster interprets each one as libpq does."""

import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from db.connect_options import connect_options
from db.libpq_parameters import IGNORED
from db.url import check_url, parse_url
from tests.conftest import opened
from tests.support.postgres import Server, programs

ROOT = Path(__file__).parents[2]
SEEN = "SELECT current_user, current_database(), current_setting('search_path'), {name}".format(
    name="current_setting('application_name')"
)


async def by_roster(url: str) -> tuple[str, ...]:
    check_url(parse_url(url))
    async with opened(url) as database, database.engine.connect() as connection:
        return tuple((await connection.execute(text(SEEN))).one())


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(_TEXT, _TEXT)
def test_percent_encoded_credentials_are_parsed_exactly(user: str, password: str) -> None:
    found = parse_url(f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h:1/r")
    assert (found.username, found.password, found.host) == (user, password, "h")


@given(st.text(st.sampled_from("@/#?%:&=[],;+ a1"), min_size=1), st.sampled_from(["", "?a=b"]))
def test_unencoded_credentials_are_parsed_exactly_or_rejected(special: str, query: str) -> None:
    password = f"QQ{special}QQ"
    try:
        found = parse_url(f"postgresql://ada:{password}@h:1/r{query}")
    except ValueError as error:
        assert "QQ" not in str(error)  # noqa: PT017 - it may also be accepted
    else:
        assert (found.username, found.password, found.host) == ("ada", unquote(password), "h")


@given(st.text(st.sampled_from("@/#?%:&=[],;+ ~.a1hostpusqlie"), max_size=40))
def test_any_invalid_url_raises_a_one_line_value_error(rest: str) -> None:
    for scheme in ("postgresql://", "sqlite:///", "sqlite://", ""):
        try:
            check_url(parse_url(scheme + rest))
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017 - it may also be accepted


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("target_session_attrs=x", "target_session_attrs must be any, read-write, read-only, pri"),
        ("target_session_attrs=Primary", "must be any, read-write, read-only, primary, standby or"),
        ("sslmode=no-verify", "sslmode must be disable, allow, prefer, require, verify-ca or veri"),
        ("sslmode=REQUIRE", "sslmode must be disable, allow, prefer, require, verify-ca or verif"),
        ("ssl=yes", "sslmode must be disable, allow"),
        ("requiressl=true", "requiressl must be 0 or 1"),
        ("sslnegotiation=tls", "sslnegotiation must be postgres or direct"),
        (
            "sslnegotiation=direct",
            "sslnegotiation=direct needs sslmode=require, verify-ca or verif",
        ),
        ("sslnegotiation=direct&sslmode=prefer", "sslnegotiation=direct needs sslmode=require"),
        ("sslrootcert=system&sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
        ("sslmode=verify-full", "sslmode=verify-full needs sslrootcert: a file of the certificat"),
        ("sslmode=verify-ca", "sslmode=verify-ca needs sslrootcert"),
        ("sslrootcert=/nowhere", "sslrootcert cannot be read: No such file or directory"),
        ("sslrootcert=/", "sslrootcert cannot be read: Is a directory"),
        ("sslrootcert=/bin/sh", "sslrootcert must be a PEM file"),
        ("sslcrl=/nowhere", "sslcrl cannot be read: No such file"),
        ("sslcert=/nowhere", "sslcert cannot be read: No such file"),
        ("sslcert=/bin/sh", "sslcert must be a PEM file"),
        ("ssl_min_protocol_version=1.2", "ssl_min_protocol_version must be TLSv1, TLSv1.1, TLSv"),
        ("load_balance_hosts=on", "load_balance_hosts must be disable or random"),
        ("keepalives=yes", "keepalives must be 0 or 1"),
        ("keepalives_idle=5s", "keepalives_idle must be a whole number"),
        ("connect_timeout=soon", "connect_timeout must be a whole number"),
        ("keepalives_idle=-1", "keepalives_idle must be a whole number"),
        ("connect_timeout=2.5", "connect_timeout must be a whole number"),
        ("channel_binding=x", "channel_binding must be disable, prefer or require"),
        ("gssencmode=require", "gssencmode must be disable or prefer"),
        ("client_encoding=latin1", "client_encoding must be utf8, utf-8, unicode or auto"),
        ("sslsni=0", "sslsni must be 1"),
        ("port=1,2", "must have one port for all hosts, or one for each"),
        ("port=0", "a port that is not from 1 to 65535"),
        ("port=x", "a port that is not a number"),
        ("hostaddr=localhost", "both a host and hostaddr: only one is supported"),
        ("sslmode=require&sslmode=disable", "two values for sslmode"),
        ("user=a&user=b", "two values for user"),
        ("sslmode", "no value for sslmode"),
        ("options=%00", "a zero byte"),
        ("options=%ff", "percent-encoded bytes that are not UTF-8"),
        ("pgbouncer=true", "the parameter pgbouncer, which is not supported"),
        (
            "ssl_mode=require",
            "the parameter ssl_mode, which is not supported: did you mean sslmode?",
        ),
        ("SSLMODE=require", "the parameter SSLMODE, which is not supported: did you mean sslmode?"),
        ("require_auth=md5", "the parameter require_auth, which is not supported"),
        ("service=x", "the parameter service, which is not supported"),
        ("replication=true", "the parameter replication, which is not supported"),
        ("currentSchema=x", "the parameter currentSchema, which is not supported"),
        (f"{'x' * 50}=1", "has a parameter that is not supported"),
    ],
)
def test_unsupported_parameter_is_rejected_by_name(query: str, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        check_url(parse_url(f"postgresql://ada@h/r?{query}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", IGNORED)
def test_ignored_parameters_are_listed_in_the_operations_page(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "operations.md").read_text()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Yields the asyncpg connection of an engine's connection."""
    async with opened(url) as database, database.engine.connect() as connection:
        yield (await connection.get_raw_connection()).driver_connection


async def test_connect_timeout_of_the_url_limits_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError):
            await by_roster(f"postgresql://u@127.0.0.1:{port}/d?connect_timeout=1&sslmode=disable")


@pytest.mark.parametrize(
    ("written", "seconds"), [("", 3), ("5", 5), ("1", 1), ("0", None), ("-1", None)]
)
def test_connect_timeout_is_parsed_and_zero_means_no_limit(
    written: str, seconds: int | None
) -> None:
    url = parse_url(f"postgresql://u@h/d?connect_timeout={written}")
    assert connect_options(url.query, 3.0).timeout == seconds


@pytest.fixture(scope="module")
def replicated() -> Iterator[tuple[str, str]]:
    """Returns the socket folders of a primary and a standby."""
    with programs() as installed:
        primary, standby = Server(installed, "primary"), Server(installed, "standby")
        primary.init()
        primary.start()
        try:
            standby.copy(primary, standby=True)
            standby.start()
            try:
                yield str(primary.home), str(standby.home)
            finally:
                standby.stop("immediate")
        finally:
            primary.stop("immediate")


@pytest.mark.parametrize(
    ("wanted", "first", "is_standby"),
    [
        ("any", "primary", False),
        ("any", "standby", True),
        ("read-write", "standby", False),
        ("primary", "standby", False),
        ("read-only", "primary", True),
        ("standby", "primary", True),
        ("prefer-standby", "primary", True),
    ],
)
@pytest.mark.postgresql
async def test_target_session_attrs_selects_among_several_servers(
    replicated: tuple[str, str],
    wanted: str,
    first: str,
    is_standby: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    hosts = replicated if first == "primary" else replicated[::-1]
    encoded = ",".join(quote(host, safe="") for host in hosts)
    url = f"postgresql://postgres@{encoded}/postgres?target_session_attrs={wanted}"
    async with connected(url) as driver:
        assert await driver.fetchval("SELECT pg_is_in_recovery()") is is_standby


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("sqlite:///relative.db", "{here}/relative.db"),
        ("sqlite:///./relative.db", "{here}/relative.db"),
        ("sqlite:///{here}/absolute.db", "{here}/absolute.db"),
        ("sqlite+aiosqlite:///relative.db", "{here}/relative.db"),
        ("SQLite:///relative.db", "{here}/relative.db"),
        ("sqlite:///100%25.db", "{here}/100%.db"),
        ("sqlite:///a%20b c.db", "{here}/a b c.db"),
        ("sqlite:///what%3F#1.db", "{here}/what?#1.db"),
        ("sqlite:///b%C3%BCcher-é.db", "{here}/bücher-é.db"),
        ("sqlite:///a:b@c.db", "{here}/a:b@c.db"),
    ],
)
async def test_sqlite_url_opens_the_expected_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    url = written.format(here=tmp_path)
    check_url(parse_url(url))
    async with opened(url) as database, database.engine.connect() as connection:
        await connection.execute(text("CREATE TABLE t (a INT)"))
    files = [f"{tmp_path}/{name}" for name in os.listdir(tmp_path)]  # noqa: PTH208 - not async either
    assert [name for name in files if not name.endswith(("-wal", "-shm"))] == [
        file.format(here=tmp_path)
    ]


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("sqlite://roster.db", "names a host: write a relative path after three slashes"),
        ("sqlite://host/roster.db", "names a host"),
        ("sqlite://user:s3cret@host/roster.db", "names a host"),
        ("sqlite:///", "names no file"),
        ("sqlite:///file:roster.db", "names no file"),
        ("sqlite:///roster.db?mode=ro", "has parameters, which are not supported; write ? as %3F"),
        ("sqlite:///100%.db", "has a % without two hexadecimal digits: write % as %25"),
        ("sqlite:///a%00b.db", "has a zero byte"),
        ("sqlite:///a%FFb.db", "has percent-encoded bytes that are not UTF-8"),
        ("sqlite:///~/roster.db", "begins with ~, which is not expanded"),
        ("sqlite:////", "names a folder"),
        ("sqlite:///.", "names a folder"),
        ("sqlite:///folder/", "names a folder"),
        ("sqlite+pysqlite:///roster.db", "names a driver that is not supported"),
        ("postgresql+psycopg://h/r", "names a driver that is not supported: a database URL begins"),
        ("postgres+asyncpg2://h/r", "names a driver that is not supported"),
        ("jdbc:postgresql://h/r", "this is not a database that Roster runs on"),
        ("s3cret word://h/r", "this is not a database that Roster runs on"),
        ("host=h dbname=r", "the database URL cannot be read: a database URL begins with postgres"),
        ("sqlite:roster.db", "the database URL cannot be read"),
    ],
)
def test_unsupported_url_is_rejected_in_one_line_without_secrets(written: str, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        check_url(parse_url(written))
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_url_without_user_is_rejected_if_the_process_has_no_user_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For example in a container whose user id is not in /etc/passwd."""

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", unknown)
    with pytest.raises(ValueError, match=r"^the database URL has no user"):
        parse_url("postgresql://h/r")
    parse_url("postgresql://ada@h/r")
    monkeypatch.setenv("PGUSER", "ada")
    parse_url("postgresql://h/r")


def test_database_name_contains_hosts_but_no_password() -> None:
    from graph.cli.database import database_name  # noqa: PLC0415
    from graph.settings import Settings  # noqa: PLC0415

    names = {
        url: database_name(Settings(database_url=url))
        for url in (
            "postgresql://ada:s3cret@a:1,b/r",
            "postgresql://ada:s3cret@a",
            "postgresql://ada:s3cret@%2Frun%2Fpg/r",
        )
    }
    assert list(names.values()) == [
        "PostgreSQL r on a, b",
        "PostgreSQL ada on a",
        "PostgreSQL r on /run/pg",
    ]
