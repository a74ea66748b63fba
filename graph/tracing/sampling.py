"""Decides which requests are traced, before anything else is done for them.

The SDK's samplers decide when a span is started: FastAPI has then read the headers and collected
attributes, which takes a tenth of the time of a lookup by id. FastAPI's `exclude` skips all that.
"""

import os
import random
import re
import time
from collections.abc import Callable, Iterable
from typing import Final

from starlette.types import Scope

from graph.environment import InvalidSettings

# https://www.w3.org/TR/trace-context/#traceparent-header: later versions can have further fields.
_PARENT: Final = re.compile(
    rb"(?!ff)(?:00(?=.{53}\Z)|(?!00)[0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_HEADER: Final = b"traceparent"
_SAMPLED: Final = 1
_IDS: Final = 1 << 64  # TraceIdRatioBased compares the lower half of the trace id
_RATIOS: Final = {"always_on": 1.0, "always_off": 0.0}
_BASED_ON_PARENT: Final = "parentbased_"
_RATIO: Final = "traceidratio"
NAMES: Final = tuple(f"{p}{n}" for n in (*_RATIOS, _RATIO) for p in (_BASED_ON_PARENT, ""))


class Rate:
    """Allows a number of events per second, and as many at once after a pause."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = 1 / per_second
        self._saved = 1 - self._pause  # seconds whose events a pause saves, besides the next one
        self._clock = clock
        self._next = clock() - self._saved

    def allows(self) -> bool:
        now = self._clock()
        if now < self._next:
            return False
        self._next = max(self._next, now - self._saved) + self._pause
        return True


class Sampler:
    """Samples requests as their `traceparent` says, and others at a rate or by a ratio.

    With `is_parent_based` false, the flag of `traceparent` is ignored.
    """

    def __init__(
        self, *, ratio: float = 1.0, rate: Rate | None = None, is_parent_based: bool = True
    ) -> None:
        self._bound = round(ratio * _IDS)
        self._rate = rate
        self._is_parent_based = is_parent_based

    def samples(self, scope: Scope) -> bool:
        headers = scope["headers"]
        parent = _parent(headers) if _HEADER in dict(headers) else None
        if parent is None:
            return self._rate.allows() if self._rate else random.getrandbits(64) < self._bound
        if self._is_parent_based:
            return bool(int(parent[3], 16) & _SAMPLED)
        return int(parent[1][16:], 16) < self._bound


def _parent(headers: Iterable[tuple[bytes, bytes]]) -> re.Match[bytes] | None:
    found: re.Match[bytes] | None = None
    for name, value in headers:
        if name == _HEADER:
            if found:
                return None  # two values are invalid
            found = _PARENT.fullmatch(value)
    if found and b"-%b-" % (b"0" * 32) not in found[0] and found[2] != b"0" * 16:
        return found
    return None


def from_environment(per_second: float) -> Sampler:
    """Return the sampler of OTEL_TRACES_SAMPLER. Without it, a number of new traces per second."""
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if not name:
        return Sampler(rate=Rate(per_second))
    if name not in NAMES:
        raise InvalidSettings(f"OTEL_TRACES_SAMPLER: must be one of {', '.join(NAMES)}")
    kind = name.removeprefix(_BASED_ON_PARENT)
    ratio = _ratio() if kind == _RATIO else _RATIOS[kind]
    return Sampler(ratio=ratio, is_parent_based=name != kind)


def _ratio() -> float:
    given = os.environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
    try:
        ratio = float(given)
    except ValueError:
        ratio = -1
    if not 0 <= ratio <= 1:
        raise InvalidSettings("OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1")
    return ratio
