"""A wall clock for server processes that tests can move; the monotonic clock is unaffected."""

from pathlib import Path
from typing import Any

import pytest


class MovedClock:
    """The clock of the processes that have `settings` in their environment."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.fail("The tests of clocks need faketime (Debian: apt-get install faketime).")
        self._file = folder / "clock"
        self.settings: dict[str, Any] = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.move(0)

    def move(self, seconds: int) -> None:
        """Sets the clock to the real time plus an offset."""
        self._file.write_text(f"{seconds:+d}s")
