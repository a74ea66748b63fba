"""Test cases: an HTTP request or a WebSocket conversation, and its outcome."""

from dataclasses import dataclass, field

Headers = tuple[tuple[bytes, bytes], ...]
JSON_BODY: Headers = ((b"content-type", b"application/json"),)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as bytes; if `cut`, its body is incomplete and needs no answer."""

    kind: str
    method: bytes = b"POST"
    target: bytes = b"/graphql"
    headers: Headers = JSON_BODY
    body: bytes = b""
    cut: bool = False
    live: bool = False  # a subscription's stream has no end

    def head(self) -> bytes:
        lines = [self.method + b" " + self.target + b" HTTP/1.1", b"host: 127.0.0.1"]
        names = {name.lower() for name, _ in self.headers}
        if self.body and not names & {b"content-length", b"transfer-encoding"}:
            lines.append(b"content-length: %d" % len(self.body))
        lines += [name + b": " + value for name, value in self.headers]
        return b"\r\n".join([*lines, b"connection: close", b"", b""])


@dataclass(frozen=True, slots=True)
class Frame:
    """A message with a fragment for each part; `raw` parts are sent without framing."""

    parts: tuple[bytes, ...]
    text: bool = True
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages over a WebSocket; `awaited` is the id of an operation that must be answered."""

    kind: str
    frames: tuple[Frame, ...]
    init: bool = True
    awaited: str | None = None


Case = Request | Conversation


@dataclass(slots=True)
class Outcome:
    case: Case
    end: str  # a status code, or the code of a close
    seconds: float
    problems: list[str] = field(default_factory=list)
