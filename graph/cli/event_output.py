"""The output of `roster events`: lines on standard output, and the file of the last cursor.

Exception
├── Stopped        a signal ended the command while it waited for its reader
└── ReaderGone     the reader of the output has closed it
"""

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from db.files import replace_file
from feed.reader import Event
from graph.cli.database import CliError
from graph.cli.exchange import lock, standard_output


class Stopped(Exception):
    pass


class ReaderGone(Exception):
    pass


class CursorFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Raise CliError if another process uses the file, or its folder cannot be written."""
        if self.path.is_dir():
            raise _cannot("read", self.path, IsADirectoryError(errno.EISDIR, ""))
        # Not the file itself: it is replaced.
        path = self.path.with_name(f"{self.path.name}.lock")
        try:
            opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _cannot("write", path, error) from None
        try:
            lock(opened, f"another process writes events and uses {self.path}")
            yield
        finally:
            os.close(opened)

    def read(self) -> str | None:
        """Return the stored cursor; None if there is none yet."""
        try:
            return self.path.read_text("ascii", errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _cannot("read", self.path, error) from None

    def write(self, cursor: str) -> None:
        try:
            replace_file(self.path, f"{cursor}\n".encode())
        except OSError as error:
            raise _cannot("write", self.path, error) from None


class EventOutput:
    """Writes events, and then the cursor of the last one: after a crash, events can repeat."""

    def __init__(self, encode: Callable[[Event], bytes], cursors: CursorFile | None) -> None:
        self._is_writing = self._is_stopped = False
        self._encode = encode
        self._cursors = cursors
        self._descriptor = standard_output().fileno()
        mode = os.fstat(self._descriptor).st_mode
        self._is_file, self._is_pipe = stat.S_ISREG(mode), stat.S_ISFIFO(mode)
        if self._is_file:
            self._end_torn_line()

    def stop(self) -> None:
        """End `write` with Stopped, for a signal handler. Raises it during a system call."""
        # Not while an event is encoded: pydantic converts exceptions.
        self._is_stopped = True
        if self._is_writing:
            raise Stopped

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Cancel the current task when the reader of a pipe closes it, also between events."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task
        if not self._is_pipe:
            yield
            return

        def end() -> None:
            loop.remove_reader(self._descriptor)  # it stays ready, and once is enough
            task.cancel()

        # The writing end of a pipe has nothing to read, but it becomes ready when its reader closes
        # it: asyncio's own transport of such a pipe relies on this, too.
        loop.add_reader(self._descriptor, end)
        try:
            yield
        finally:
            loop.remove_reader(self._descriptor)

    def write(self, events: Sequence[Event], cursor: str) -> None:
        """Raise ReaderGone, or Stopped."""
        try:
            for event in events:
                self._write(self._encode(event))
            if self._is_file and self._cursors:
                os.fsync(self._descriptor)
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            raise CliError(f"cannot write events: {os.strerror(error.errno or 0)}") from None
        if self._cursors:
            self._cursors.write(cursor)

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        self._is_writing = True
        try:
            if self._is_stopped:
                raise Stopped
            while left:
                left = left[os.write(self._descriptor, left) :]
        finally:
            self._is_writing = False

    def _end_torn_line(self) -> None:
        # A process that was killed can have left the beginning of a line, which is written again.
        size = os.fstat(self._descriptor).st_size
        with suppress(OSError), open(f"/dev/fd/{self._descriptor}", "rb") as file:  # noqa: PTH123 - of a descriptor
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                os.write(self._descriptor, b"\n")


def _cannot(verb: str, path: Path, error: OSError) -> CliError:
    return CliError(f"cannot {verb} {path}: {os.strerror(error.errno or 0)}")
