"""The format of log lines, including those of libraries that write to the same stream."""

import io
import json
import socket
import subprocess
import sys
from typing import Any

import pytest

PERSONAL = "ada@example.com"
_SCRIPT = """
import asyncio, gc, logging, threading, warnings
import structlog
from graph.logging import configure
configure("{form}")
ours = structlog.get_logger("roster")
logging.getLogger("uvicorn.error").warning("Invalid HTTP %s received.", "{value}")
logging.getLogger("uvicorn.error").info("not important")
try:
    try:
        int("{value}")
    except ValueError as error:
        raise KeyError("{value}") from error
except KeyError:
    logging.getLogger("asyncio").exception("failed\\nfuture: {value}", extra={"reason": "{value}"})
    ours.exception("ours failed", size=1, email="{value}", reason=ValueError("{value}"))
logging.getLogger("unknown").error("for {value}")
warnings.warn("{value}")

def crash(*given):
    raise RuntimeError("{value}")

class Crash:
    __del__ = crash

async def main():
    asyncio.get_running_loop().call_soon(crash, "{value}")
    await asyncio.sleep(0)

asyncio.run(main())
thread = threading.Thread(target=crash)
thread.start()
thread.join()
Crash()
gc.collect()
raise ExceptionGroup("{value}", [LookupError("{value}")])
"""
EVENTS = [
    ("warning", "Invalid HTTP %s received."),
    ("error", "failed"),
    ("error", "ours failed"),
    ("error", "a library has logged a message"),
    ("warning", "a warning of Python"),
    ("error", "Exception in callback"),
    *[("error", "an exception was not handled")] * 3,
]


def lines(form: str) -> str:
    """Returns what a process logs in this format. It ends with an exception."""
    script = _SCRIPT.replace("{form}", form).replace("{value}", PERSONAL)
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert PERSONAL not in done.stderr
    return done.stderr


def types(record: dict[str, Any]) -> list[str]:
    return [stack["exc_type"] for stack in record["exception"]]


def test_every_json_line_is_valid_and_has_only_known_keys() -> None:
    records = [json.loads(line) for line in lines("json").splitlines()]
    assert [(line["level"], line["event"]) for line in records] == EVENTS
    assert all("timestamp" in line for line in records)
    assert [types(records[n]) for n in (1, 2)] == [["KeyError", "ValueError"]] * 2
    [frame] = records[1]["exception"][0]["frames"]
    assert set(frame) == {"filename", "lineno", "name"}
    assert set(records[2]) == {"level", "timestamp", "event", "size", "reason", "exception"}
    assert (records[2]["size"], records[2]["reason"]) == (1, "ValueError")
    assert (records[3]["logger"], records[3]["place"]) == ("unknown", "<string>:17, in <module>")
    assert (records[4]["category"], records[4]["place"]) == ("UserWarning", "<string>:18")
    assert [types(record) for record in records[5:8]] == [["RuntimeError"]] * 3
    [group] = records[8]["exception"]
    assert [[stack["exc_type"] for stack in one] for one in group["exceptions"]] == [
        ["LookupError"]
    ]


def test_text_lines_have_one_format_including_those_of_libraries() -> None:
    text = lines("text")
    for level, event in EVENTS:
        assert f"[{level:9}] {event}" in text
    assert text.count("Traceback (most recent call last):\n") == 9
    assert 'File "<string>", line 13, in <module>\nKeyError\n' in text


_CONFIGURED = """
import structlog
from graph.logging import configure
configure("json")
log = structlog.get_logger("roster")
"""
_LONG = f"""{_CONFIGURED}
def fail(depth):
    try:
        return fail(depth - 1) if depth else 1 / 0
    except Exception as error:
        raise ValueError from error

try:
    fail(200)
except ValueError:
    log.exception("failed")
log.info("odd values", seconds=float("nan"), size=float("-inf"), reason="\\udcff")
"""
_UNREAD = f"""{_CONFIGURED}
import sys
sys.stdin.read()
for _ in range(3):
    log.info("one")
print("served")
"""


def _strictly(line: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(line, parse_constant=refuse)


def test_each_line_is_json_and_written_by_one_call_however_long() -> None:
    # Lines of several processes would mix otherwise.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # one packet each
    with ours, theirs:
        command = [sys.executable, "-c", _LONG]
        subprocess.run(command, check=True, stderr=theirs.fileno())  # noqa: S603 - our own script
        lines = [ours.recv(2**20) for _ in range(2)]
        ours.settimeout(0)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
    assert len(lines[0]) > 2 * io.DEFAULT_BUFFER_SIZE
    assert [line.count(b"\n") for line in lines] == [1, 1]
    failed, odd = map(_strictly, lines)
    assert len(failed["exception"]) == 202
    assert (odd["seconds"], odd["size"], odd["reason"]) == ("nan", "-inf", "\\udcff")


def test_lines_that_nobody_reads_are_lost() -> None:
    command = [sys.executable, "-c", _UNREAD]
    with subprocess.Popen(  # noqa: S603 - our own script
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        process.stderr.close()
        process.stderr = None
        output, _ = process.communicate()
    assert output == "served\n"
