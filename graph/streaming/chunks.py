"""Results on their way to many subscribers, made and framed once for all."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from websockets.frames import Frame, Opcode

_AT_ONCE: Final = 64 * 1024  # bytes, about, before it is seen whether a consumer takes them


class ResultBatch:
    """Some results as JSON: what a consumer is sent at once.

    Those of events have their `ids`, in order, and their cursors where a stream names them.
    """

    def __init__(
        self, texts: Sequence[bytes], ids: Sequence[int] = (), cursors: Sequence[str] = ()
    ) -> None:
        self.texts = texts
        self.ids = ids
        self.cursors = cursors
        self._parts: dict[tuple[int, bytes], list[bytes]] = {}

    def after(self, id_: int) -> "ResultBatch":
        """Give those of the events behind one."""
        if self.ids[0] > id_:
            return self
        first = bisect_right(self.ids, id_)
        return ResultBatch(self.texts[first:], self.ids[first:], self.cursors[first:])

    def frames(self, before: bytes, after: bytes) -> bytes:
        """Give a WebSocket frame for each, within an envelope of the subscriber's own.

        A frame begins with its length, so subscribers whose ids are equally long have all but the
        id in common: then this is no more than a join.
        """
        key = (len(before), after)
        parts = self._parts.get(key)
        if parts is None:
            parts = self._parts[key] = [b""]
            for text in self.texts:
                rest = text + after
                frame = Frame(Opcode.TEXT, before + rest).serialize(mask=False)
                parts[-1] += frame.removesuffix(before + rest)
                parts.append(rest)
        return before.join(parts)


def portions(
    texts: Sequence[bytes], ids: Sequence[int], cursors: Sequence[str] = ()
) -> Iterator[ResultBatch]:
    """Part what may be long into what may be sent at once."""
    first = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= _AT_ONCE or end == len(texts):
            yield ResultBatch(texts[first:end], ids[first:end], cursors[first:end])
            first, size = end, 0
