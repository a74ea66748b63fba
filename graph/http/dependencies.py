"""FastAPI dependencies for additional routes."""

from collections.abc import AsyncIterator

from starlette.requests import HTTPConnection

from db.session import Session


async def get_session(connection: HTTPConnection) -> AsyncIterator[Session]:
    """Open a session for one request: `session: Annotated[Session, Depends(get_session)]`."""
    async with connection.app.state.database.session() as session:
        yield session
