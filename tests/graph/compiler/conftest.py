"""Tests collect garbage after each execution to find coroutines that were never awaited."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def only_new_garbage() -> Iterator[None]:
    """Freezes older objects. Otherwise each collection would take a tenth of a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
