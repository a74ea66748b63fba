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


async def all_keys(database: Database) -> list[ApiKey]:
    async with database.session() as session:
        return list(await api_keys.list_all(session))


async def test_key_is_found_only_by_its_exact_text(database: Database) -> None:
    key, text = await create(database, expires_at=AT + timedelta(days=1))
    assert key == ApiKey(key.id, "nightly import", BOTH, AT, AT + timedelta(days=1))
    assert await find(database, text) == key
    swapped = text[:-1] + ("A" if text[-1] != "A" else "E")
    for other in (text + "A", text[:-1], text.upper(), swapped, "roster_", "", "\ud800", "\0"):
        assert await find(database, other) is None


async def test_database_stores_the_digest_instead_of_the_secret(database: Database) -> None:
    _, text = await create(database)
    assert text.startswith("roster_")
    assert len(text) == len("roster_") + 43  # 32 bytes in base64
    async with database.engine.connect() as connection:
        row = (await connection.execute(select(models.ApiKey))).one()
    assert row.digest == hashlib.sha256(text.encode()).hexdigest()
    assert text.removeprefix("roster_") not in str(row)


async def test_keys_with_the_same_name_have_different_secrets(database: Database) -> None:
    created = [await create(database, "same") for _ in range(5)]
    assert len({text for _, text in created}) == 5
    assert await all_keys(database) == [key for key, _ in created]


async def test_revoked_key_is_invalid_and_keeps_its_revocation_time(database: Database) -> None:
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
    assert await all_keys(database) == [revoked, other]


async def test_revoking_an_unknown_key_returns_none(database: Database) -> None:
    key, _ = await create(database)
    async with database.session() as session, session.transaction():
        assert await api_keys.revoke(session, key.id + 1, AT) is None
    assert await all_keys(database) == [key]


async def test_key_is_valid_until_it_expires(database: Database) -> None:
    key, _ = await create(database, expires_at=AT + timedelta(days=1))
    assert key.is_valid(AT + timedelta(days=1, microseconds=-1))
    assert not key.is_valid(AT + timedelta(days=1))


async def test_use_is_recorded_at_most_once_an_hour(database: Database) -> None:
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
async def test_invalid_name_is_rejected(database: Database, name: str) -> None:
    with pytest.raises(InvalidApiKey, match="a line of 1 to 100 characters"):
        await create(database, name)
    assert await all_keys(database) == []


async def test_key_without_scopes_or_with_past_expiry_is_rejected(database: Database) -> None:
    with pytest.raises(InvalidApiKey, match="cannot expire before"):
        await create(database, expires_at=AT)
    async with database.session() as session, session.transaction():
        with pytest.raises(InvalidApiKey, match="at least one scope"):
            await api_keys.create(session, "x", [], now=AT)
    assert await all_keys(database) == []


async def test_unknown_scope_in_the_database_is_ignored(database: Database) -> None:
    _, text = await create(database)
    async with database.engine.begin() as connection:
        update = models.ApiKey.__table__.update()  # type: ignore[attr-defined]  # a Table, as declared
        await connection.execute(update.values(scopes=["users:read", "users:fly"]))
    found = await find(database, text)
    assert found is not None
    assert found.scopes == {Scope.READ}
