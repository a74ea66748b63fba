"""How large the benchmarks are: `BENCH_SHARE=0.01` is a hundredth, to see that they work."""

import os
from typing import Final

SHARE: Final = float(os.environ.get("BENCH_SHARE", "1"))


def share(whole: int, least: int = 1) -> int:
    """Return the share of a number that is wanted, and `least` at the least."""
    return max(least, round(whole * SHARE))
