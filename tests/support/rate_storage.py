"""A storage of rate limits in memory, which can fail, or not answer."""

import asyncio
from collections.abc import Sequence

from graph.limits.shared import Digest, Hit
from graph.limits.sliding_window import Quota, SlidingWindow


async def plain_digest() -> Digest:
    return lambda key: f"digest of {key}"


class FakeWindows:
    """Counts like a server. `batches` are the commands; `error` and `silent` apply to later ones.

    With `gate`, a command is answered when the gate is open.
    """

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.disconnected = 0
        self._windows: dict[str, SlidingWindow] = {}

    async def hit(self, hits: Sequence[Hit]) -> list[Quota]:
        if hits[0].kind != "probe":
            self.batches.append([f"{hit.kind}: {hit.key}" for hit in hits])
        await self.gate.wait()
        if self.error:
            raise self.error
        return [self._hit(hit) for hit in hits]

    def _hit(self, hit: Hit) -> Quota:
        window = SlidingWindow(hit.rate.amount, hit.rate.get_expiry(), lambda: 0)
        return self._windows.setdefault(str(hit.rate) + hit.kind, window).hit(hit.key)

    async def disconnect(self) -> None:
        self.disconnected += 1
