"""The garbage of each execution is looked through at once, for what nobody has awaited."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def only_new_garbage() -> Iterator[None]:
    """Leave out what there was before, or each look would take a tenth of a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
