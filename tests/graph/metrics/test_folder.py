"""The folder for values of several workers, and those that killed servers have left."""

import errno
import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from graph.environment import InvalidSettings
from graph.metrics import folder
from graph.metrics.folder import values_in_files

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def start() -> set[Path]:
    """Starts and ends a server; returns the folders that there were."""
    parent = os.environ[VARIABLE]
    with values_in_files(has_workers=True) as made:
        found = set(Path(parent).iterdir())
        assert made is not None
    os.environ[VARIABLE] = parent
    return found - {Path(made)}


def leftover(path: Path) -> Path:
    path.mkdir(0o700)
    (path / "lock").touch()
    (path / "counter_1.db").touch()
    return path


def test_folder_is_removed_unless_its_server_holds_the_lock(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover(parent / "roster-metrics-a")
    with values_in_files(has_workers=True) as used:
        assert used is not None
        monkeypatch.setenv(VARIABLE, str(parent))
        assert start() == {Path(used)}
    assert start() == set()


def test_folder_of_others_or_without_a_lock_is_kept(
    parent: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = leftover(tmp_path_factory.mktemp("elsewhere") / "roster-metrics-a")
    (linked := parent / "roster-metrics-linked").symlink_to(elsewhere)
    leftover(readable := parent / "roster-metrics-readable").chmod(0o755)
    (unlocked := parent / "roster-metrics-without").mkdir(0o700)
    (file := parent / "roster-metrics-file").touch()
    other = leftover(parent / "other")
    kept = {linked, readable, unlocked, file, other}
    assert start() == kept
    assert (elsewhere / "counter_1.db").exists()
    own = leftover(parent / "roster-metrics-own")
    user = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: user + 1)
        assert start() == {*kept, own}
    assert start() == kept


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_server_starts_without_a_folder_if_there_is_no_space(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(**_: object) -> None:
        raise OSError(code, "")

    monkeypatch.setattr(folder, "TemporaryDirectory", fail)
    with capture_logs() as logs, values_in_files(has_workers=True) as made:
        assert made is None
        assert VARIABLE not in os.environ
    cause = f"OSError {errno.errorcode[code]}"
    event = "metrics of workers cannot be published"
    assert logs == [{"event": event, "log_level": "warning", "cause": cause}]


def test_lock_without_space_does_not_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        assert start() == set()


def test_missing_folder_stops_the_start(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(parent / "none"))
    with pytest.raises(InvalidSettings, match=VARIABLE), ExitStack() as stack:
        stack.enter_context(values_in_files(has_workers=True))
