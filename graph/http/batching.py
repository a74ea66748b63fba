"""Batches: an array of requests in one POST, answered by an array in the same order.

GraphQL over HTTP knows no batches yet; this is what clients of Apollo and Yoga send. Each request
is answered as if it had come alone, has its own limits and counts for itself; its errors are in its
place. They run one after another: a request sees what those before it have written, and a batch
takes no more of the server at once than one request does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from graphql import OperationType
from starlette.types import Scope

from graph.api.context import Context
from graph.api.errors import server_error
from graph.auth.guard import Guard
from graph.execution.schema import Schema
from graph.limits.throttle import RateLimiter
from graph.protocol.errors import InvalidRequest, RequestError
from graph.protocol.json import dumps
from graph.protocol.request import Request

# Bytes that the answers of a batch can have before the next request is refused.
MAX_BATCH_ANSWER: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BatchExecutor:
    """Takes batches of at most so many requests; with 0, none."""

    most: int
    guard: Guard
    rate_limiter: RateLimiter
    schema: Schema

    def of(self, given: object) -> Sequence[object] | None:
        """Give the requests of a batch; None for what is none, or is not taken for one."""
        if not self.most or not isinstance(given, list):
            return None
        if not given:
            raise InvalidRequest("A batch must have at least one request.")
        if len(given) > self.most:
            message = f"A batch can have at most {self.most} requests."
            raise RequestError("BATCH_TOO_LONG", message, 413)
        return given

    async def answer(
        self,
        scope: Scope,
        context: Context,
        batch: Sequence[object],
        quota: Mapping[str, str],
    ) -> tuple[Sequence[bytes], Mapping[str, str]]:
        """Give the array of answers, and the headers that tell what is left for the caller.

        The first request has been counted by now, and `quota` is what was left then.
        """
        parts = [b"[", *await self._answer(scope, context, batch[0])]
        for given in batch[1:]:
            parts.append(b",")
            try:
                if sum(map(len, parts)) > MAX_BATCH_ANSWER:
                    raise _too_large()
                quota = self.rate_limiter.acquire(context.throttled_as)
            except RequestError as refused:
                quota = refused.headers or quota
                parts.append(_rejection(refused))
            else:
                parts += await self._answer(scope, context, given)
        return [*parts, b"]"], quota

    async def _answer(self, scope: Scope, known: Context, given: object) -> Sequence[bytes]:
        try:
            return await self._execute(scope, known, given)
        except Exception as error:  # noqa: BLE001 - the other requests have answers of their own
            return [_rejection(server_error(error, known.request_id))]

    async def _execute(self, scope: Scope, known: Context, given: object) -> Sequence[bytes]:
        request = Request.of(given)
        context = await self.guard.reauthenticate(scope, known)
        operation = await self.schema.prepare(request, context)
        if operation.type is OperationType.SUBSCRIPTION:
            message = "A subscription cannot be in a batch."
            raise InvalidRequest(message, "SUBSCRIPTION_NOT_STREAMED")
        return await operation.run()


def _too_large() -> RequestError:
    message = f"The answers of this batch have more than {MAX_BATCH_ANSWER} bytes by now."
    return RequestError("TOO_EXPENSIVE", message)


def _rejection(refused: RequestError) -> bytes:
    return dumps({"errors": refused.errors})
