"""The only module that uses undocumented parts of prometheus-client.

| internal | used for |
|---|---|
| `Histogram._upper_bounds`, `_buckets`, `_sum` | adds several values at once |

`tests/graph/metrics/test_timings.py` fails if they change.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import partial

from prometheus_client import Histogram


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """Add values to a histogram, as its `observe` would add each one."""
    bounds = histogram._upper_bounds  # noqa: SLF001 - see above
    buckets = histogram._buckets  # noqa: SLF001 - see above
    for bucket, number in Counter(map(partial(bisect_left, bounds), values)).items():
        buckets[bucket].inc(number)
    histogram._sum.inc(sum(values))  # noqa: SLF001 - see above
