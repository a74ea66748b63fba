"""The ledger in a table of a second PostgreSQL database."""

import asyncio
import socket
from uuid import uuid4

import pytest

from db.engine import Database
from db.erasure_ledger.entries import Entry, LedgerError, State
from db.erasure_ledger.opening import open_ledger
from db.erasure_ledger.table import TableLedger
from tests.conftest import run_in
from tests.support.ledgers import AT, entry, row

in_database = pytest.mark.parametrize("erasure_ledger", ["postgresql-ledger"], indirect=True)
ERASED = State.ERASED


@in_database
async def test_entries_are_read_as_they_were_appended(erasure_ledger: str) -> None:
    known = row(2**40, uuid4())
    ledger = open_ledger(erasure_ledger)
    assert list((await ledger.read()).erased) == []
    await ledger.append([Entry(ERASED, uuid4().hex, known, AT), entry(ERASED, 2)])
    await ledger.append([])
    await ledger.append([entry(State.BEGUN, 3)])
    found = await ledger.read()
    assert list(found.erased) == [known, row(2)]
    assert [begun.row for begun in found.incomplete()] == [row(3)]
    await ledger.close()


@in_database
async def test_first_entries_of_several_servers_create_one_table(erasure_ledger: str) -> None:
    ledgers = [open_ledger(erasure_ledger) for _ in range(8)]
    await asyncio.gather(*(one.append([entry(ERASED, n)]) for n, one in enumerate(ledgers)))
    assert sorted(r.user_id for r in (await ledgers[0].read()).erased) == list(range(8))
    for ledger in ledgers:
        await ledger.close()


@in_database
async def test_role_that_may_only_append_can_use_the_table(erasure_ledger: str) -> None:
    owner = open_ledger(erasure_ledger)
    await owner.append([entry(ERASED, 1)])
    await owner.close()
    role = f"appender_{uuid4().hex}"
    await run_in(
        erasure_ledger,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT, INSERT ON roster_erasures TO {role}",
    )
    ledger = open_ledger(erasure_ledger.replace("postgres@", f"{role}@"))
    await ledger.append([entry(ERASED, 2)])
    assert [r.user_id for r in (await ledger.read()).erased] == [1, 2]
    await ledger.close()
    await run_in(erasure_ledger, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@in_database
async def test_cut_connection_is_replaced(erasure_ledger: str) -> None:
    ledger = open_ledger(erasure_ledger)
    await ledger.append([entry(ERASED, 1)])
    await run_in(
        erasure_ledger,
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    await ledger.append([entry(ERASED, 2)])
    assert [r.user_id for r in (await ledger.read()).erased] == [1, 2]
    await ledger.close()


async def test_unreachable_server_is_reported_without_credentials() -> None:
    ledger = open_ledger("postgresql://roster:secret@127.0.0.1:1/ledger")
    for use in (ledger.append([entry(ERASED, 1)]), ledger.read()):
        with pytest.raises(LedgerError) as raised:
            await use
        text = str(raised.value)
        assert text.startswith("cannot use the ledger in PostgreSQL ledger on 127.0.0.1: ")
        assert "secret" not in text
    await ledger.close()


async def test_silent_server_is_reported_within_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts connections
        port = silent.getsockname()[1]
        database = Database(f"postgresql://roster@127.0.0.1:{port}/ledger")
        ledger = TableLedger(database, "the ledger", 0.2)
        with pytest.raises(LedgerError, match=r"^the ledger does not answer$"):
            await ledger.append([entry(ERASED, 1)])
        await ledger.close()
