"""Parsing of the host and origin settings."""

import json
from pathlib import Path

import pytest

from graph.environment import InvalidSettings
from graph.settings import Settings, load
from tests.support.client import serving

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
REQUEST = {"query": "{ __typename }"}
RESPONSE = {"data": {"__typename": "Query"}}


def load_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as caught:
        load()
    [line] = str(caught.value).splitlines()
    assert "s3cret" not in line
    return line


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://localhost:3000", ["http://localhost:3000"]),
        ("http://localhost:3000/", ["http://localhost:3000"]),
        ("HTTP://LOCALHOST:3000", ["http://localhost:3000"]),
        ('["http://localhost:3000"]', ["http://localhost:3000"]),
        (
            '[ "https://a.example/" ,"https://b.example" ]',
            ["https://a.example", "https://b.example"],
        ),
        (" https://a.example , https://b.example,, ", ["https://a.example", "https://b.example"]),
        ("https://a.example:443", ["https://a.example"]),
        ("http://a.example:80/", ["http://a.example"]),
        ("http://a.example:443", ["http://a.example:443"]),
        ("https://a.example:08443", ["https://a.example:8443"]),
        ("https://bücher.example", ["https://xn--bcher-kva.example"]),
        ("https://BÜCHER.example:8443", ["https://xn--bcher-kva.example:8443"]),
        ("https://xn--bcher-kva.example", ["https://xn--bcher-kva.example"]),
        ("http://[::1]:3000", ["http://[::1]:3000"]),
        ("http://[0:0:0:0:0:0:0:1]", ["http://[::1]"]),
        ("http://[2001:DB8::1]", ["http://[2001:db8::1]"]),
        ("http://127.0.0.1:3000", ["http://127.0.0.1:3000"]),
        ("http://my_service:3000", ["http://my_service:3000"]),
        ("capacitor://localhost", ["capacitor://localhost"]),
        (
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            ["chrome-extension://abcdefghijklmnopabcdefghijklmnop"],
        ),
    ],
)
def test_origin_setting_is_normalized_to_what_browsers_send(
    monkeypatch: pytest.MonkeyPatch, written: str, meant: list[str]
) -> None:
    monkeypatch.setenv("ROSTER_CORS_ORIGINS", written)
    assert load().cors_origins == meant
    assert Settings(cors_origins=meant).cors_origins == meant


@pytest.mark.parametrize(
    "written",
    [
        "*",
        "https://*",
        "https://*.example.com",
        "null",
        "localhost",
        "localhost:3000",
        "app.example.com",
        "//app.example.com",
        "https://",
        "https:///",
        "https://a.example/path",
        "https://a.example//",
        "https://a.example?x=1",
        "https://a.example#x",
        "https://s3cret@a.example",
        "https://u:s3cret@a.example",
        "https://a.example:",
        "https://a.example:0",
        "https://a.example:65536",
        "https://a.example:https",
        "https://a.example.",
        "https://a..example",
        "https://-a.example",
        "https://[::s3cret]",
        "https://::1",
        "https://a b.example",
        "https://a.example https://b.example",
        "https://a.example;https://b.example",
        "['https://a.example']",
        '["https://a.example"',
        "[1]",
        "wss://a.example",
        "file:///",
        "file://host",
        "https:/a.example",
        "https:\\\\a.example",
    ],
)
def test_invalid_origin_setting_is_rejected(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    line = load_error(monkeypatch, "ROSTER_CORS_ORIGINS", written)
    assert line.startswith("ROSTER_CORS_ORIGINS: entry 1 is not an origin such as https://")
    line = load_error(monkeypatch, "ROSTER_CORS_ORIGINS", f"https://a.example,{written}")
    assert line.startswith("ROSTER_CORS_ORIGINS: entry ")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("roster.example", ["roster.example"]),
        ("Roster.Example.", ["roster.example"]),
        (" a.example ,b.example, ", ["a.example", "b.example"]),
        ('["a.example", "b.example"]', ["a.example", "b.example"]),
        ("*.Example.com", ["*.example.com"]),
        ("bücher.example", ["xn--bcher-kva.example"]),
        ("*.bücher.example", ["*.xn--bcher-kva.example"]),
        ("::1", ["[::1]"]),
        ("[::1]", ["[::1]"]),
        ("[::1],10.0.0.7", ["[::1]", "10.0.0.7"]),
        ("0:0:0:0:0:0:0:1", ["[::1]"]),
        ("10.0.0.7", ["10.0.0.7"]),
        ("my_service", ["my_service"]),
    ],
)
def test_host_setting_is_normalized_to_what_clients_send(
    monkeypatch: pytest.MonkeyPatch, written: str, meant: list[str]
) -> None:
    monkeypatch.setenv("ROSTER_ALLOWED_HOSTS", written)
    assert load().allowed_hosts == meant
    assert Settings(allowed_hosts=meant).allowed_hosts == meant


