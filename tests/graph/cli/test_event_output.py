"""The output of `roster events`: a signal during the encoding of an event, and a closed pipe."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from graph.cli.event_output import EventOutput, Stopped


def test_signal_during_the_encoding_of_an_event_ends_the_output_before_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[Any] = []

    def encode(event: Any) -> bytes:
        if event == "second":
            output.stop()  # as the handler of the signal
        encoded.append(event)
        return f"{event}\n".encode()

    with (tmp_path / "lines").open("w") as lines:
        monkeypatch.setattr(sys, "stdout", lines)
        output = EventOutput(encode, None)
        events: list[Any] = ["first", "second", "third"]
        with pytest.raises(Stopped):
            output.write(events, "cursor")
    assert encoded == ["first", "second"]
    assert (tmp_path / "lines").read_text() == "first\n"


async def test_closed_pipe_cancels_the_task_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as lines:
        monkeypatch.setattr(sys, "stdout", lines)
        output = EventOutput(bytes, None)
        async with asyncio.timeout(60):
            with output.watched(), suppress(asyncio.CancelledError):
                try:
                    os.close(reading)
                    await asyncio.Event().wait()
                finally:
                    for _ in range(10):  # a cleanup, which is not cancelled again
                        await asyncio.sleep(0)
                    cleaned_up = True
    assert cleaned_up
