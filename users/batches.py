"""Batches of a sequence of any length."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(values: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """Like `itertools.batched` of Python 3.12."""
    remaining = iter(values)
    while batch := list(islice(remaining, size)):
        yield batch
