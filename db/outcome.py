"""What is known of a write that failed or was ended: whether it was done."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from db.errors import is_known_undone


class Outcome(StrEnum):
    NOT_DONE = "NOT_DONE"
    UNKNOWN = "UNKNOWN"
    DONE = "DONE"


class Write:
    """How far one write has come. It can be read at any time, also when the write is cancelled.

    A write is undone until its COMMIT is sent, unknown until that is answered, and done then.
    """

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome = Outcome.NOT_DONE

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Around COMMIT, or around a statement that is a transaction of its own."""
        self.outcome = Outcome.UNKNOWN
        try:
            yield
        except Exception as error:
            if is_known_undone(error):
                self.outcome = Outcome.NOT_DONE
            raise
        self.outcome = Outcome.DONE
