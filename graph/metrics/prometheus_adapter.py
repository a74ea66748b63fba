"""The only module that uses undocumented parts of prometheus-client.

| internal | used for |
|---|---|
| `Histogram._upper_bounds`, `_buckets`, `_sum` | adds several values at once |
| `values.MmapedDict` and its attributes | reserves the space of files that are mapped |

`tests/graph/metrics/test_timings.py` and `test_reserved_files.py` fail if they change.
"""

import mmap
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final

import structlog
from prometheus_client import Histogram, values
from prometheus_client.mmap_dict import MmapedDict

from db.error_summary import summarize

log = structlog.get_logger("roster")

_FIRST_SIZE: Final = 64 * 1024
_MOST_BESIDE_KEY: Final = 32  # bytes of an entry: the length, padding, the value and its time
_RETRY_SECONDS: Final = 1.0
_Untyped: Any = MmapedDict


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """Add values to a histogram, as its `observe` would add each one."""
    bounds = histogram._upper_bounds  # noqa: SLF001 - see above
    buckets = histogram._buckets  # noqa: SLF001 - see above
    for bucket, number in Counter(map(partial(bisect_left, bounds), values)).items():
        buckets[bucket].inc(number)
    histogram._sum.inc(sum(values))  # noqa: SLF001 - see above


def reserve_space_of_files() -> None:
    """Use `ReservedFile` for the values that are created from now on, if they are in files."""
    values.MmapedDict = ReservedFile  # type: ignore[attr-defined,assignment]  # see above


class ReservedFile(_Untyped):  # type: ignore[misc]  # Any
    """Values of this process, in a file whose space is reserved before it is mapped.

    prometheus-client maps sparse files: a write into a page for which there is no space ends the
    process by SIGBUS. Here, values without space wait in memory, are tried again with later writes
    of any value, and never raise.
    """

    _incomplete: ClassVar[set["ReservedFile"]] = set()
    _next_attempt: ClassVar[float] = 0  # 0 if the last one succeeded

    def __init__(self, filename: str) -> None:
        self._fname = filename
        self._f: Any = None
        self._m: mmap.mmap | None = None
        self._used = self._capacity = 0
        self._positions: dict[str, int] = {}
        self._waiting: dict[str, tuple[float, float]] = {}
        with suppress(OSError):  # the first write tries again
            self._open()

    def read_value(self, key: str) -> tuple[float, float]:
        if key not in self._positions:
            self.write_value(key, *self._waiting.get(key, (0.0, 0.0)))
        found: tuple[float, float] = self._waiting.get(key) or super().read_value(key)
        return found

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        if key in self._positions:
            super().write_value(key, value, timestamp)
        else:
            self._waiting[key] = value, timestamp
            self._incomplete.add(self)
        if self._incomplete and time.monotonic() >= self._next_attempt:
            self._write_all()

    def close(self) -> None:
        self._incomplete.discard(self)
        if self._m is not None:
            super().close()

    @classmethod
    def _write_all(cls) -> None:
        failed = {file: error for file in cls._incomplete if (error := file.write_waiting())}
        cls._incomplete.intersection_update(failed)
        if failed and not cls._next_attempt:
            log.error("metrics cannot be written", cause=summarize(next(iter(failed.values()))))
        elif cls._next_attempt and not failed:
            log.info("metrics are written")
        cls._next_attempt = time.monotonic() + _RETRY_SECONDS if failed else 0

    def write_waiting(self) -> OSError | None:
        try:
            if self._m is None:
                self._open()
            for key in list(self._waiting):
                self._reserve(len(key.encode()) + _MOST_BESIDE_KEY)
                super().write_value(key, *self._waiting.pop(key))
        except OSError as error:
            return error
        return None

    def _open(self) -> None:
        with open(self._fname, "ab") as file:  # noqa: PTH123 - the name is a str
            try:
                _extend(file.fileno(), _FIRST_SIZE)
            except OSError:
                if os.fstat(file.fileno()).st_size == 0:
                    os.remove(self._fname)  # noqa: PTH107 - as above; a scrape cannot read it
                raise
        super().__init__(self._fname)

    def _reserve(self, size: int) -> None:
        capacity = self._capacity
        while capacity < self._used + size:
            capacity *= 2
        if capacity > self._capacity:
            _extend(self._f.fileno(), capacity)
            self._m = mmap.mmap(self._f.fileno(), capacity)
            self._capacity = capacity


def _extend(file: int, size: int) -> None:
    """Append zeros up to this size. Raises OSError and changes nothing if there is no space."""
    before = os.fstat(file).st_size
    try:
        while (missing := size - os.fstat(file).st_size) > 0:
            os.write(file, bytes(missing))
    except OSError:
        os.ftruncate(file, before)
        raise
