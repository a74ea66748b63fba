"""`roster check` compares the database with the ledger of erasures, and changes neither."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db.engine import Database
from db.erasure_ledger.entries import RowIdentity, State
from db.erasure_ledger.opening import open_ledger
from db.models import User
from tests.support.client import Client, count
from tests.support.ledgers import stored_entries
from tests.support.process import run
from users.erase_replay import replay
from users.erasures import entries

NAME = "erasure-ledger"


async def finding(database_url: str, ledger: str) -> dict[str, Any]:
    _, output = await run(
        "check", "--json", ROSTER_DATABASE_URL=database_url, ROSTER_ERASURE_LEDGER=ledger
    )
    [found] = [check for check in json.loads(output)["checks"] if check["name"] == NAME]
    del found["name"]
    return dict(found)


async def row_of(database: Database, user_id: int) -> RowIdentity:
    async with database.session() as session:
        return RowIdentity.of(await session.get_one(User, user_id))


async def test_ledger_that_is_ahead_or_behind_is_a_warning(
    client: Client, database_url: str, erasure_ledger: str
) -> None:
    await client.create("ada")
    row = await row_of(client.database, 1)
    ledger = open_ledger(erasure_ledger)
    assert await finding(database_url, erasure_ledger) == {
        "status": "ok",
        "detail": "0 users, all of them erased",
        "fix": None,
    }
    long_ago = datetime.now(UTC) - timedelta(days=1)
    await ledger.append(entries(State.BEGUN, [row], long_ago))
    assert await finding(database_url, erasure_ledger) == {
        "status": "warning",
        "detail": "1 erasures were interrupted, and may not have been done",
        "fix": "`roster erase-replay` names them",
    }
    await ledger.append(entries(State.ERASED, [row], long_ago))
    before = await count(client.database), await stored_entries(erasure_ledger)
    assert await finding(database_url, erasure_ledger) == {
        "status": "warning",
        "detail": "1 users who were erased are in the database, as after a restore",
        "fix": "`roster erase-replay` erases them again",
    }
    assert (await count(client.database), await stored_entries(erasure_ledger)) == before
    await replay(client.database, ledger)
    assert (await finding(database_url, erasure_ledger))["detail"] == "1 users, all of them erased"
    await ledger.close()


async def test_erasure_that_the_ledger_lacks_is_a_warning(
    client: Client, database_url: str, tmp_path: Path
) -> None:
    await client.create("ada")
    ledger = open_ledger(str(tmp_path / "full"))
    await ledger.append(
        entries(State.ERASED, [await row_of(client.database, 1)], datetime.now(UTC))
    )
    await replay(client.database, ledger)
    assert await finding(database_url, str(tmp_path / "empty")) == {
        "status": "warning",
        "detail": "1 erased users are not in the ledger",
        "fix": "`roster erase-replay`, or a start of `roster serve`, adds them",
    }


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_ledger_that_cannot_be_used_is_a_failure(
    database_url: str, tmp_path: Path, erasure_ledger: str
) -> None:
    other = tmp_path / "other"
    other.write_text("not a ledger")
    unreachable = "postgresql://roster:secret@127.0.0.1:1/ledger"
    is_file = "://" not in erasure_ledger
    found = await finding(database_url, str(other) if is_file else unreachable)
    assert found["status"] == "failed"
    assert found["fix"] == "users cannot be erased until the ledger can be used"
    expected = f"{other} is not a ledger of erasures" if is_file else "cannot use the ledger in"
    assert found["detail"].startswith(expected)
    assert "secret" not in found["detail"]
