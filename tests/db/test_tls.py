"""TLS to PostgreSQL, as configured by the parameters of a database URL."""

import os
import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from db.errors import is_unreachable
from db.url import check_url, parse_url
from tests.conftest import opened
from tests.support.tls import AcceptedConnections, Authority, tls_front

pytestmark = pytest.mark.postgresql

PASSWORD = "s3cr3t pass&word"  # noqa: S105 - of the test's own key


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without the certificates of the current user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server_side(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key, _ = authority.issue("server", "localhost")
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["postgresql"])
    return context


@pytest.fixture
def socket() -> str:
    admin = make_url(os.environ["ROSTER_TEST_POSTGRES_URL"])
    return f"{admin.query['host']}/.s.PGSQL.5432"


async def connect_and_query(
    seen: AcceptedConnections, host: str = "localhost", /, **parameters: str | Path
) -> None:
    query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in parameters.items())
    url = f"postgresql://postgres@{host}:{seen.port}/postgres?{query}"
    check_url(parse_url(url))
    async with opened(url) as database, database.engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1


async def assert_rejected(
    seen: AcceptedConnections, host: str = "localhost", /, **parameters: str | Path
) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - ssl.SSLError is one, ConnectionError too
        await connect_and_query(seen, host, **parameters)
    assert is_unreachable(caught.value)


@pytest.mark.parametrize(
    ("mode", "plain", "secured"),
    [
        ({}, 0, 1),
        ({"sslmode": "disable"}, 1, 0),
        ({"sslmode": "allow"}, 1, 0),
        ({"sslmode": "prefer"}, 0, 1),
        ({"sslmode": "require"}, 0, 1),
        ({"ssl": "require"}, 0, 1),
        ({"ssl": "true"}, 0, 1),
        ({"requiressl": "1"}, 0, 1),
        ({"sslmode": "require", "channel_binding": "require"}, 0, 1),
    ],
)
async def test_sslmode_decides_whether_tls_is_used_with_a_tls_server(
    socket: str, server_side: ssl.SSLContext, mode: dict[str, str], plain: int, secured: int
) -> None:
    async with tls_front(socket, server_side) as seen:
        await connect_and_query(seen, **mode)
    assert (seen.plain, len(seen.sessions)) == (plain, secured)


async def test_sslmode_decides_whether_a_server_without_tls_is_accepted(socket: str) -> None:
    async with tls_front(socket, None) as seen:
        for mode in ("disable", "allow", "prefer"):
            await connect_and_query(seen, sslmode=mode)
        assert seen.plain == 3
        await assert_rejected(seen, sslmode="require")
        await assert_rejected(seen, requiressl="1")
        await assert_rejected(seen, sslrootcert="system")
    assert (seen.plain, seen.sessions) == (3, [])


async def test_sslmode_decides_how_certificates_are_verified(
    socket: str, server_side: ssl.SSLContext, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    async with tls_front(socket, server_side) as seen:
        await connect_and_query(seen, sslmode="verify-full", sslrootcert=authority.root)
        await connect_and_query(seen, "127.0.0.1", sslmode="verify-ca", sslrootcert=authority.root)
        await connect_and_query(seen, "127.0.0.1", sslmode="require", sslrootcert=authority.root)
        await connect_and_query(seen, "127.0.0.1", sslmode="require")
        await assert_rejected(seen, "127.0.0.1", sslmode="verify-full", sslrootcert=authority.root)
        await assert_rejected(seen, sslmode="verify-full", sslrootcert=other.root)
        await assert_rejected(seen, sslmode="verify-ca", sslrootcert=other.root)
        await assert_rejected(seen, sslmode="require", sslrootcert=other.root)
        await assert_rejected(seen, sslrootcert="system")
    assert seen.plain == 0


async def test_sslrootcert_system_trusts_system_certificates_and_checks_the_name(
    socket: str,
    server_side: ssl.SSLContext,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    async with tls_front(socket, server_side) as seen:
        await connect_and_query(seen, sslrootcert="system")
        await connect_and_query(seen, sslrootcert="system", sslmode="verify-full")
        await assert_rejected(seen, "127.0.0.1", sslrootcert="system")
    assert [session["version"] for session in seen.sessions] == ["TLSv1.3"] * 2


async def test_root_certificate_in_the_home_folder_is_trusted(
    socket: str, server_side: ssl.SSLContext, authority: Authority, home: Path
) -> None:
    (home / ".postgresql").mkdir()
    (home / ".postgresql" / "root.crt").write_bytes(authority.root.read_bytes())
    async with tls_front(socket, server_side) as seen:
        await connect_and_query(seen, sslmode="verify-full")
        await assert_rejected(seen, "127.0.0.1", sslmode="verify-full")


@pytest.mark.parametrize("password", ["", PASSWORD])
@pytest.mark.parametrize("root", ["file", "system", "none"])
async def test_client_certificate_is_presented_to_the_server(
    socket: str,
    server_side: ssl.SSLContext,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    root: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.load_verify_locations(authority.root)
    certificate, key, _ = authority.issue("a client", password=password)
    shown = {"sslcert": certificate, "sslkey": key}
    if password:
        shown["sslpassword"] = Path(password)
    roots: dict[str, dict[str, str | Path]] = {
        "file": {"sslrootcert": authority.root},
        "system": {"sslrootcert": "system"},
    }
    roots["none"] = {"sslmode": "require"}
    async with tls_front(socket, server_side) as seen:
        await connect_and_query(seen, **shown, **roots[root])
        with pytest.raises((OSError, DBAPIError)):  # with TLS 1.3 the error arrives later
            await connect_and_query(seen, sslmode="require")
    assert seen.sessions[0]["client"] == "a client"


async def test_revoked_certificate_is_rejected(
    socket: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    certificate, key, issued = authority.issue("server", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    none, one = authority.revoke(), authority.revoke(issued)
    async with tls_front(socket, context) as seen:
        for root in (authority.root, "system"):
            trusting = {"sslmode": "verify-full", "sslrootcert": root}
            await connect_and_query(seen, **trusting, sslcrl=none)
            await assert_rejected(seen, **trusting, sslcrl=one)


@pytest.mark.parametrize("root", ["file", "system"])
async def test_tls_protocol_version_limits_are_applied(
    socket: str,
    server_side: ssl.SSLContext,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    root: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    certificates = "system" if root == "system" else str(authority.root)
    trusting = {"sslmode": "verify-full", "sslrootcert": certificates}
    async with tls_front(socket, server_side) as seen:
        await connect_and_query(seen, **trusting, ssl_max_protocol_version="TLSv1.2")
        await connect_and_query(seen, **trusting, ssl_min_protocol_version="TLSv1.3")
        server_side.maximum_version = ssl.TLSVersion.TLSv1_2
        await assert_rejected(seen, **trusting, ssl_min_protocol_version="TLSv1.3")
    assert [session["version"] for session in seen.sessions] == ["TLSv1.2", "TLSv1.3"]


@pytest.mark.parametrize("root", ["none", "file", "system"])
async def test_sslnegotiation_direct_starts_tls_immediately(
    socket: str,
    server_side: ssl.SSLContext,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    root: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    roots: dict[str, dict[str, str | Path]] = {
        "none": {"sslmode": "require"},
        "file": {"sslmode": "verify-full", "sslrootcert": authority.root},
        "system": {"sslrootcert": "system"},
    }
    async with tls_front(socket, server_side, direct=True) as seen:
        await connect_and_query(seen, **roots[root], sslnegotiation="direct")
    assert [session["protocol"] for session in seen.sessions] == ["postgresql"]
