"""The format of log lines, including those of libraries that write to the same stream."""

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
    """Returns the lines that a process logs in this format."""
    command = [sys.executable, "-c", _SCRIPT.replace("{form}", form)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ours
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_every_json_line_is_valid_including_those_of_libraries() -> None:
    records = [json.loads(line) for line in lines("json")]
    assert [(line["level"], line["event"].partition("\n")[0]) for line in records] == [
        ("warning", "Invalid HTTP request received."),
        ("error", "failed"),
        ("warning", "<string>:12: UserWarning: old"),
        ("info", "ours"),
    ]
    assert all("timestamp" in line for line in records)
    [failure] = records[1]["exception"]
    assert failure["exc_type"] == "ZeroDivisionError"
    assert "locals" not in failure["frames"][0]
    assert records[3]["size"] == 1


def test_text_lines_have_one_format_including_those_of_libraries() -> None:
    records = lines("text")
    assert "[warning  ] Invalid HTTP request received." in records[0]
    assert "[error    ] failed" in records[1]
    assert "[info     ] ours" in records[-1]
