"""Tests collect garbage after each execution to find coroutines that were never awaited."""

import gc

import pytest


@pytest.fixture(autouse=True, scope="module")
def only_new_garbage() -> None:
    """Freezes older objects. Otherwise each collection would take a tenth of a second.

    They stay frozen: the next module would have to collect all of them again.
    """
    gc.collect()
    gc.freeze()
