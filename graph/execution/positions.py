"""Positions of operations, with which clients read their own writes on replicas."""

from graphql import ExecutionResult

from db.replication.position import parse_position
from db.replication.session import RoutedSession
from graph.api.context import Context
from graph.protocol.request import POSITION, Request


def route_reads(request: Request, context: Context, session: RoutedSession) -> None:
    """Let a query read on a replica that shows what the client has asked for."""
    asked = [text for text in (context.asked_position, request.position) if text is not None]
    if asked:
        context.asked_position = ",".join(asked)
    session.route_reads(context.throttled_as, parse_position(",".join(asked)))


async def add_position(
    result: ExecutionResult, context: Context, session: RoutedSession, *, is_query: bool
) -> None:
    """Add the position to a response: to that of a query only if the client has sent one.

    It costs a query a round trip, shared with concurrent queries.
    """
    if is_query and context.asked_position is None:
        return
    position = await session.position()
    context.position = "" if position is None else str(position)
    result.extensions = {**(result.extensions or {}), POSITION: context.position}
