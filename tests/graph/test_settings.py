import json
from pathlib import Path
from typing import Any

import pytest

from graph.environment import InvalidSettings
from graph.settings import Settings, load

DEFAULTS: dict[str, Any] = {
    "mode": "development",
    "database_url": "sqlite:///./roster.db",
    "database_direct_url": None,
    "database_pooler": "none",
    "read_database_url": None,
    "read_consistency": "caller",
    "read_max_lag": 10,
    "host": "127.0.0.1",
    "port": 8000,
    "workers": 1,
    "management_host": "127.0.0.1",
    "management_port": None,
    "pool_size": 10,
    "pool_timeout": 30,
    "pool_pre_ping": True,
    "pool_max_age": 1800,
    "database_wait": 30,
    "statement_timeout": 30,
    "idle_transaction_timeout": 30,
    "set_database_idle_timeout": True,
    "ws_init_timeout": 8,
    "max_operations_per_connection": 100,
    "max_connections_per_caller": 10_000,
    "auth_recheck_interval": 30,
    "send_timeout": 10,
    "keep_alive_timeout": 75,
    "drain_period": 0,
    "shutdown_timeout": 8,
    "max_body_bytes": 1024 * 1024,
    "body_timeout": 10,
    "max_batch_size": 0,
    "query_timeout": 15,
    "mutation_timeout": 60,
    "max_concurrent_operations": 500,
    "rate_limit": None,
    "rate_limit_storage": None,
    "rate_limit_storage_timeout": 0.1,
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
    "max_response_values": 300_000,
    "username_emails": "own",
    "introspection": True,
    "federation": False,
    "persisted_documents": "off",
    "persisted_documents_file": None,
    "allowed_hosts": [],
    "cors_origins": [],
    "log_format": "text",
    "traces": False,
    "traces_per_second": 10.0,
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
    "sqlite_checkpoints": True,
    "erasure_ledger": None,
    "identity_secret": None,
}


def test_defaults_are_a_local_development_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load().model_dump() == DEFAULTS


def test_production_has_stricter_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_MODE", "production")
    monkeypatch.setenv("ROSTER_AUTH_API_KEYS", "true")
    given = load().model_dump()
    wanted = {
        "max_connections_per_caller": 20,
        "rate_limit": "6000/minute",
        "max_aliases": 15,
        "max_root_fields": 10,
        "introspection": False,
    }
    assert {name: given[name] for name in wanted} == wanted
    monkeypatch.setenv("ROSTER_RATE_LIMIT", "off")
    assert load().rate_limit is None


