"""Limits on the size of variables, checked before they are coerced."""

from collections.abc import Mapping
from typing import Any, Final

from graph.documents.limits import Limits, exceeded
from graph.documents.metrics import Uses

# The average number of values per operation of `bulkUsers`; an operation with all fields has 9.
OPERATION_VALUES: Final = 20


def check_variables(variables: Mapping[str, Any], limits: Limits, uses: Uses) -> None:
    """Raise LimitExceeded if a list is too long or there are too many values.

    Variables count once as given, and once for each use in the operation, since each use processes
    their values. The operations of `bulkUsers` have a separate limit: `OPERATION_VALUES` each, for
    up to twice the accepted number of operations, so that the payload can report their errors.
    """
    if len(variables) < limits.values and not uses.defaults:
        for value in variables.values():
            if isinstance(value, list | dict):
                break
        else:
            return  # fast path: most requests have neither lists nor objects
    sizes = _Sizes(limits)
    numbers = {name: sizes.count(name, value) for name, value in variables.items()}
    if uses.count(numbers) > limits.values:
        what = "values, those of a variable wherever it is used"
        raise exceeded("TOO_MANY_VALUES", limits.values, "An operation", what)


class _Sizes:
    """Counts the values of all variables together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.values - 1  # the object of variables is a value itself

    def count(self, name: str, value: Any) -> int:
        batches: list[list[Any]] = []
        match {name: value}:
            case {"operations": list(operations)} if self._is_batch(operations):
                batches.append(operations)
                number = self._count([], self._left, batches)
            case _:
                number = self._count([value], self._left, batches)
        self._left -= number
        for operations in batches:
            self._count(list(operations), OPERATION_VALUES * len(operations), None)
        return number

    def _is_batch(self, operations: list[Any]) -> bool:
        return len(operations) <= 2 * self._limits.list_length

    def _count(self, left: list[Any], most: int, batches: list[list[Any]] | None) -> int:
        """Count nested values, except the operations of batches, which it adds to `batches`."""
        number = 0
        while left:
            number += 1
            if number > most:
                total = self._limits.values if batches is not None else most
                raise exceeded("TOO_MANY_VALUES", total, "The variables", "values")
            match left.pop():
                case list() as elements:
                    if len(elements) > self._limits.list_length:
                        raise exceeded(
                            "LIST_TOO_LONG", self._limits.list_length, "A list", "elements"
                        )
                    left += elements
                case {"operations": list(operations), **members} if (
                    batches is not None and self._is_batch(operations)
                ):
                    batches.append(operations)
                    left += members.values()
                case dict() as members:
                    left += members.values()
        return number
