"""Opens and checks the storage of `ROSTER_RATE_LIMIT_STORAGE`."""

import asyncio
from contextlib import suppress

from db import identity_key
from db.engine import Database
from graph.limits.shared import PROBES, Digest, SharedLimits, Timing
from graph.limits.storage_url import parse_storage_url

_DIGITS = 32  # 128 bits, so that no two callers share a digest
_CHECK_SECONDS = 3.0


def open_shared_limits(url: str, timing: Timing) -> SharedLimits:
    # redis-py takes 0.1 seconds and 4 MB, which a server without a storage does not need.
    from graph.limits.limits_adapter import RedisWindows  # noqa: PLC0415

    return SharedLimits(RedisWindows(parse_storage_url(url)), timing)


async def load_digest(database: Database) -> Digest:
    """Return the function that replaces callers and addresses in keys.

    It uses the key of the database: an address cannot be guessed from its digest without it, and
    directories that share a storage do not share counts.
    """
    async with database.session() as session:
        key = await identity_key.load(session)
    # No external id begins with NUL, so the digest is never that of one.
    return lambda text: key.digest(f"\0rate limit {text}")[:_DIGITS]


class StorageUnusableError(Exception):
    """The message is the reason, without credentials."""


async def check_storage(url: str) -> str:
    """Count two hits, and return the address of the storage. Raises StorageUnusableError."""
    from graph.limits.limits_adapter import ERRORS, RedisWindows, reason_of  # noqa: PLC0415 - as above

    address = parse_storage_url(url)
    windows = RedisWindows(address)
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await windows.hit(PROBES)
    except TimeoutError:
        reason = f"no answer within {_CHECK_SECONDS:g} seconds"
        raise StorageUnusableError(f"{address.name}: {reason}") from None
    except ERRORS as error:
        raise StorageUnusableError(f"{address.name}: {reason_of(error)}") from None
    finally:
        with suppress(*ERRORS):
            await windows.disconnect()
    return address.name
