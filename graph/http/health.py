"""Health checks for load balancers and orchestrators."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from db.engine import Database
from db.errors import is_read_only, is_unreachable
from graph.shutdown import Shutdown

PATHS: Final = frozenset({"/health/started", "/health/live", "/health/ready"})

router: Final = APIRouter(prefix="/health")


# Asynchronous, because FastAPI calls other dependencies in a thread, and threads can be in use.
async def get_database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def get_shutdown(request: Request) -> Shutdown:
    shutdown: Shutdown = request.app.state.shutdown
    return shutdown


@router.api_route("/started", methods=["GET", "HEAD"])
@router.api_route("/live", methods=["GET", "HEAD"])
async def live() -> dict[str, str]:
    return {"status": "ok"}


@router.api_route("/ready", methods=["GET", "HEAD"])
async def ready(
    response: Response,
    database: Annotated[Database, Depends(get_database)],
    shutdown: Annotated[Shutdown, Depends(get_shutdown)],
) -> dict[str, Any]:
    """Return 200 if the database is reachable and writable, otherwise 503.

    Returns 503 from the beginning of a shutdown, too.
    """
    if shutdown.is_draining:
        response.status_code = 503
        return {"status": "stopping"}
    try:
        await database.ping()
    except Exception as error:
        if not is_unreachable(error):
            raise
        response.status_code = 503
        reason = "read-only" if is_read_only(error) else "unreachable"
        return {"status": "unavailable", "database": reason}
    return {"status": "ok", "database": "ok"}
