"""Sends a request over HTTP as raw bytes: no client library would send most of these."""

import asyncio
import time
from contextlib import suppress

import h11

from tests.fuzz.answers import SECONDS, body_problems
from tests.fuzz.cases import Outcome, Request

_QUIET = 0.15  # seconds of silence after which a stream counts as live
_COMPLETE = b"event: complete"


class _Answer:
    """Reads one answer; h11 gets a request so that it knows which answers are valid."""

    def __init__(self, request: Request, reader: asyncio.StreamReader) -> None:
        self.request = request
        self.reader = reader
        self.status = 0
        self.content_type = ""
        self.body = b""
        self.wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
        sent_request = h11.Request(method=request.method, target="/", headers=[("host", "x")])
        self.wire.send(sent_request)
        self.wire.send(h11.EndOfMessage())

    async def read(self) -> None:
        while not self._is_complete():
            event = self.wire.next_event()
            if event is h11.NEED_DATA:
                if not await self._read_more():
                    return
            elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                self.status = 101
                return
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                self.content_type = dict(event.headers).get(b"content-type", b"").decode()
            elif isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or event is h11.PAUSED:
                return

    async def _read_more(self) -> bool:
        live = self.request.live and self.streams and self.body
        try:
            async with asyncio.timeout(_QUIET if live else None):
                self.wire.receive_data(await self.reader.read(65536))
        except TimeoutError:
            if live:
                return False
            raise
        return True

    @property
    def streams(self) -> bool:
        return self.content_type.startswith("text/event-stream")

    def _is_complete(self) -> bool:
        return self.streams and (
            _COMPLETE in self.body or (self.request.live and len(self.body) > 2**20)
        )

    def problems(self) -> list[str]:
        if not self.status:
            return [] if self.request.cut else ["no answer: the connection was closed"]
        found = []
        if self.status >= 500:
            found.append(f"status {self.status}")
        if self.streams and not self.request.live and _COMPLETE not in self.body:
            found.append("the stream has no end")
        if self.request.method != b"HEAD" and self.status != 101:
            found += body_problems(self.content_type, self.body)
        return found


async def exchange(port: int, request: Request) -> Outcome:
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = _Answer(request, reader)
    problems = []
    try:
        async with asyncio.timeout(SECONDS):
            writer.write(request.head() + request.body)
            if request.cut:
                writer.write_eof()
            with suppress(ConnectionError):  # it may have answered already
                await writer.drain()
            await answer.read()
    except TimeoutError:
        problems.append(f"no answer within {SECONDS:.0f} s")
    except h11.RemoteProtocolError as error:
        if answer.status or not request.cut:
            problems.append(f"not HTTP: {error}")
    except ConnectionError as error:
        if not answer.status and not request.cut:
            problems.append(f"no answer: {type(error).__name__}")
    finally:
        seconds = time.perf_counter() - began
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    if not problems:
        problems = answer.problems()
    return Outcome(request, str(answer.status or "closed"), seconds, problems)
