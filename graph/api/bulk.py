"""`bulkUsers`: many operations in one transaction, with one result for each."""

from collections.abc import Sequence

from graph.api.context import GraphInfo
from graph.api.idempotency import key_of_request
from graph.api.inputs.bulk import BulkUsersInput, UserOperation
from graph.api.types.enums import BulkMode, ErrorCode
from graph.api.types.payloads import BulkResult, BulkUsersPayload
from graph.api.types.user_error import user_errors
from graph.api.unit_of_work import execute, user_and_edge
from users.commands import CommandResult, CommandsRejected
from users.errors import GeneralViolation, RuleViolation

_PATH = ("input", "operations")
_ABORTED = GeneralViolation(
    code=ErrorCode.BATCH_ABORTED,
    message="Not executed, because another operation of the batch was rejected.",
)


async def bulk_users(info: GraphInfo, given: BulkUsersInput) -> BulkUsersPayload:
    asked = given.operations
    key = await key_of_request("bulkUsers", given, given.idempotency_key)
    operations = [operation.to_command() for operation in asked]
    atomic = given.mode is BulkMode.ATOMIC
    try:
        answer = await execute(info, operations, atomic=atomic, key=key)
    except CommandsRejected as refused:
        return _refused(asked, refused, atomic=atomic)
    results = _results(asked, answer.results)
    failed = sum(bool(result.errors) for result in results)
    return BulkUsersPayload(
        results=results,
        succeeded=len(results) - failed,
        failed=failed,
        replayed=answer.replayed,
    )


def _refused(
    asked: Sequence[UserOperation], refused: CommandsRejected, *, atomic: bool
) -> BulkUsersPayload:
    violations = list(refused.violations)
    failed = sum(bool(result.violations) for result in refused.results)
    if atomic and failed:
        violations.append(_batch_aborted(failed, len(asked)))
    results = _results(asked, refused.results) if refused.results else []
    for result in results:
        if not result.errors:
            results[result.index] = _aborted(result.index)
    return BulkUsersPayload(results=results, failed=len(asked), errors=user_errors(violations))


def _batch_aborted(failed: int, of: int) -> RuleViolation:
    message = f"Nothing was executed, because {failed} of {of} operations were rejected."
    return GeneralViolation(code=ErrorCode.BATCH_ABORTED, message=message, field="operations")


def _results(asked: Sequence[UserOperation], results: Sequence[CommandResult]) -> list[BulkResult]:
    return [_result(n, *told) for n, told in enumerate(zip(asked, results, strict=True))]


def _aborted(index: int) -> BulkResult:
    return BulkResult(index=index, errors=user_errors([_ABORTED], [*_PATH, str(index)]))


def _result(index: int, asked: UserOperation, result: CommandResult) -> BulkResult:
    verb, given = asked.given()
    user, edge = user_and_edge(result)
    return BulkResult(
        index=index,
        user=user,
        user_edge=edge,
        deleted_user_id=given.id if verb == "delete" and not result.violations else None,
        created=result.created,
        changed=result.changed,
        errors=user_errors(result.violations, [*_PATH, str(index), verb]),
    )
