import json
from pathlib import Path

import pytest

from graph.settings import Settings, WrongSettings, load
from tests.process import run


def test_the_defaults_are_a_development_server_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load().model_dump() == {
        "mode": "development",
        "database_url": "sqlite:///./roster.db",
        "host": "127.0.0.1",
        "port": 8000,
        "workers": 1,
        "pool_size": 10,
        "pool_timeout": 30,
        "pool_pre_ping": True,
        "pool_max_age": 1800,
        "statement_timeout": 30,
        "idle_transaction_timeout": 30,
        "database_idle_timeout": True,
        "socket_init_timeout": 8,
        "socket_operations": 100,
        "sockets_per_caller": 10_000,
        "caller_watch": 30,
        "send_timeout": 10,
        "keep_alive_timeout": 75,
        "shutdown_timeout": 8,
        "body_limit": 1024 * 1024,
        "body_timeout": 10,
        "batch_limit": 0,
        "query_timeout": 15,
        "mutation_timeout": 60,
        "concurrent_operations": 500,
        "rate_limit": None,
        "max_characters": 20_000,
        "max_tokens": 1_000,
        "max_depth": 12,
        "max_fields": 300,
        "max_aliases": 200,
        "max_directives": 20,
        "max_root_fields": 200,
        "max_fragments": 50,
        "max_cost": 5_000,
        "max_values": 6_000,
        "max_answer_values": 300_000,
        "username_emails": "own",
        "introspection": True,
        "trusted_documents": "off",
        "trusted_manifest": None,
        "allowed_hosts": [],
        "cors_origins": [],
        "log_format": "text",
        "auth_issuer": None,
        "auth_audience": None,
        "auth_jwks_url": None,
        "auth_public_key": None,
        "auth_secret": None,
        "auth_algorithms": None,
        "auth_leeway": None,
        "auth_services": None,
        "auth_issuers": (),
        "auth_api_keys": True,
        "identity_secret": None,
    }


def test_production_is_narrower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_MODE", "production")
    monkeypatch.setenv("ROSTER_AUTH_API_KEYS", "true")
    given = load().model_dump()
    wanted = {
        "sockets_per_caller": 20,
        "rate_limit": "6000/minute",
        "max_aliases": 15,
        "max_root_fields": 10,
        "introspection": False,
    }
    assert {name: given[name] for name in wanted} == wanted
    monkeypatch.setenv("ROSTER_RATE_LIMIT", "off")
    assert load().rate_limit is None


def test_a_setting_comes_from_the_environment_then_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ROSTER_PORT=1234\nROSTER_WORKERS=3\nOTHER=1\n")
    monkeypatch.setenv("ROSTER_PORT", "4321")
    monkeypatch.setenv("DATABASE_URL", "postgres://h/plain")
    assert (load().port, load().workers, load().database_url) == (4321, 3, "postgres://h/plain")
    monkeypatch.setenv("ROSTER_DATABASE_URL", "postgres://h/ours")
    assert load().database_url == "postgres://h/ours"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PORT", "http", "ROSTER_PORT: Input should be a valid integer"),
        ("PORT", "0", "ROSTER_PORT: Input should be greater than or equal to 1"),
        ("WORKERS", "0", "ROSTER_WORKERS: Input should be greater than or equal to 1"),
        ("POOL_SIZE", "0", "ROSTER_POOL_SIZE: Input should be greater than or equal to 1"),
        ("DATABASE_URL", "mysql://u:s3cret@h/d", "ROSTER_DATABASE_URL: mysql is not a database"),
        ("DATABASE_URL", "s3cret", "ROSTER_DATABASE_URL: the database URL cannot be read"),
        ("MODE", "test", "ROSTER_MODE: Input should be 'development' or 'production'"),
        ("MODE", "production", "production needs a way to sign in"),
        ("AUTH_API_KEYS", "s3cret", "ROSTER_AUTH_API_KEYS: Input should be a valid boolean"),
        ("AUTH_SERVICES", "s3cret", "ROSTER_AUTH_SERVICES: Input should be a valid boolean"),
        ("IDENTITY_SECRET", "s3cret", "ROSTER_IDENTITY_SECRET: the secret needs at least 32 bytes"),
        ("AUTH_ISSUERS", "s3cret", "ROSTER_AUTH_ISSUERS: this is a JSON list of objects"),
        ("AUTH_ISSUERS", '{"a": "s3cret"}', "ROSTER_AUTH_ISSUERS: this is a JSON list of objects"),
        ("AUTH_ISSUERS", '["s3cret"]', "ROSTER_AUTH_ISSUERS_0: Input should be a valid dict"),
        ("RATE_LIMIT", "often", "ROSTER_RATE_LIMIT: has to be a rate such as 6000/minute"),
        ("TRUSTED_DOCUMENTS", "on", "ROSTER_TRUSTED_DOCUMENTS needs ROSTER_TRUSTED_MANIFEST"),
        ("TRUSTED_MANIFEST", "/nowhere", "the manifest cannot be read"),
        ("HOST", "0.0.0.0", "development mode asks nobody to sign in, so 0.0.0.0"),  # noqa: S104 - refused
        ("HOST", "roster.example", "development mode asks nobody to sign in"),
    ],
)
def test_a_wrong_setting_is_told_in_a_line_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"ROSTER_{name}", value)
    with pytest.raises(WrongSettings) as caught:
        load()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


ONE = {"ISSUER": "https://id.example", "AUDIENCE": "roster", "SECRET": "s3cret" * 6}
LISTED = {"issuer": "https://other.example", "audience": "roster", "jwks_url": "https://o.example"}