def test_environment_takes_precedence_over_the_file(
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
        (
            "DATABASE_DIRECT_URL",
            "mysql://u:s3cret@h/d",
            "ROSTER_DATABASE_DIRECT_URL: mysql is not a database",
        ),
        (
            "DATABASE_DIRECT_URL",
            "postgresql://u:s3cret@h/d",
            "ROSTER_DATABASE_DIRECT_URL: is for PostgreSQL, like ROSTER_DATABASE_URL",
        ),
        (
            "DATABASE_POOLER",
            "transaction",
            "ROSTER_DATABASE_POOLER: needs ROSTER_DATABASE_DIRECT_URL",
        ),
        (
            "RATE_LIMIT_STORAGE",
            "redis://:s3cret@h/name",
            "ROSTER_RATE_LIMIT_STORAGE: must be redis://",
        ),
        ("RATE_LIMIT_STORAGE_TIMEOUT", "0", "ROSTER_RATE_LIMIT_STORAGE_TIMEOUT: Input should be"),
        ("DATABASE_POOLER", "pgbouncer", "ROSTER_DATABASE_POOLER: Input should be 'none'"),
        ("MODE", "test", "ROSTER_MODE: Input should be 'development' or 'production'"),
        ("MODE", "production", "ROSTER_MODE: production requires authentication"),
        ("AUTH_API_KEYS", "s3cret", "ROSTER_AUTH_API_KEYS: Input should be a valid boolean"),
        ("AUTH_SERVICES", "s3cret", "ROSTER_AUTH_SERVICES: Input should be a valid boolean"),
        ("IDENTITY_SECRET", "s3cret", "ROSTER_IDENTITY_SECRET: the secret needs at least 32 bytes"),
        (
            "ERASURE_LEDGER",
            "/no/s3cret",
            "ROSTER_ERASURE_LEDGER: the folder of the ledger does not",
        ),
        ("ERASURE_LEDGER", "/tmp", "ROSTER_ERASURE_LEDGER: the ledger must be a file"),  # noqa: S108 - rejected
        (
            "ERASURE_LEDGER",
            "sqlite:///s3cret",
            "ROSTER_ERASURE_LEDGER: the URL of a ledger must be",
        ),
        ("ERASURE_LEDGER", "mysql://s3cret@h/d", "ROSTER_ERASURE_LEDGER: mysql is not a database"),
        ("AUTH_ISSUERS", "s3cret", "ROSTER_AUTH_ISSUERS: must be a JSON list of objects"),
        ("AUTH_ISSUERS", '{"a": "s3cret"}', "ROSTER_AUTH_ISSUERS: must be a JSON list of objects"),
        ("AUTH_ISSUERS", "null", "ROSTER_AUTH_ISSUERS: must be a JSON list of objects"),
        ("AUTH_ISSUERS", "[" * 100_000, "ROSTER_AUTH_ISSUERS: must be a JSON list of objects"),
        ("AUTH_ISSUERS", '["s3cret"]', "ROSTER_AUTH_ISSUERS[0]: Input should be a valid dict"),
        ("RATE_LIMIT", "often", "ROSTER_RATE_LIMIT: must be one rate such as 6000/minute"),
        (
            "PERSISTED_DOCUMENTS",
            "on",
            "ROSTER_PERSISTED_DOCUMENTS: needs ROSTER_PERSISTED_DOCUMENTS_FILE",
        ),
        (
            "PERSISTED_DOCUMENTS",
            "true",
            "ROSTER_PERSISTED_DOCUMENTS: Input should be 'off', 'log' or 'o",
        ),
        (
            "PERSISTED_DOCUMENTS_FILE",
            "/nowhere",
            "ROSTER_PERSISTED_DOCUMENTS_FILE: the manifest cannot be read",
        ),
        (
            "PERSISTED_DOCUMENTS_FILE",
            "/",
            "ROSTER_PERSISTED_DOCUMENTS_FILE: the manifest cannot be read",
        ),
        (
            "PERSISTED_DOCUMENTS_FILE",
            "/bin/sh",
            "ROSTER_PERSISTED_DOCUMENTS_FILE: the manifest is not JSON",
        ),
        ("LOG_FORMAT", "xml", "ROSTER_LOG_FORMAT: Input should be 'text' or 'json'"),
        ("HOST", "0.0.0.0", "ROSTER_HOST: development mode does not authenticate"),  # noqa: S104 - rejected
        ("HOST", "roster.example", "ROSTER_HOST: development mode does not authenticate"),
        *(
            ("HOST", host, "ROSTER_HOST: must be an IP address or a host name")
            for host in ("http://127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "*", "a b", "::s3cret")
        ),
    ],
)
def test_invalid_setting_is_reported_in_one_line_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"ROSTER_{name}", value)
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_ledger_of_erasures_must_be_another_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_DATABASE_URL", "postgresql://roster:a@db.internal/roster")
    monkeypatch.setenv("ROSTER_ERASURE_LEDGER", "postgres://ledger:s3cret@db.internal/roster")
    with pytest.raises(InvalidSettings, match=r"^ROSTER_ERASURE_LEDGER: must be another database"):
        load()
    for other in ("postgresql://db.internal/ledger", "postgresql://other.internal/roster"):
        monkeypatch.setenv("ROSTER_ERASURE_LEDGER", other)
        assert load().erasure_ledger == other


