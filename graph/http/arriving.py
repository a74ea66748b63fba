"""A message of a server's that may be here already."""

from collections.abc import Awaitable, Generator
from typing import Any

from starlette.types import Message


class Arriving:
    """Begins to receive a message: what is here at once is its `message`, or else it is awaited.

    A timer costs more than reading a small body does, and is for nothing where the body is here.
    """

    def __init__(self, receiving: Awaitable[Message]) -> None:
        self._steps = receiving.__await__()
        self.message: Message | None = None
        try:
            self._waits_for = next(self._steps)
        except StopIteration as done:
            self.message = done.value

    def __await__(self) -> Generator[Any, Any, Message]:
        """Go on from where it began to wait. It is ended where whoever awaits this is cancelled."""
        try:
            yield self._waits_for
        except BaseException:
            self._steps.close()
            raise
        return (yield from self._steps)
