"""Batches of results that are serialised and framed once for many subscribers."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from websockets.frames import Frame, Opcode

BATCH_BYTES: Final = 64 * 1024  # approximate size of a batch, which a consumer accepts or refuses


class ResultBatch:
    """Serialised results that are sent together.

    Results of events have `ids`, in ascending order, and `cursors` if the stream includes them.
    """

    def __init__(
        self, texts: Sequence[bytes], ids: Sequence[int] = (), cursors: Sequence[str] = ()
    ) -> None:
        self.texts = texts
        self.ids = ids
        self.cursors = cursors
        self._parts: dict[tuple[int, bytes], list[bytes]] = {}

    def after(self, id_: int) -> "ResultBatch":
        if self.ids[0] > id_:
            return self
        first = bisect_right(self.ids, id_)
        return ResultBatch(self.texts[first:], self.ids[first:], self.cursors[first:])

    def frames(self, before: bytes, after: bytes) -> bytes:
        """Return one WebSocket frame per result, with the subscriber's own `before` and `after`.

        A frame starts with its length. Frames for subscription ids of equal length therefore differ
        only in `before`, and the rest is cached.
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
    texts: Sequence[bytes],
    ids: Sequence[int],
    cursors: Sequence[str] = (),
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[ResultBatch]:
    """Split results into batches of about this size."""
    first = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= batch_bytes or end == len(texts):
            yield ResultBatch(texts[first:end], ids[first:end], cursors[first:end])
            first, size = end, 0