@pytest.mark.parametrize(
    ("name", "written", "meant"),
    [
        ("mode", "Production", "production"),
        ("mode", " PRODUCTION\r\n", "production"),
        ("log_format", "JSON", "json"),
        ("port", " 9000 ", 9000),
        ("port", "9000\r", 9000),
        ("port", "9_000", 9000),
        ("host", "LOCALHOST", "localhost"),
        ("host", "[::1]", "::1"),
        ("host", "0:0:0:0:0:0:0:1", "::1"),
        ("pool_timeout", "2.5", 2.5),
        ("pool_timeout", "1e2", 100),
        *(("introspection", value, True) for value in ("true", "TRUE", "yes", "On", "1", " y ")),
        *(("introspection", value, False) for value in ("false", "no", "OFF", "0", "f\n")),
        *(("rate_limit", value, None) for value in ("off", "OFF", " off ")),
        ("rate_limit", " 10/minute\n", "10/minute"),
        ("rate_limit", "10 per minute", "10 per minute"),
        ("rate_limit", "10/5 MINUTES", "10/5 MINUTES"),
        ("rate_limit", "1000000/month", "1000000/month"),
        ("auth_public_key", "", None),
        ("database_url", " sqlite:///./other.db\n", "sqlite:///./other.db"),
        ("database_pooler", "None", "none"),
    ],
)
def test_values_are_parsed_leniently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, written: str, meant: object
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_AUTH_API_KEYS", "true")
    monkeypatch.setenv(f"ROSTER_{name.upper()}", written)
    assert getattr(load(), name) == meant


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("PORT", ["8000.5", "0x1f", "8,000", "\u0663", "1e3", "-1", "65536", "8000/tcp"]),
        ("POOL_TIMEOUT", ["30s", "0,5", "\u0663", "nan", "inf", "0", "-1", "1e9"]),
        ("INTROSPECTION", ["enabled", "2", "ja", "truefalse", "-"]),
        ("MODE", ["prod", "dev", "production,", "1", "test"]),
        (
            "RATE_LIMIT",
            [
                "0/minute",
                "-1/minute",
                "10",
                "10/",
                "/minute",
                "10/fortnight",
                "10/0 minutes",
                "10/minute;5/second",
                "10/minute, 5/second",
                "1.5/minute",
                "10/minutely",
                "0",
                "none",
                "unlimited",
                "1000000001/minute",
                "9" * 5000 + "/minute",
                "10/99999 days",
                "10/" + "9" * 5000 + " days",
                "\u0661/minute",
            ],
        ),
        (
            "DATABASE_URL",
            ["sqlite:///~/roster.db", "sqlite:////", "postgresql://s3cret:a@b@h/d", "roster.db"],
        ),
    ],
)
def test_invalid_value_is_rejected_with_the_name_of_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, values: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in values:
        monkeypatch.setenv(f"ROSTER_{name}", value)
        with pytest.raises(InvalidSettings) as caught:
            load()
        assert str(caught.value).startswith(f"ROSTER_{name}: "), value
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", [*Settings.model_fields, "DATABASE_URL"])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('"s3cret"', "is in quotation marks, which `docker --env-file` keeps: remove them"),
        ("'s3cret'", "is in quotation marks, which `docker --env-file` keeps: remove them"),
        ('""', "is in quotation marks, which `docker --env-file` keeps: remove them"),
        ("s3cret\udcff", "is not in UTF-8"),
    ],
)
def test_every_setting_rejects_quotation_marks_and_invalid_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, written: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    variable = name if name.isupper() else f"ROSTER_{name.upper()}"
    monkeypatch.setenv(variable, written)
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value) == f"{variable}: {said}"


