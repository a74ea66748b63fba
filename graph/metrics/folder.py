"""The folder in which prometheus-client keeps the values of several workers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final

from graph.environment import InvalidSettings

# Read by prometheus-client when it is imported, in each process.
_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def values_in_files(*, has_workers: bool) -> Iterator[str | None]:
    """Yield a new folder for values, or None if the only process keeps them in its memory.

    Must be entered before prometheus-client is imported, which would write into the folder of the
    variable. Files of an earlier process with the same id would be added up, too.
    """
    parent = os.environ.pop(_VARIABLE, None)
    if not has_workers:
        yield None
        return
    try:
        made = TemporaryDirectory(prefix="roster-metrics-", dir=parent or None)
    except OSError:
        raise InvalidSettings(f"{_VARIABLE}: no files can be created in this folder") from None
    with made as folder:
        os.environ[_VARIABLE] = folder
        yield folder
