import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from db import models
from db.engine import Database
from users import api_keys
from users.api_keys import ApiKey, InvalidApiKey
from users.policy import Scope

AT = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
BOTH = frozenset({Scope.READ, Scope.WRITE})


async def create(
    database: Database, name: str = "nightly import", expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    async with database.session() as session, session.transaction():
        return await api_keys.create(session, name, BOTH, now=AT, expires_at=expires_at)


async def find(database: Database, text: str) -> ApiKey | None:
    async with database.session() as session:
        return await api_keys.find(session, text)


async def every(database: Database) -> list[ApiKey]:
    async with database.session() as session:
        return list(await api_keys.list_all(session))


async def test_a_key_is_found_by_its_text_and_by_nothing_near_it(database: Database) -> None:
    key, text = await create(database, expires_at=AT + timedelta(days=1))
    assert key == ApiKey(key.id, "nightly import", BOTH, AT, AT + timedelta(days=1))
    assert await find(database, text) == key
    swapped = text[:-1] + ("A" if text[-1] != "A" else "E")
    for other in (text + "A", text[:-1], text.upper(), swapped, "roster_", "", "\ud800", "\0"):
        assert await find(database, other) is None


async def test_the_database_has_the_digest_and_not_the_secret(database: Database) -> None:
    _, text = await create(database)
    assert text.startswith("roster_")
    assert len(text) == len("roster_") + 43  # 32 bytes in base64
    async with database.engine.connect() as connection:
        row = (await connection.execute(select(models.ApiKey))).one()
    assert row.digest == hashlib.sha256(text.encode()).hexdigest()
    assert text.removeprefix("roster_") not in str(row)


async def test_no_two_keys_are_alike(database: Database) -> None:
    made = [await create(database, "same") for _ in range(5)]
    assert len({text for _, text in made}) == 5
    assert await every(database) == [key for key, _ in made]


async def test_a_revoked_key_opens_nothing_and_stays_revoked(database: Database) -> None:
    key, text = await create(database)
    other, _ = await create(database, "other")
    assert key.is_valid(AT)
    revoked = None
    for later in (1, 2):
        async with database.session() as session, session.transaction():
            revoked = await api_keys.revoke(session, key.id, AT + timedelta(hours=later))
        assert revoked is not None
        assert revoked.revoked_at == AT + timedelta(hours=1)
    assert revoked is not None
    assert revoked == await find(database, text)
    assert not revoked.is_valid(AT)
    assert await every(database) == [revoked, other]


async def test_there_is_no_such_key_to_revoke(database: Database) -> None:
    key, _ = await create(database)
    async with database.session() as session, session.transaction():
        assert await api_keys.revoke(session, key.id + 1, AT) is None
    assert await every(database) == [key]


async def test_a_key_opens_until_it_expires(database: Database) -> None:
    key, _ = await create(database, expires_at=AT + timedelta(days=1))
    assert key.is_valid(AT + timedelta(days=1, microseconds=-1))
    assert not key.is_valid(AT + timedelta(days=1))


async def test_use_is_noted_at_most_once_an_hour(database: Database) -> None:
    key, text = await create(database)
    found = None
    for minutes, noted in ((0, 0), (59, 0), (60, 0), (61, 61), (120, 61), (122, 122)):
        async with database.session() as session, session.transaction():
            await api_keys.record_use(session, key.id, AT + timedelta(minutes=minutes))
        found = await find(database, text)
        assert found is not None
        assert found.last_used_at == AT + timedelta(minutes=noted)
    assert found is not None
    assert found.is_use_recorded(AT + timedelta(minutes=182))
    assert not found.is_use_recorded(AT + timedelta(minutes=183))
    assert not key.is_use_recorded(AT)


@pytest.mark.parametrize("name", ["", " ", "a" * 101, "a\nb", "a\0b", "a\u202eb", "\ud800"])
async def test_a_name_is_a_line(database: Database, name: str) -> None:
    with pytest.raises(InvalidApiKey, match="a line of 1 to 100 characters"):
        await create(database, name)
    assert await every(database) == []


async def test_a_key_for_nothing_and_one_of_the_past_are_refused(database: Database) -> None:
    with pytest.raises(InvalidApiKey, match="cannot expire before"):
        await create(database, expires_at=AT)
    async with database.session() as session, session.transaction():
        with pytest.raises(InvalidApiKey, match="at least one scope"):
            await api_keys.create(session, "x", [], now=AT)
    assert await every(database) == []


async def test_a_scope_that_there_is_no_more_is_left_out(database: Database) -> None:
    _, text = await create(database)
    async with database.engine.begin() as connection:
        update = models.ApiKey.__table__.update()  # type: ignore[attr-defined]  # a Table, as declared
        await connection.execute(update.values(scopes=["users:read", "users:fly"]))
    found = await find(database, text)
    assert found is not None
    assert found.scopes == {Scope.READ}