@pytest.mark.parametrize(
    "written",
    [
        "*",
        "*.",
        "*example.com",
        "a.*.example",
        "**.example.com",
        ".example.com",
        "roster.example:8000",
        "[::1]:8000",
        "https://roster.example",
        "roster.example/",
        "roster..example",
        "s3cret@roster.example",
        "a.example b.example",
        "-a.example",
        "[::s3cret]",
        "['a.example']",
    ],
)
def test_invalid_host_setting_is_rejected(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    line = load_error(monkeypatch, "ROSTER_ALLOWED_HOSTS", written)
    assert line.startswith("ROSTER_ALLOWED_HOSTS: entry 1 is not a host name such as roster.")


@pytest.mark.parametrize("name", ["ROSTER_CORS_ORIGINS", "ROSTER_ALLOWED_HOSTS"])
@pytest.mark.parametrize("written", [",", " , ,", "[]", '[""]'])
def test_setting_without_entries_is_rejected(
    monkeypatch: pytest.MonkeyPatch, name: str, written: str
) -> None:
    assert load_error(monkeypatch, name, written) == f"{name}: has no entries"


@sqlite
@pytest.mark.parametrize(
    "written",
    [
        "http://localhost:3000/",
        "HTTP://LOCALHOST:3000",
        json.dumps(["http://localhost:3000"]),
    ],
)
async def test_allowed_origin_in_any_notation_is_accepted(
    monkeypatch: pytest.MonkeyPatch, database_url: str, written: str
) -> None:
    monkeypatch.setenv("ROSTER_DATABASE_URL", database_url)
    monkeypatch.setenv("ROSTER_CORS_ORIGINS", written)
    origin = {"origin": "http://localhost:3000"}
    async with serving(load()) as client:
        preflight = await client.http.options(
            "/graphql", headers=origin | {"access-control-request-method": "POST"}
        )
        assert preflight.headers["access-control-allow-origin"] == origin["origin"]
        response = await client.http.post("/graphql", json=REQUEST, headers=origin)
        assert (response.status_code, response.json()) == (200, RESPONSE)
        assert response.headers["access-control-allow-origin"] == origin["origin"]


@sqlite
async def test_wildcard_host_allows_subdomains_only(database_url: str) -> None:
    settings = Settings(database_url=database_url, allowed_hosts=["*.Example.com", "10.0.0.7"])
    async with serving(settings) as client:
        found = {}
        for host in (
            "a.example.com",
            "A.B.example.com.:8000",
            "example.com",
            "badexample.com",
            "a.example.com.evil.example",
            "10.0.0.7:8000",
            "10.0.0.8",
            "*.example.com",
            ".example.com",
        ):
            response = await client.http.post("/graphql", json=REQUEST, headers={"host": host})
            found[host] = response.status_code
    assert found == {
        "a.example.com": 200,
        "A.B.example.com.:8000": 200,
        "example.com": 421,
        "badexample.com": 421,
        "a.example.com.evil.example": 421,
        "10.0.0.7:8000": 200,
        "10.0.0.8": 421,
        "*.example.com": 200,  # no browser sends it
        ".example.com": 200,  # as above
    }
