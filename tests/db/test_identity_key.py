"""The keys of the digests of external ids: one in the database, and an optional secret."""

import asyncio
import hmac

import pytest
from sqlalchemy import select, text

from db import identity_key, migrations
from db.engine import Database
from db.identity_key import IdentityKeyError
from db.models import FormerExternalId
from graph.auth.authenticator import Authenticator, SubjectsUnavailableError
from tests.conftest import opened
from tests.db.test_models import OTHER, add, user
from tests.graph.auth.test_authenticator import bearer, rejection_reason
from tests.support.signing import issuer
from users import former_ids
from users.clock import now

SECRET, WRONG = b"s3cret" * 6, b"other!" * 6
MISSING = "ROSTER_IDENTITY_SECRET must be set: the database is keyed with it"
DIFFERENT = "ROSTER_IDENTITY_SECRET is not the one that the database is keyed with"
NEW = "ROSTER_IDENTITY_SECRET is new to the database: run `roster migrate` with it"
MANY = 1_100  # records, more than a batch


async def record(database: Database, *external_ids: str) -> None:
    async with database.session() as session, session.transaction():
        await former_ids.record(session, [(1, each, now()) for each in external_ids])


async def digests(database: Database) -> list[str]:
    async with database.session() as session:
        columns = select(FormerExternalId.digest).order_by(FormerExternalId.id)
        return list(await session.scalars(columns))


async def fill(url: str) -> list[str]:
    async with opened(url) as database:
        await add(database, user(external_id="hr-1"))
        await record(database, *(f"old-{n}" for n in range(MANY)))
        return await digests(database)


async def test_digest_is_keyed_with_the_database_key_and_then_the_secret(database_url: str) -> None:
    async with opened(database_url) as database:
        async with database.session() as session:
            key = (await session.execute(text("SELECT key FROM identity_keys"))).scalar_one()
        await add(database, user())
        await record(database, "hr-é")
    inner = hmac.digest(bytes.fromhex(key), "hr-é".encode(), "sha256")
    async with opened(database_url, identity_secret=SECRET) as database:
        assert await digests(database) == [inner.hex()]
        await migrations.upgrade(database)
        assert await digests(database) == [hmac.digest(SECRET, inner, "sha256").hex()]


async def test_secret_added_later_rekeys_existing_digests(database_url: str) -> None:
    before = await fill(database_url)
    async with opened(database_url, identity_secret=SECRET) as database:
        with pytest.raises(IdentityKeyError, match=NEW):
            await identity_key.check(database)
        await migrations.upgrade(database)
        await identity_key.check(database)
        after = await digests(database)
        assert len(after) == MANY
        assert set(before).isdisjoint(after)
        await migrations.upgrade(database)  # does not key digests twice
        assert await digests(database) == after
        await record(database, "new")
        authenticator = Authenticator(database, [issuer()])
        for subject in ("old-0", f"old-{MANY - 1}", "new"):
            assert (
                await rejection_reason(authenticator, bearer(sub=subject))
                == "the subject was a user"
            )
        await authenticator.close()


@pytest.mark.parametrize(("secret", "message"), [(None, MISSING), (WRONG, DIFFERENT)])
async def test_missing_or_wrong_secret_is_rejected(
    database_url: str, secret: bytes | None, message: str
) -> None:
    await fill(database_url)
    async with opened(database_url, identity_secret=SECRET) as database:
        await migrations.upgrade(database)
        before = await digests(database)
    async with opened(database_url, identity_secret=secret) as database:
        for use in (
            identity_key.check(database),
            migrations.upgrade(database),
            record(database, "x"),
        ):
            with pytest.raises(IdentityKeyError, match=message):
                await use
        assert await digests(database) == before


async def test_concurrent_migrations_key_each_digest_once(database_url: str) -> None:
    before = await fill(database_url)

    async def upgrade() -> None:
        async with opened(database_url, identity_secret=SECRET) as database:
            await identity_key.apply_secret(database)

    await asyncio.gather(*(upgrade() for _ in range(4)))
    async with opened(database_url) as database:
        keyed = [hmac.digest(SECRET, bytes.fromhex(each), "sha256").hex() for each in before]
        assert await digests(database) == keyed


async def test_server_without_the_secret_authenticates_users_but_not_services(
    database_url: str,
) -> None:
    """It still runs after `roster migrate` added the secret, but cannot look up former ids."""
    await fill(database_url)
    async with opened(database_url) as database:
        authenticator = Authenticator(database, [issuer()])
        assert (
            await rejection_reason(authenticator, bearer(sub="old-1")) == "the subject was a user"
        )
        service = await authenticator.authenticate(bearer(sub="sync"))
        async with opened(database_url, identity_secret=SECRET) as other:
            await migrations.upgrade(other)
        for subject in ("old-1", "sync"):
            with pytest.raises(SubjectsUnavailableError):
                await authenticator.authenticate(bearer(sub=subject, jti="new"))
        caller = await authenticator.authenticate(bearer(jti="new"))
        assert caller is not None
        assert caller.user_id == 1
        assert service is not None
        await authenticator.close()


async def test_server_uses_the_new_key_after_the_database_key_changed(database_url: str) -> None:
    """For example after a restore, or a failover to a database of another origin."""
    key = "UPDATE identity_keys SET key = '" + "ab" * 32 + "'"
    async with opened(database_url) as database:
        await add(database, user(), user(external_id="hr-2", **OTHER))
        authenticator = Authenticator(database, [issuer()])
        assert await authenticator.authenticate(bearer()) is not None
        async with database.engine.begin() as connection:
            await connection.execute(text(key))
        await record(database, "hr-1")
        assert await rejection_reason(authenticator, bearer(jti="new")) == "the subject was a user"
        await authenticator.close()


async def test_record_waits_for_rekeying_and_fails_without_the_secret(
    database_url: str, dialect: str
) -> None:
    """Its process has no secret, so its digest would never match."""
    if dialect == "sqlite":
        return  # SQLite has one writer at a time
    await fill(database_url)
    async with opened(database_url) as old, opened(database_url, identity_secret=SECRET) as new:
        async with new.session() as session, session.transaction():
            locked = text("UPDATE identity_keys SET secret_verifier = 'being keyed'")
            await session.execute(locked)
            writing = asyncio.create_task(record(old, "late"))
            await asyncio.wait({writing}, timeout=0.3)
            assert not writing.done()
        with pytest.raises(IdentityKeyError, match=MISSING):
            await writing
        assert len(await digests(new)) == MANY
