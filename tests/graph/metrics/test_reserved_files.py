"""Values of several workers without space for their files wait in memory, and never raise."""

import resource
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, values
from prometheus_client.multiprocess import MultiProcessCollector
from structlog.testing import capture_logs

from graph.metrics import prometheus_adapter
from graph.metrics.exposition import ServerState, _WorkersCollector

FIRST_SIZE = 64 * 1024
REASON = {"event": "metrics cannot be written", "log_level": "error"}
END = {"event": "metrics are written", "log_level": "info"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    found = tmp_path / "values"
    found.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(found))
    monkeypatch.setattr(values, "ValueClass", in_files := values.MultiProcessValue())
    monkeypatch.setattr(prometheus_adapter, "_RETRY_SECONDS", 0)
    monkeypatch.setattr(prometheus_adapter.ReservedFile, "_next_attempt", 0)
    prometheus_adapter.reserve_space_of_files()
    yield found
    in_files.close_all_files()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def counter(name: str = "things") -> Counter:
    return Counter(name, "Text.", ["kind"], registry=CollectorRegistry())


def published(folder: Path) -> dict[str, float]:
    metrics = MultiProcessCollector(None, str(folder)).collect()
    return {s.labels["kind"]: s.value for metric in metrics for s in metric.samples}


def counted(things: Counter) -> dict[str, float]:
    """Returns the values of this process."""
    samples = [sample for metric in things.collect() for sample in metric.samples]
    return {s.labels["kind"]: s.value for s in samples if s.name == "things_total"}


def reserved(folder: Path) -> list[tuple[int, bool]]:
    found = [path.stat() for path in folder.iterdir()]
    return [(file.st_size, file.st_blocks * 512 >= file.st_size) for file in found]


def test_space_is_reserved_at_the_beginning_and_for_more_values(folder: Path) -> None:
    things = counter()
    things.labels("a").inc()
    assert reserved(folder) == [(FIRST_SIZE, True)]
    things.labels("b" * 3 * FIRST_SIZE).inc()
    assert reserved(folder) == [(4 * FIRST_SIZE, True)]
    assert published(folder) == {"a": 1, "b" * 3 * FIRST_SIZE: 1}


@pytest.mark.parametrize("size", [0, 1, FIRST_SIZE - 1])
def test_values_without_space_for_a_file_are_written_later(folder: Path, size: int) -> None:
    with capture_logs() as logs:
        with file_size_limit(size):
            things = counter()
            things.labels("a").inc(2)
            things.labels("b").inc(3)
            assert counted(things) == {"a": 2, "b": 3}
            assert reserved(folder) == []
            assert published(folder) == {}
        counter("others").labels("c").inc()  # any value
    assert published(folder) == {"a": 2, "b": 3, "c": 1}
    assert logs == [{**REASON, "cause": "OSError EFBIG"}, END]


def test_values_without_space_to_grow_are_written_later(folder: Path) -> None:
    things = counter()
    expected = dict.fromkeys(map(str, range(1000)), 2.0)
    with capture_logs() as logs:
        with file_size_limit(FIRST_SIZE):
            for kind in [*expected, *expected]:
                things.labels(kind).inc()
            assert 100 < len(published(folder)) < 1000
            assert reserved(folder) == [(FIRST_SIZE, True)]
        things.labels("0").inc(0)
    assert published(folder) == expected
    assert reserved(folder) == [(2 * FIRST_SIZE, True)]
    assert logs == [{**REASON, "cause": "OSError EFBIG"}, END]


def test_values_are_kept_when_the_folder_is_removed(folder: Path) -> None:
    things = counter()
    things.labels("a").inc()
    shutil.rmtree(folder)
    for kind in map(str, range(1000)):  # the file grows
        things.labels(kind).inc()
    values.ValueClass.close_all_files()
    with capture_logs() as logs:
        counter("others").labels("b").inc()
    assert logs == [{**REASON, "cause": "FileNotFoundError ENOENT"}]


def test_scrape_is_repeated_if_a_file_is_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter().labels("a").inc()
    collector = _WorkersCollector(str(folder), ServerState())
    found: list[Exception | list[str]] = [struct.error(), FileNotFoundError(), ["a metric"]]

    def collect(_: MultiProcessCollector) -> list[str]:
        if isinstance(first := found.pop(0), Exception):
            raise first
        return first

    monkeypatch.setattr(MultiProcessCollector, "collect", collect)
    assert list(collector.collect()) == ["a metric"]


def test_file_of_a_process_with_the_same_id_is_continued(folder: Path) -> None:
    counter().labels("a").inc(2)
    values.ValueClass.close_all_files()
    counter().labels("a").inc()
    assert published(folder) == {"a": 3}
