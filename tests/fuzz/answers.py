"""Checks that apply to every response."""

import json
import re
from typing import Any

# The specification allows 2 seconds on an idle machine; test machines are busy.
SECONDS = 5.0
FAULTS = {"INTERNAL_ERROR", "DATABASE_UNAVAILABLE"}
# Texts that only Python or a library writes; tests/system/test_library_texts.py has more.
FOREIGN = re.compile(
    r"sys\.set_int|encountered error|Traceback|<class '|object at 0x|not to be None"
)


def _not_json(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def read(text: bytes) -> Any:
    """Parses JSON as strictly as any client does; raises ValueError if it is invalid."""
    return json.loads(text.decode(), parse_constant=_not_json)


def error_problems(errors: Any) -> list[str]:
    """Returns the problems of the errors in a response."""
    if errors is None:
        return []
    if not isinstance(errors, list) or not errors:
        return [f"errors are no list, or empty: {errors!r}"]
    found = []
    for error in errors:
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            found.append("an error has no message")
            continue
        if FOREIGN.search(error["message"]):
            found.append(f"a message that a library wrote: {error['message']!r:.200}")
        code = (error.get("extensions") or {}).get("code")
        if code in FAULTS:
            path = "/".join("*" if isinstance(at, int) else str(at) for at in error.get("path", []))
            found.append(f"{code} at {path or 'no path'}")
    return found


def result_problems(result: Any) -> list[str]:
    if not isinstance(result, dict):
        return ["a result is no object"]
    return error_problems(result.get("errors"))


def body_problems(content_type: str, body: bytes) -> list[str]:
    try:
        if "json" in content_type:
            result = read(body)
            results = result if isinstance(result, list) else [result]
            return [problem for each in results for problem in result_problems(each)]
        if content_type.startswith("text/event-stream"):
            events = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
            return [problem for event in events for problem in result_problems(read(event))]
        body.decode()
    except ValueError as error:
        return [f"the answer cannot be read as {content_type}: {error}"]
    return []