@pytest.mark.parametrize("written", ["{}\n", " {}", "{}\r", "{}\u00a0"])
def test_white_space_around_a_secret_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """A Kubernetes Secret created with `echo` ends with a line break."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_AUTH_SECRET", written.format("s3cret" * 6))
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value) == (
        "ROSTER_AUTH_SECRET: has white space before or after it, such as a line break: remove it"
    )


ONE = {"ISSUER": "https://id.example", "AUDIENCE": "roster", "SECRET": "s3cret" * 6}
LISTED = {"issuer": "https://other.example", "audience": "roster", "jwks_url": "https://o.example"}


def test_single_issuer_and_issuer_list_are_combined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ONE.items():
        monkeypatch.setenv(f"ROSTER_AUTH_{name}", value)
    monkeypatch.setenv("ROSTER_AUTH_ALGORITHMS", "HS256, HS384")
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value) == "ROSTER_AUTH_SECRET: the secret needs at least 48 bytes"
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


def test_services_can_be_disabled_per_issuer(
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
def test_identity_secret_is_read_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str | None, expected: bytes | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if secret is not None:
        (tmp_path / ".env").write_text(f"ROSTER_IDENTITY_SECRET={secret}\n")
    settings = load()
    assert settings.database().session().info == {
        "identity_secret": expected,
        "erasure_ledger": None,
    }
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"AUDIENCE": None},
            "ROSTER_AUTH_AUDIENCE: is missing, and ROSTER_AUTH_ISSUER needs it",
        ),
        ({"ISSUER": None}, "ROSTER_AUTH_ISSUER: is missing, and ROSTER_AUTH_AUDIENCE needs it"),
        ({"SECRET": None}, "ROSTER_AUTH_ISSUER: an issuer needs exactly one of"),
        ({"JWKS_URL": "https://id.example"}, "ROSTER_AUTH_SECRET: an issuer needs exactly one of"),
        ({"SECRET": "s3cret"}, "ROSTER_AUTH_SECRET: the secret needs at least 32 bytes"),
        ({"ALGORITHMS": "none"}, "ROSTER_AUTH_ALGORITHMS: the algorithms of this key can be HS256"),
        ({"ALGORITHMS": "RS256"}, "ROSTER_AUTH_ALGORITHMS: the algorithms of this key can be HS2"),
        ({"ALGORITHMS": "s3cret"}, "ROSTER_AUTH_ALGORITHMS: the algorithms of this key can be HS2"),
        ({"LEEWAY": "-1"}, "ROSTER_AUTH_LEEWAY: Input should be greater than or equal to 0"),
        ({"LEEWAY": "nan"}, "ROSTER_AUTH_LEEWAY: Input should be less than or equal to 300"),
        ({"LEEWAY": "30s"}, "ROSTER_AUTH_LEEWAY: Input should be a valid number"),
        *(
            ({"SECRET": None, "JWKS_URL": url}, "ROSTER_AUTH_JWKS_URL: a URL is in ASCII")
            for url in ("https://s3cret.example/a b", "https://s3cr\u00e9t.example", "https://a\nb")
        ),
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
            "ROSTER_AUTH_ALGORITHMS: the algorithms of this key can be RS256",
        ),
        (
            {"SECRET": None, "PUBLIC_KEY": "s3cret"},
            "ROSTER_AUTH_PUBLIC_KEY: the public_key is no PEM of a public key",
        ),
        (
            {"ISSUERS": json.dumps([LISTED, LISTED])},
            "ROSTER_AUTH_ISSUERS: lists the same issuer twice",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"issuer": ONE["ISSUER"]}])},
            "ROSTER_AUTH_ISSUER: is listed in ROSTER_AUTH_ISSUERS, too",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"jwks_url": "http://s3cret"}])},
            "ROSTER_AUTH_ISSUERS[0].jwks_url: keys come over https",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"secrets": "s3cret"}])},
            "ROSTER_AUTH_ISSUERS[0].secrets: Extra inputs are not permitted",
        ),
        (
            {"ISSUERS": json.dumps([LISTED, {"issuer": "s3cret", "audience": "a", "secret": "b"}])},
            "ROSTER_AUTH_ISSUERS[1].secret: the secret needs at least 32 bytes",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"jwks_url": None, "public_key": "s3cret"}])},
            "ROSTER_AUTH_ISSUERS[0].public_key: the public_key is no PEM",
        ),
        (
            {"ISSUERS": json.dumps([LISTED])[:-3] + ', "issuer": "s3cret"}]'},
            "ROSTER_AUTH_ISSUERS: must be a JSON list of objects",
        ),
        (
            {"ISSUERS": '[{"secret": "a", "secret": "s3cret"}]'},
            "ROSTER_AUTH_ISSUERS: must be a JSON list of objects, in which each key occurs once",
        ),
    ],
)
def test_invalid_issuer_is_reported_in_one_line_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str | None], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (ONE | changed).items():
        if value is not None:
            monkeypatch.setenv(f"ROSTER_AUTH_{name}", value)
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("keys", "starts"), [("true", 1), ("false", 0), (None, 0)])
def test_production_without_an_issuer_requires_explicit_api_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str | None, starts: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_MODE", "production")
    if keys is not None:
        monkeypatch.setenv("ROSTER_AUTH_API_KEYS", keys)
    if starts:
        assert load().issuers() == ()
        return
    with pytest.raises(InvalidSettings, match="production requires authentication"):
        load()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_development_accepts_loopback_hosts(host: str) -> None:
    assert Settings(host=host).host == host
