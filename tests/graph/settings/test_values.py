"""Values of single settings: what they mean, and which are rejected."""

from pathlib import Path

import pytest

from graph.environment import InvalidSettings
from graph.settings import Settings, load


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
        ("ERASURE_LEDGER", "s3cret" * 100, "ROSTER_ERASURE_LEDGER: this file cannot be accessed"),
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
