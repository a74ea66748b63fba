"""Configures logs: one line per event on standard error, as text or as JSON.

Lines contain no personal data and no secrets:

- An event has only the keys of `KEYS`. Others are dropped.
- An exception has its type, its codes and its frames. Messages can contain values of requests and
  of rows, and are dropped.
- A line of another library has its template, or only its place in the code.
"""

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor

from db.error_summary import summarize

KEYS: Final = frozenset(
    {
        *("timestamp", "level", "event", "exception"),  # of every line, or of every exception
        *("logger", "place", "category"),  # of lines of other libraries
        *("request_id", "error_id", "trace_id", "span_id"),
        *("cause", "count", "field", "host", "outcome", "reason", "seconds"),
        *("ids_back", "new_position", "position", "transactions"),  # of the feed
        *("lineage", "replica", "revision", "term", "timeline"),  # of databases
        *("ignored", "old_keys", "used"),  # of an issuer's keys
        *("renamed", "variables"),  # names of settings
        *("sha256", "size"),  # of a document
        "users",  # their number, or the ids of their rows
    }
)
# Libraries whose messages are templates without values, apart from what `_template` removes.
_WITH_TEMPLATES: Final = frozenset({"asyncio", "opentelemetry", "sqlalchemy", "uvicorn"})
_MAX_FRAMES: Final = 50
_Stack = dict[str, Any]

log = structlog.get_logger("roster")


def configure(log_format: str) -> None:
    last: list[Processor] = [_only_known, _without_messages]
    if log_format == "json":
        last.append(structlog.processors.JSONRenderer())
    else:
        last += [_as_text, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace,
    ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _Lines(sys.stderr),
    )
    _configure_others(shared, last)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda given: _log_uncaught(
        given.exc_type, given.exc_value, given.exc_traceback
    )
    sys.unraisablehook = lambda given: _log_uncaught(
        given.exc_type, given.exc_value, given.exc_traceback
    )


class _Lines:
    """Writes each line by one call, so that those of several processes do not mix.

    A line that cannot be written is lost: a closed pipe or a full disk must not fail requests.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):  # ValueError if the stream is closed
            self._stream.write(f"{line}\n")
            self._stream.flush()

    info = warning = error = critical = msg


def _configure_others(shared: Sequence[Processor], last: Sequence[Processor]) -> None:
    # Log records of libraries, such as uvicorn, use the standard library's logging.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _of_library],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            use_get_message=False,
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    warnings.showwarning = _log_warning


def add_trace(_: Any, __: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _only_known(_: Any, __: str, event: EventDict) -> EventDict:
    known = {key: _plain(value) for key, value in event.items() if key in KEYS}
    return known | {key: event[key] for key in ("exc_info",) if key in event}


def _plain(value: Any) -> Any:
    # The text of any other object can contain anything.
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()  # JSON has no lone surrogates
    if isinstance(value, float):
        return value if isfinite(value) else str(value)  # nor has it these
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return type(value).__name__


def _without_messages(_: Any, __: str, event: EventDict) -> EventDict:
    if error := _error(event.pop("exc_info", None)):
        event["exception"] = [_stack(each) for each in _chain(error)]
    return event


def _error(given: Any) -> BaseException | None:
    if isinstance(given, tuple):  # of `sys.exc_info`
        given = given[1]
    elif given is True:
        given = sys.exc_info()[1]
    return given if isinstance(given, BaseException) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, and those during whose handling it was raised."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _stack(error: BaseException) -> _Stack:
    found = traceback.extract_tb(error.__traceback__)
    frames = [{"filename": f.filename, "lineno": f.lineno, "name": f.name} for f in found]
    if len(frames) > _MAX_FRAMES:
        frames = frames[: _MAX_FRAMES // 2] + frames[-_MAX_FRAMES // 2 :]
    stack: _Stack = {
        "exc_type": type(error).__name__,
        "summary": summarize(error),
        "frames": frames,
    }
    if isinstance(error, BaseExceptionGroup):
        stack["exceptions"] = [
            [_stack(each) for each in _chain(inner)] for inner in error.exceptions
        ]
    return stack


def _as_text(_: Any, __: str, event: EventDict) -> EventDict:
    if isinstance(stacks := event.get("exception"), list):
        # As Python prints it: the cause comes first.
        event["exception"] = "\n\n".join(map(_text, reversed(stacks)))
    return event


def _text(stack: _Stack) -> str:
    lines = ["Traceback (most recent call last):"]
    lines += [
        f'  File "{frame["filename"]}", line {frame["lineno"]}, in {frame["name"]}'
        for frame in stack["frames"]
    ]
    lines.append(stack["summary"])
    for inner in stack.get("exceptions", ()):
        lines += [f"  | {line}" for each in inner for line in _text(each).splitlines()]
    return "\n".join(lines)


def _of_library(_: Any, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    if record.name.partition(".")[0] in _WITH_TEMPLATES and isinstance(record.msg, str):
        event["event"] = _template(record.msg)
    else:
        # A message may have been formatted before, with the values of a request.
        event["event"] = "a library has logged a message"
        event["place"] = f"{record.module}:{record.lineno}, in {record.funcName}"
    return event


def _template(message: str) -> str:
    # Further lines are a traceback of uvicorn, or the reprs of asyncio. asyncio and uvloop add the
    # arguments of a call in the first line: "Exception in callback send('...')".
    first = message.strip().partition("\n")[0]
    start, callback, _ = first.partition(" callback ")
    return start + callback.rstrip()


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del message, file, line
    log.warning("a warning of Python", category=category.__name__, place=f"{filename}:{lineno}")


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), trace)
    else:
        log.error("an exception was not handled", exc_info=error)
