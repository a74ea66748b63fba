"""Checks of Roster's tables, on both databases."""

from db import migrations
from db.checks.check import Failure
from db.checks.inspected import Inspected
from db.identity_key import IdentityKey, IdentityKeyError

_MIGRATE = "run `roster migrate`"


async def revision(inspected: Inspected) -> str:
    if not await inspected.has_table("alembic_version"):
        raise Failure("the database is not set up yet", _MIGRATE)
    rows = await inspected.query("SELECT version_num FROM alembic_version")
    found, newest = (rows[0][0] if rows else None), migrations.newest()
    if found == newest:
        return f"{found}, the newest"
    if found is None or migrations.is_known(found):
        raise Failure(f"revision {found}, and this version needs {newest}", _MIGRATE)
    oldest = None
    if await inspected.has_table("schema_compatibility"):
        rows = await inspected.query("SELECT min_compatible_revision FROM schema_compatibility")
        oldest = rows[0][0] if rows else None
    if oldest is None or not migrations.is_known(oldest):
        raise Failure(
            f"revision {found} belongs to a newer version of Roster, and this one is incompatible",
            "install the newer version",
        )
    return f"{found}, of a newer version that this one is compatible with"


async def identity_key(inspected: Inspected) -> str:
    rows = await inspected.query("SELECT key, secret_verifier FROM identity_keys")
    if not rows:
        raise Failure("the table identity_keys is empty", "restore its row from a backup")
    key, verifier = rows[0]
    secret = inspected.expected.identity_secret
    try:
        IdentityKey.of(key, verifier, secret)
    except IdentityKeyError as error:
        raise Failure(str(error), "set ROSTER_IDENTITY_SECRET as on the servers") from None
    return "with the secret of this process" if secret else "without a secret"
