"""Batches: an array of requests in one POST, answered by an array in the same order.

GraphQL over HTTP knows no batches yet; this is what clients of Apollo and Yoga send. Each request
is answered as if it had come alone, has its own limits and counts for itself; its errors are in its
place. They run one after another: a request sees what those before it have written, and a batch
takes no more of the server at once than one request does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphql import OperationType
from starlette.types import Scope

from graph.context import Context
from graph.execution import Execution, dump
from graph.gate import Gate
from graph.requests import BadRequest, Refused, Request
from graph.throttle import Throttle


@dataclass(frozen=True, slots=True)
class Batches:
    """Takes batches of at most so many requests; with 0, none."""

    most: int
    gate: Gate
    throttle: Throttle
    execution: Execution

    def of(self, given: object) -> Sequence[object] | None:
        """Give the requests of a batch; None for what is none, or is not taken for one."""
        if not self.most or not isinstance(given, list):
            return None
        if not given:
            raise BadRequest("A batch has one request at least.")
        if len(given) > self.most:
            message = f"A batch can have at most {self.most} requests."
            raise Refused("BATCH_TOO_LONG", message, 413)
        return given

    async def answer(
        self,
        scope: Scope,
        context: Context,
        batch: Sequence[object],
        quota: Mapping[str, str],
    ) -> tuple[bytes, Mapping[str, str]]:
        """Give the array of answers, and the headers that tell what is left for the caller.

        The first request has been counted by now, and `quota` is what was left then.
        """
        answers = [await self._answer(scope, context, batch[0])]
        for given in batch[1:]:
            try:
                quota = self.throttle.admit(context.throttled_as)
            except Refused as refused:
                quota = refused.headers
                answers.append(_refusal(refused))
            else:
                answers.append(await self._answer(scope, context, given))
        return b"[" + b",".join(answers) + b"]", quota

    async def _answer(self, scope: Scope, known: Context, given: object) -> bytes:
        try:
            request = Request.of(given)
            context = await self.gate.still(scope, known)
            operation = await self.execution.prepare(request, context)
            if operation.type is OperationType.SUBSCRIPTION:
                message = "A subscription cannot be in a batch."
                raise BadRequest(message, "SUBSCRIPTION_NOT_STREAMED")
            return await self.execution.run(operation)
        except Refused as refused:
            return _refusal(refused)


def _refusal(refused: Refused) -> bytes:
    return dump({"errors": refused.errors})
