"""Timers of the event loop that expire when a test says so, however busy the machine is."""

import asyncio


def pass_time(seconds: float) -> None:
    """Moves the clock of the running loop forward: timers that are due by then expire now."""
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]


def pass_time_until(moment: float) -> None:
    """Moves the clock of the running loop forward to a time of this clock."""
    pass_time(max(0.0, moment - asyncio.get_running_loop().time()))
