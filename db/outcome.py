"""Whether a failed or cancelled write was done, as far as that is known."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from db.errors import is_known_undone


class Outcome(StrEnum):
    NOT_DONE = "NOT_DONE"
    UNKNOWN = "UNKNOWN"
    DONE = "DONE"


class Write:
    """The progress of one write. It can be read at any time, even after a cancellation.

    The outcome is NOT_DONE until COMMIT is sent, UNKNOWN until it is answered, and then DONE.
    """

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome = Outcome.NOT_DONE

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Wrap COMMIT, or a statement that is a transaction by itself."""
        self.outcome = Outcome.UNKNOWN
        try:
            yield
        except Exception as error:
            if is_known_undone(error):
                self.outcome = Outcome.NOT_DONE
            raise
        self.outcome = Outcome.DONE
