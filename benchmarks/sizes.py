"""The size of the benchmarks: `BENCH_SHARE=0.01` runs a hundredth, to test that they work."""

import os
from typing import Final

SHARE: Final = float(os.environ.get("BENCH_SHARE", "1"))


def share(whole: int, least: int = 1) -> int:
    """Return BENCH_SHARE of a number, and at least `least`."""
    return max(least, round(whole * SHARE))


def share_seconds(whole: float) -> float:
    """Return BENCH_SHARE of a pause, and at least a fifth of a second."""
    return max(0.2, whole * SHARE)