def test_one_issuer_and_a_list_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ONE.items():
        monkeypatch.setenv(f"ROSTER_AUTH_{name}", value)
    monkeypatch.setenv("ROSTER_AUTH_ALGORITHMS", "HS256, HS384")
    with pytest.raises(WrongSettings) as caught:
        load()
    assert str(caught.value) == "ROSTER_AUTH_ISSUER: the secret needs at least 48 bytes"
    monkeypatch.setenv("ROSTER_AUTH_SECRET", "s3cret" * 8)
    monkeypatch.setenv("ROSTER_AUTH_ISSUERS", json.dumps([LISTED | {"leeway": 0}]))
    monkeypatch.setenv("ROSTER_MODE", "production")
    monkeypatch.setenv("ROSTER_HOST", "0.0.0.0")  # noqa: S104 - production listens anywhere
    other, one = load().issuers()
    assert (other.issuer, other.leeway, other.accepted()) == (
        "https://other.example",
        0,
        ("RS256", "ES256", "EdDSA", "PS256"),
    )
    assert (one.issuer, one.leeway, one.accepted()) == (
        "https://id.example",
        30,
        ("HS256", "HS384"),
    )
    assert "s3cret" not in repr(load())


def test_each_issuer_says_whether_it_has_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ONE.items():
        monkeypatch.setenv(f"ROSTER_AUTH_{name}", value)
    others = [LISTED, LISTED | {"issuer": "https://third.example", "services": False}]
    monkeypatch.setenv("ROSTER_AUTH_ISSUERS", json.dumps(others))
    assert [issuer.services for issuer in load().issuers()] == [True, False, True]
    for given, expected in (("", True), ("true", True), ("false", False)):
        monkeypatch.setenv("ROSTER_AUTH_SERVICES", given)
        assert [issuer.services for issuer in load().issuers()] == [True, False, expected]


@pytest.mark.parametrize(
    ("secret", "expected"), [(None, None), ("", None), ("s3cret" * 6, b"s3cret" * 6)]
)
def test_the_secret_of_identities_can_come_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str | None, expected: bytes | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if secret is not None:
        (tmp_path / ".env").write_text(f"ROSTER_IDENTITY_SECRET={secret}\n")
    settings = load()
    assert settings.database().session().info == {"identity_secret": expected}
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"AUDIENCE": None}, "ROSTER_AUTH_AUDIENCE: Field required"),
        ({"ISSUER": None}, "ROSTER_AUTH_ISSUER: Field required"),
        ({"SECRET": None}, "ROSTER_AUTH_ISSUER: an issuer needs exactly one of"),
        ({"JWKS_URL": "https://id.example"}, "ROSTER_AUTH_ISSUER: an issuer needs exactly one of"),
        ({"SECRET": "s3cret"}, "ROSTER_AUTH_ISSUER: the secret needs at least 32 bytes"),
        ({"ALGORITHMS": "none"}, "ROSTER_AUTH_ISSUER: the algorithms of this key can be HS256"),
        ({"ALGORITHMS": "RS256"}, "ROSTER_AUTH_ISSUER: the algorithms of this key can be HS256"),
        ({"LEEWAY": "-1"}, "ROSTER_AUTH_LEEWAY: Input should be greater than or equal to 0"),
        *(
            ({"SECRET": None, "JWKS_URL": url}, "ROSTER_AUTH_JWKS_URL: keys come over https")
            for url in (
                "http://id.s3cret",
                "file:///s3cret",
                "https://u:s3cret@h/",
                "https://",
                "http://127.0.0.1.s3cret/",
                "https://[::s3cret",
            )
        ),
        (
            {"SECRET": None, "JWKS_URL": "https://id.example", "ALGORITHMS": "RS256,HS256"},
            "ROSTER_AUTH_ISSUER: the algorithms of this key can be RS256",
        ),
        (
            {"SECRET": None, "PUBLIC_KEY": "s3cret"},
            "ROSTER_AUTH_ISSUER: the public_key is no PEM of a public key",
        ),
        (
            {"ISSUERS": json.dumps([LISTED, LISTED])},
            "ROSTER_AUTH_ISSUERS: an issuer stands there twice",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"jwks_url": "http://s3cret"}])},
            "ROSTER_AUTH_ISSUERS_0_JWKS_URL: keys come over https",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"secrets": "s3cret"}])},
            "ROSTER_AUTH_ISSUERS_0_SECRETS: Extra inputs are not permitted",
        ),
    ],
)
def test_a_wrong_issuer_is_told_in_a_line_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str | None], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (ONE | changed).items():
        if value is not None:
            monkeypatch.setenv(f"ROSTER_AUTH_{name}", value)
    with pytest.raises(WrongSettings) as caught:
        load()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("keys", "starts"), [("true", 1), ("false", 0), (None, 0)])
def test_production_without_an_issuer_needs_api_keys_to_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str | None, starts: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_MODE", "production")
    if keys is not None:
        monkeypatch.setenv("ROSTER_AUTH_API_KEYS", keys)
    if starts:
        assert load().issuers() == ()
        return
    with pytest.raises(WrongSettings, match="production needs a way to sign in"):
        load()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_development_listens_on_this_machine_only(host: str) -> None:
    assert Settings(host=host).host == host


async def test_a_wrong_setting_stops_every_command() -> None:
    wrong = "Input should be a valid integer, unable to parse string as an integer"
    lines = f"roster: ROSTER_PORT: {wrong}\nROSTER_WORKERS: {wrong}\n"
    for command in ("serve", "migrate", "demo"):
        assert await run(command, ROSTER_PORT="x", ROSTER_WORKERS="x") == (1, lines)
