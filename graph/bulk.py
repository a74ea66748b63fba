"""`bulkUsers`: many operations in one transaction, answered one by one."""

from collections.abc import Sequence

from graph.context import GraphInfo
from graph.inputs.bulk import BulkUsersInput, UserOperation
from graph.transaction import carry_out, key_of_request
from graph.types.enums import BulkMode
from graph.types.payloads import BulkResult, BulkUsersPayload
from graph.types.user import User
from graph.types.user_error import user_errors
from users.errors import ErrorCode, GeneralProblem, Problem
from users.operations import Refused, Result

_ABORTED = GeneralProblem(
    code=ErrorCode.BATCH_ABORTED,
    message="Not done, because the batch was refused.",
)


async def bulk_users(info: GraphInfo, given: BulkUsersInput) -> BulkUsersPayload:
    asked, key = given.operations, key_of_request("bulkUsers", given, given.idempotency_key)
    operations = [operation.operation() for operation in asked]
    atomic = given.mode is BulkMode.ATOMIC
    try:
        answer = await carry_out(info.context, operations, atomic=atomic, key=key)
    except Refused as refused:
        return _refused(asked, refused, atomic=atomic)
    results = [_result(n, *told) for n, told in enumerate(zip(asked, answer.results, strict=True))]
    failed = sum(bool(result.errors) for result in results)
    return BulkUsersPayload(
        results=results,
        succeeded=len(results) - failed,
        failed=failed,
        replayed=answer.replayed,
    )


def _refused(asked: Sequence[UserOperation], refused: Refused, *, atomic: bool) -> BulkUsersPayload:
    problems = list(refused.problems)
    failed = sum(bool(result.problems) for result in refused.results)
    if atomic and failed:
        problems.append(_batch_aborted(failed, len(asked)))
    told = [
        result if result.problems else Result(problems=[_ABORTED]) for result in refused.results
    ]
    results = [_result(n, *each) for n, each in enumerate(zip(asked, told, strict=bool(told)))]
    return BulkUsersPayload(results=results, failed=len(asked), errors=user_errors(problems))


def _batch_aborted(failed: int, of: int) -> Problem:
    message = f"Nothing was done, because {failed} of {of} operations were refused."
    return GeneralProblem(code=ErrorCode.BATCH_ABORTED, message=message, field="operations")


def _result(index: int, asked: UserOperation, result: Result) -> BulkResult:
    verb, _ = asked.given()
    whole = all(problem is _ABORTED for problem in result.problems)
    path = ["input", "operations", str(index), *([] if whole else [verb])]
    user = User.of(result.user) if result.user else None
    return BulkResult(
        index=index,
        user=user,
        deleted_user_id=user.id if user and verb == "delete" else None,
        created=result.created,
        changed=result.changed,
        errors=user_errors(result.problems, path),
    )
