"""Sources of settings: variable names, the environment and `.env`."""

import os
import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from graph.cli.settings_table import settings_table
from graph.environment import InvalidSettings, log_notices, parse_file
from graph.settings import Settings, load
from tests.support.settings import settings_error

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
NAMES = [f"ROSTER_{name.upper()}" for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_operations_page_has_the_table_of_all_settings() -> None:
    """To write it: `make docs`."""
    [table] = re.findall(
        r"<!-- settings -->\n(.*)\n<!-- end of settings -->", OPERATIONS.read_text(), re.DOTALL
    )
    assert table == settings_table()
    assert re.findall(r"^\| `(ROSTER_[A-Z_]+)` \|", table, re.MULTILINE) == list(NAMES)
    assert not any(row.endswith("|  |") for row in table.splitlines())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ROSTER_MOD", "did you mean ROSTER_MODE?"),
        ("ROSTER_DATABASE", "did you mean ROSTER_DATABASE_URL?"),
        ("ROSTER_DB_URL", "did you mean ROSTER_DATABASE_URL?"),
        ("ROSTER_ALLOWED_HOST", "did you mean ROSTER_ALLOWED_HOSTS?"),
        ("ROSTER_RATELIMIT", "did you mean ROSTER_RATE_LIMIT?"),
        ("ROSTER_SECRET", "did you mean ROSTER_AUTH_SECRET?"),
        ("ROSTER_PROT", "did you mean ROSTER_PORT?"),
        ("ROSTER__MODE", "did you mean ROSTER_MODE?"),
        ("ROSTER_XYZZY", "docs/operations.md lists all settings"),
        ("ROSTER_", "docs/operations.md lists all settings"),
        ("roster_mod", "did you mean ROSTER_MODE?"),
    ],
)
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_unknown_setting_is_rejected_with_a_suggestion(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, hint: str, where: str
) -> None:
    if where == ".env":
        (folder / ".env").write_text(f"{name}=s3cret\n")
    else:
        monkeypatch.setenv(name, "s3cret")
    assert settings_error() == f"{name.upper()}: there is no such setting; {hint}"


def test_malformed_variable_names_are_not_quoted_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_AUTH_SECRET:s3cret", "x")
    assert settings_error() == "a variable has a name that begins with ROSTER_ and is no setting"
    monkeypatch.delenv("ROSTER_AUTH_SECRET:s3cret")
    monkeypatch.setenv("ROSTER_AUTH_ISSUERS", '[{"secret:s3cret": "x"}]')
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert "s3cret" not in str(caught.value)
    assert "ROSTER_AUTH_ISSUERS[0]: Extra inputs are not permitted" in str(caught.value)


def test_each_invalid_setting_has_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_MOD", "production")
    monkeypatch.setenv("ROSTER_PORT", "http")
    monkeypatch.setenv("ROSTER_INTROSPECTION", "maybe")
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value).splitlines() == [
        "ROSTER_PORT: Input should be a valid integer, unable to parse string as an integer",
        "ROSTER_INTROSPECTION: Input should be a valid boolean, true or false",
        "ROSTER_MOD: there is no such setting; did you mean ROSTER_MODE?",
    ]


RENAMED = [
    ("CALLER_WATCH", "AUTH_RECHECK_INTERVAL", "7"),
    ("BATCH_LIMIT", "MAX_BATCH_SIZE", "7"),
    ("BODY_LIMIT", "MAX_BODY_BYTES", "7000"),
    ("CONCURRENT_OPERATIONS", "MAX_CONCURRENT_OPERATIONS", "7"),
    ("SOCKETS_PER_CALLER", "MAX_CONNECTIONS_PER_CALLER", "7"),
    ("SOCKET_OPERATIONS", "MAX_OPERATIONS_PER_CONNECTION", "7"),
    ("MAX_ANSWER_VALUES", "MAX_RESPONSE_VALUES", "7"),
    ("TRUSTED_DOCUMENTS", "PERSISTED_DOCUMENTS", "off"),
    ("TRUSTED_MANIFEST", "PERSISTED_DOCUMENTS_FILE", "manifest.json"),
    ("DATABASE_IDLE_TIMEOUT", "SET_DATABASE_IDLE_TIMEOUT", "false"),
    ("SOCKET_INIT_TIMEOUT", "WS_INIT_TIMEOUT", "7"),
]


