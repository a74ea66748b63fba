"""Batches: an array of requests in one POST. The response is an array in the same order.

GraphQL over HTTP does not specify batches yet. The format is that of Apollo and Yoga. Each request
of a batch has its own limits, counts against the rate limit, and has its own errors.

The requests run one after another. So a request reads the writes of the requests before it, and a
batch uses no more of the server at the same time than a single request.
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
from graph.observation import ObservedOperation, Operations
from graph.protocol.errors import InvalidRequest, RequestError
from graph.protocol.json import dumps
from graph.protocol.request import Request

# Bytes. When the responses of a batch exceed this size, the remaining requests are rejected.
MAX_BATCH_ANSWER: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BatchExecutor:
    """Executes batches of up to `most` requests. 0 disables batches."""

    most: int
    guard: Guard
    rate_limiter: RateLimiter
    schema: Schema
    operations: Operations

    def of(self, given: object) -> Sequence[object] | None:
        """Return the requests of a batch; None if the body is no batch or batches are disabled.

        Raises RequestError if the batch is empty or too long.
        """
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
        """Return the array of responses, in parts, and the rate limit headers of the last request.

        `quota` contains the rate limit headers of the first request, which is already counted.
        """
        observed = context.observed
        if observed:
            observed.transport = "batch"
        parts = [b"[", *await self._answer(scope, context, batch[0], observed)]
        for given in batch[1:]:
            parts.append(b",")
            observed = self.operations.begin("batch")
            try:
                if sum(map(len, parts)) > MAX_BATCH_ANSWER:
                    raise _too_large()
                quota = await self.rate_limiter.acquire(context.throttled_as)
            except RequestError as refused:
                quota = refused.headers or quota
                self.operations.reject(observed, refused)
                parts.append(_rejection(refused))
            else:
                parts += await self._answer(scope, context, given, observed)
        return [*parts, b"]"], quota

    async def _answer(
        self, scope: Scope, known: Context, given: object, observed: ObservedOperation | None
    ) -> Sequence[bytes]:
        try:
            parts = await self._execute(scope, known, given, observed)
        except Exception as error:  # noqa: BLE001 - the other requests of the batch go on
            refused = server_error(error, known.request_id)
            self.operations.reject(observed, refused)
            return [_rejection(refused)]
        finally:
            if observed:
                observed.end()
        return parts

    async def _execute(
        self, scope: Scope, known: Context, given: object, observed: ObservedOperation | None
    ) -> Sequence[bytes]:
        request = Request.of(given)
        context = await self.guard.reauthenticate(scope, known)
        context.observed = observed
        context.asked_position = known.asked_position
        operation = await self.schema.prepare(request, context)
        if operation.type is OperationType.SUBSCRIPTION:
            message = "A subscription cannot be in a batch."
            raise InvalidRequest(message, "SUBSCRIPTION_NOT_STREAMED")
        parts = await operation.run()
        if context.position is not None:  # for the next request of the batch
            known.position = known.asked_position = context.position
        return parts


def _too_large() -> RequestError:
    message = f"The answers of this batch have more than {MAX_BATCH_ANSWER} bytes."
    return RequestError("TOO_EXPENSIVE", message)


def _rejection(refused: RequestError) -> bytes:
    return dumps({"errors": refused.errors})
