"""The command `roster events`: the change feed as lines, for log shippers and SIEMs."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Final

import typer
from graphql import GraphQLError

from db.engine import Database
from feed.anchors import Anchor, InvalidAnchor
from feed.feed import Feed
from feed.reader import ALL_EVENTS, Event
from feed.replay import until_now, watermark
from graph.cli.database import CliError, begin, prepare, require_file, run, wait_and_prepare
from graph.cli.event_output import CursorFile, EventOutput, ReaderGone, Stopped
from graph.cli.exchange import cancelled_by
from graph.exchange.event_format import EventFormat
from graph.settings import Settings

INVALID_CURSOR: Final = 3  # exit code
_NOW: Final = "now"
# The characters of RFC 3986, which CloudEvents require of a source.
_URI_REFERENCE: Final = re.compile(r"(?:[\w.~!$&'()*+,;=:@/?#\[\]-]|%[0-9A-Fa-f]{2})+", re.ASCII)


def events(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for new events, until a signal ends it.")
    ] = False,
    after: Annotated[
        str | None,
        typer.Option(
            help="Begin after the event with this cursor, or `now`. By default at the first event. "
            "Ignored once the cursor file exists."
        ),
    ] = None,
    cursor_file: Annotated[
        Path | None,
        typer.Option(help="Where to store the last cursor, and where to continue from."),
    ] = None,
    format: Annotated[EventFormat, typer.Option(help="The format of a line.")] = EventFormat.NDJSON,
    personal_data: Annotated[
        bool,
        typer.Option(
            "--personal-data",
            help="Include old and new values of fields, reasons, and names of authors.",
        ),
    ] = False,
    source: Annotated[
        str, typer.Option(help="The `source` of CloudEvents: a URI of this directory.")
    ] = "/roster",
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a line instead.")
    ] = False,
) -> None:
    """Write changes of users as lines of JSON, in order and without a gap.

    The cursor is stored after its event was written. After a crash, the last events are written
    again, with the same ids.
    """
    # The types of the schema take a third of the start of every other command.
    from graph.exchange.events import encoder, json_schema  # noqa: PLC0415

    if schema:
        print(json.dumps(json_schema(format), indent=2))  # noqa: T201 - the output is written to a file
        return
    if not _URI_REFERENCE.fullmatch(source):
        raise CliError("`--source` must be a URI reference, such as https://roster.example.com")
    settings = begin()
    require_file(settings)
    encode = encoder(format, personal_data=personal_data, source=source)
    cursors = CursorFile(cursor_file) if cursor_file else None
    with cursors.locked() if cursors else nullcontext():
        _write(settings, EventOutput(encode, cursors), cursors, after, follow=follow)


def _write(
    settings: Settings,
    output: EventOutput,
    cursors: CursorFile | None,
    after: str | None,
    *,
    follow: bool,
) -> None:
    from graph.api.types.user_event import encode_anchor, encode_cursor  # noqa: PLC0415 - as above

    start = _start(cursors, after)

    async def job(database: Database) -> None:
        with (
            cancelled_by(signal.SIGTERM, signal.SIGINT, before=output.stop),
            output.watched(),
            suppress(ReaderGone, Stopped, asyncio.CancelledError),
        ):
            await _prepare(settings, database, follow=follow)
            position = await watermark(database) if start == _NOW else start
            if start == _NOW and cursors and isinstance(position, Anchor):
                cursors.write(encode_anchor(position))
            assert not isinstance(position, str)
            async with aclosing(_events(database, position, follow=follow)) as batches:
                async for batch in batches:
                    output.write(batch, encode_cursor(batch[-1]))

    try:
        run(settings, job)
    except InvalidAnchor:
        reason = "its event does not exist in this database, or not any longer"
        raise _invalid(cursors if cursors and cursors.read() else None, reason) from None


def _start(cursors: CursorFile | None, after: str | None) -> Anchor | int | str:
    """Return the position to begin after: an event, 0 for the first one, or `now`."""
    from graph.api.types.user_event import decode_cursor  # noqa: PLC0415 - as above

    stored = cursors.read() if cursors else None
    # An empty file is not a new one: beginning at `--after` could leave events out.
    text = after if stored is None else stored
    if text is None:
        return 0
    if text == _NOW and stored is None:
        return _NOW
    try:
        return decode_cursor(text)
    except GraphQLError:
        raise _invalid(
            cursors if stored is not None else None, "it is not a cursor of an event"
        ) from None


def _invalid(cursors: CursorFile | None, reason: str) -> CliError:
    name = f"the cursor in {cursors.path}" if cursors else "the cursor of `--after`"
    remedy = "Remove the file" if cursors else "Omit it"
    message = f"{name} cannot be used: {reason}. {remedy} to begin again at the first event"
    return CliError(message, INVALID_CURSOR)


async def _prepare(settings: Settings, database: Database, *, follow: bool) -> None:
    if follow:
        await wait_and_prepare(settings, nullcontext, database)
    else:
        await prepare(database)


async def _events(
    database: Database, after: Anchor | int, *, follow: bool
) -> AsyncGenerator[Sequence[Event], None]:
    if not follow:
        async with aclosing(until_now(database, after)) as batches:
            async for batch in batches:
                yield batch
        return
    feed = Feed(database)
    try:
        async with aclosing(feed.follow(after, ALL_EVENTS)) as batches:
            async for batch in batches:
                yield batch
    finally:
        await feed.close()