@pytest.mark.parametrize("where", ["environment", ".env"])
@pytest.mark.parametrize("mode", ["development", "production"])
@pytest.mark.parametrize(("old", "new", "value"), RENAMED)
def test_former_name_of_a_setting_works_with_a_warning(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    value: str,
    mode: str,
    where: str,
) -> None:
    (folder / "manifest.json").write_text("{}")
    monkeypatch.setenv("ROSTER_MODE", mode)
    monkeypatch.setenv("ROSTER_AUTH_API_KEYS", "true")
    if where == ".env":
        (folder / ".env").write_text(f"ROSTER_{old}={value}\n")
    else:
        monkeypatch.setenv(f"ROSTER_{old}", value)
    assert load() == Settings.model_validate({new.lower(): value})
    with capture_logs() as logged:
        log_notices(production=False)
    renamed = {f"ROSTER_{old}": f"ROSTER_{new}"}
    assert [(entry["log_level"], entry["renamed"]) for entry in logged] == [("warning", renamed)]
    (folder / ".env").write_text(f"ROSTER_{old}=\n")
    monkeypatch.setenv(f"ROSTER_{old}", "")
    monkeypatch.setenv(f"ROSTER_{new}", value)
    assert load() == Settings.model_validate({new.lower(): value})


@pytest.mark.parametrize("where", ["environment", ".env"])
@pytest.mark.parametrize(("old", "new", "value"), RENAMED)
def test_former_and_current_name_together_are_rejected(
    folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, value: str, where: str
) -> None:
    monkeypatch.setenv(f"ROSTER_{new}", value)
    if where == ".env":
        (folder / ".env").write_text(f"ROSTER_{old}={value}\n")
    else:
        monkeypatch.setenv(f"ROSTER_{old}", value)
    assert (
        settings_error()
        == f"ROSTER_{old}: is the old name of ROSTER_{new}, which is set too: remove it"
    )


@pytest.mark.parametrize(("old", "new", "_"), RENAMED)
def test_error_names_the_variable_that_is_set(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str, _: str
) -> None:
    for name in (old, new):
        with monkeypatch.context() as patch:
            patch.setenv(f"ROSTER_{name}", '"x"')
            assert settings_error().startswith(f"ROSTER_{name}: ")


@pytest.mark.parametrize("name", ["TRUSTED_DOCUMENTS", "PERSISTED_DOCUMENTS"])
def test_error_about_two_settings_names_the_one_that_is_set(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"ROSTER_{name}", "on")
    assert settings_error() == f"ROSTER_{name}: needs ROSTER_PERSISTED_DOCUMENTS_FILE"


@pytest.mark.parametrize("name", ["ROSTER_TEST_POSTGRES_URL", "ROSTER_BENCH_POSTGRES_URL"])
def test_variables_of_tests_and_benchmarks_are_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "postgresql://h/d")
    load()


def test_variables_without_the_prefix_are_ignored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROSTERPORT", "x")
    monkeypatch.setenv("MY_ROSTER_PORT", "x")
    (folder / ".env").write_text("POSTGRES_PASSWORD=x\nPORT=x\n")
    assert load() == Settings()


@pytest.mark.parametrize("empty", ["", " ", "\n", "\r\n", "\t"])
@pytest.mark.parametrize("mode", ["development", "production"])
def test_empty_variable_is_treated_as_missing(
    monkeypatch: pytest.MonkeyPatch, empty: str, mode: str
) -> None:
    """Compose's `${RATE_LIMIT:-}` sets an empty variable."""
    monkeypatch.setenv("ROSTER_MODE", mode)
    monkeypatch.setenv("ROSTER_AUTH_API_KEYS", "true")
    without = load()
    for name in {*NAMES, "DATABASE_URL"} - {"ROSTER_MODE", "ROSTER_AUTH_API_KEYS"}:
        monkeypatch.setenv(name, empty)
    assert load() == without
    assert without.rate_limit == (None if mode == "development" else "6000/minute")


def test_empty_variable_falls_back_to_the_next_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("ROSTER_PORT=1234\nROSTER_WORKERS=\n")
    monkeypatch.setenv("ROSTER_PORT", "")
    monkeypatch.setenv("ROSTER_DATABASE_URL", "")
    monkeypatch.setenv("DATABASE_URL", "postgres://h/d")
    assert (load().port, load().workers, load().database_url) == (1234, 1, "postgres://h/d")


