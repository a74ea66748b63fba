"""Operations without HTTP, for a shell, a script or a test.

For example:

    settings = load()
    schema = build_schema(settings)
    async with operation_context(settings) as context:
        await schema.execute("{ users { totalCount } }", context_value=context)
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from feed.feed import Feed
from graph.api.context import Context
from graph.auth.guard import DEVELOPER
from graph.settings import Settings
from users.policy import Caller


@asynccontextmanager
async def operation_context(
    settings: Settings, caller: Caller = DEVELOPER
) -> AsyncIterator[Context]:
    """Open the database for one operation. The default caller has all permissions."""
    database = settings.database()
    feed = Feed(database)
    try:
        yield Context(
            database.session(),
            feed,
            caller,
            uuid4().hex,
            username_emails=settings.username_emails,
        )
    finally:
        await feed.close()
        await database.close()
