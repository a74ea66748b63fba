"""Defaults, and the sources of settings."""

from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_development_accepts_loopback_hosts(host: str) -> None:
    assert Settings(host=host).host == host
