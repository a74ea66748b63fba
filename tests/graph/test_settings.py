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
        "statement_timeout": 30,
        "socket_init_timeout": 8,
        "socket_operations": 100,
        "sockets_per_caller": 10_000,
        "send_timeout": 10,
        "log_format": "text",
    }


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
        ("MODE", "production", "production needs a way to verify tokens"),
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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_development_listens_on_this_machine_only(host: str) -> None:
    assert Settings(host=host).host == host


async def test_a_wrong_setting_stops_every_command() -> None:
    wrong = "Input should be a valid integer, unable to parse string as an integer"
    lines = f"roster: ROSTER_PORT: {wrong}\nROSTER_WORKERS: {wrong}\n"
    for command in ("serve", "migrate", "demo"):
        assert await run(command, ROSTER_PORT="x", ROSTER_WORKERS="x") == (1, lines)
