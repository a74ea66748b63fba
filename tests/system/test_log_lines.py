"""The form of log lines: our own, and those of the libraries that write into the same stream."""

import json
import subprocess
import sys

_SCRIPT = """
import logging, warnings
import structlog
from graph.logging import configure
configure("{form}")
logging.getLogger("uvicorn.error").warning("Invalid HTTP %s received.", "request")
logging.getLogger("uvicorn.error").info("not important")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("asyncio").exception("failed")
warnings.warn("old")
structlog.get_logger("roster").info("ours", size=1)
"""


def lines(form: str) -> list[str]:
    """Return what a process that logs in this form has written."""
    command = [sys.executable, "-c", _SCRIPT.replace("{form}", form)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ours
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_every_line_is_json_whoever_writes_it() -> None:
    told = [json.loads(line) for line in lines("json")]
    assert [(line["level"], line["event"].partition("\n")[0]) for line in told] == [
        ("warning", "Invalid HTTP request received."),
        ("error", "failed"),
        ("warning", "<string>:12: UserWarning: old"),
        ("info", "ours"),
    ]
    assert all("timestamp" in line for line in told)
    [failure] = told[1]["exception"]
    assert failure["exc_type"] == "ZeroDivisionError"
    assert "locals" not in failure["frames"][0]
    assert told[3]["size"] == 1


def test_lines_for_people_have_the_same_form_whoever_writes_them() -> None:
    told = lines("text")
    assert "[warning  ] Invalid HTTP request received." in told[0]
    assert "[error    ] failed" in told[1]
    assert "[info     ] ours" in told[-1]