@pytest.mark.parametrize(
    ("name", "other", "line_"),
    [
        ("DATABASE_URL", "mysql://s3cret", "DATABASE_URL: mysql is not a database"),
        ("ROSTER_DATABASE_URL", "mysql://s3cret", "ROSTER_DATABASE_URL: mysql is not a database"),
        ("database_url", "mysql://s3cret", "DATABASE_URL: mysql is not a database"),
        ("roster_port", "s3cret", "ROSTER_PORT: Input should be a valid integer"),
    ],
)
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_error_names_the_variable_as_it_was_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: str, line_: str, where: str
) -> None:
    if where == ".env":
        (folder / ".env").write_text(f"{name}={other}\n")
    else:
        monkeypatch.setenv(name, other)
    assert settings_error().startswith(line_)


def test_upper_and_lower_case_names_are_one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_PORT", "1234")
    monkeypatch.setenv("roster_port", "1234")
    assert load().port == 1234
    monkeypatch.setenv("roster_port", "s3cret")
    assert settings_error() == "ROSTER_PORT: set twice, in upper and in lower case"


def service(name: str, address: str = "10.0.0.7") -> dict[str, str]:
    """The variables that Kubernetes sets for a Service with two ports."""
    found = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": "8000"}
    found |= {f"{name}_SERVICE_PORT_HTTP": "8000", f"{name}_SERVICE_PORT_GRAPHQL_DNS": "53"}
    found[f"{name}_PORT"] = f"tcp://{address}:8000"
    for number, protocol in ((8000, "tcp"), (53, "udp"), (99, "sctp")):
        port = f"{name}_PORT_{number}_{protocol.upper()}"
        found[port] = f"{protocol}://{address}:{number}"
        found |= {f"{port}_PROTO": protocol, f"{port}_PORT": f"{number}", f"{port}_ADDR": address}
    return found


@pytest.mark.parametrize("name", ["ROSTER", "ROSTER_DB", "ROSTER_2"])
@pytest.mark.parametrize("address", ["10.0.0.7", "fd00::7"])
def test_kubernetes_service_variables_are_ignored_with_one_log_line(
    monkeypatch: pytest.MonkeyPatch, name: str, address: str
) -> None:
    variables = service(name, address)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert load() == Settings()
    assert load().port == 8000
    with capture_logs() as logs:
        log_notices(production=False)
    assert logs == [
        {
            "event": "variables of a Kubernetes Service are ignored",
            "log_level": "info",
            "variables": sorted(variables),
        }
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROSTER_PORT", "tcp"),
        ("ROSTER_PORT", "http://10.0.0.7:8000"),
        ("ROSTER_PORT_8000", "tcp://10.0.0.7:8000"),
        ("ROSTER_SERVICE_HOST", "s3cret"),
        ("ROSTER_SERVICE_PORT", "s3cret"),
        ("ROSTER_SERVICE", "8000"),
        ("ROSTER_PORT_8000_TCP_ADDR", "s3cret"),
    ],
)
def test_similar_variables_not_set_by_kubernetes_are_rejected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert settings_error().startswith(f"{name}: ")


def test_port_in_the_file_is_used_despite_a_kubernetes_port_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("ROSTER_PORT=9000\n")
    monkeypatch.setenv("ROSTER_PORT", "tcp://10.0.0.7:8000")
    assert load().port == 9000


SECRET = "s3cret-${HOME}-$HOME-$$-" + "x" * 20


@pytest.mark.parametrize(
    "written",
    [
        f"'{SECRET}'",
        f'"{SECRET}"',
        SECRET,
        f"{SECRET} # a comment",
        f" {SECRET}\r",
    ],
)
def test_variables_are_not_expanded_in_the_file(folder: Path, written: str) -> None:
    (folder / ".env").write_bytes(
        b"ROSTER_AUTH_ISSUER=i\nROSTER_AUTH_AUDIENCE=a\nexport ROSTER_AUTH_SECRET="
        + written.encode()
    )
    secret = load().auth_secret
    assert secret
    assert secret.get_secret_value() == SECRET


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfROSTER_PORT=1234\r\nROSTER_WORKERS=3\r\n",
        b"ROSTER_PORT=1234\rROSTER_WORKERS=3",
        "# Schlüssel\n\n  ROSTER_PORT = '1234'\nROSTER_WORKERS=\"3\"   # drei\nX\n".encode(),
    ],
)
def test_utf_8_file_is_read_with_any_line_endings(folder: Path, content: bytes) -> None:
    (folder / ".env").write_bytes(content)
    assert (load().port, load().workers) == (1234, 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "ROSTER_PORT=1\n\n# Schl\xfcssel\n".encode("latin-1"),
            ".env: line 3 must be saved in UTF-8",
        ),
        ("ROSTER_PORT=1\n".encode("utf-16"), ".env: must be saved in UTF-8: it is in UTF-16"),
        ("ROSTER_PORT=1\n".encode("utf-16-le"), ".env: must be saved in UTF-8: it is in UTF-16"),
        ("ROSTER_PORT=1\n".encode("utf-32"), ".env: must be saved in UTF-8: it is in UTF-16"),
        (b"SQLite format 3\x00s3cret", ".env: must be saved in UTF-8: it is in UTF-16"),
        (b"A=1\n\n\nROSTER_AUTH_SECRET='s3cret\nB=2\n", ".env: line 4 cannot be read"),
        (b'A=1\nROSTER_AUTH_SECRET="s3cret" s3cret\n', ".env: line 2 cannot be read"),
        (b"ROSTER_PORT: 8000\n", ".env: line 1 cannot be read"),
        (b"set ROSTER_PORT=8000\n", ".env: line 1 cannot be read"),
        (b"\n\n=s3cret\n", ".env: line 3 cannot be read"),
        (b"A=1\n\nROSTER_PORT\n", ".env: line 3 cannot be read"),
        (b"ROSTER_AUTH_SECRET:s3cret\n", ".env: line 1 cannot be read"),
        (b"ROSTER_AUTH_SECRET:s3cret==\n", ".env: line 1 cannot be read"),
        (b"ROSTER_AUTH_SECRET-s3cret=x\n", ".env: line 1 cannot be read"),
    ],
)
def test_malformed_file_is_reported_with_its_line(folder: Path, content: bytes, said: str) -> None:
    (folder / ".env").write_bytes(content)
    assert settings_error().startswith(said)


def test_unreadable_file_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").mkdir()
    assert settings_error() == ".env: cannot be read: Is a directory"
    (folder / ".env").rmdir()
    (folder / ".env").symlink_to("nowhere")
    assert settings_error() == ".env: is a link to a file that does not exist"
    (folder / ".env").unlink()
    (folder / ".env").symlink_to(".env")
    assert settings_error() == ".env: cannot be read: Too many levels of symbolic links"

    def refuse(_: Path) -> bytes:  # the tests may run as a user who can read everything
        raise PermissionError(13, "Permission denied", "/home/s3cret/.env")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert settings_error() == ".env: cannot be read: Permission denied"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_file_without_read_permission_is_reported(folder: Path) -> None:
    (folder / ".env").touch(mode=0o000)
    assert settings_error() == ".env: cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("mode", "production", "warns"),
    [
        (0o644, True, True),
        (0o640, True, True),
        (0o604, True, True),
        (0o600, True, False),
        (0o400, True, False),
        (0o644, False, False),
        (None, True, False),
    ],
)
def test_file_readable_by_others_causes_a_warning_in_production(
    folder: Path,
    mode: int | None,
    production: bool,  # noqa: FBT001 - a parameter of the test
    warns: bool,  # noqa: FBT001 - as above
) -> None:
    if mode is not None:
        (folder / ".env").touch()
        (folder / ".env").chmod(mode)
    with capture_logs() as logs:
        log_notices(production=production)
    event = "other users can read the file .env: its mode should be 600"
    assert logs == ([{"event": event, "log_level": "warning"}] if warns else [])


def test_dotenv_parser_reports_the_line_of_an_error() -> None:
    """python-dotenv documents neither its parser nor its error messages."""
    file = parse_file(Path(".env"), b"A=1\n'B\n")
    assert next(file) == ("A", "1")
    with pytest.raises(InvalidSettings, match=r"^\.env: line 2 cannot be read"):
        next(file)
