"""How large variables can be, found before they are coerced."""

from collections.abc import Mapping
from typing import Any, Final

from graph.documents.limits import Limits, exceeded
from graph.documents.metrics import Uses

# What an operation of `bulkUsers` can hold, on average; one with all there is holds 9.
OPERATION_VALUES: Final = 20


def check_variables(variables: Mapping[str, Any], limits: Limits, uses: Uses) -> None:
    """Raise LimitExceeded for a list that is too long, or too many values; visit no more values.

    They count as given, and then as often as the operation uses the variable: all that is done with
    a value is done once for each use. The operations of `bulkUsers` have room of their own: for
    twice as many as there can be, since its payload says what is wrong with them, and for the
    values that each can have.
    """
    if len(variables) < limits.values and not uses.defaults:
        for value in variables.values():
            if isinstance(value, list | dict):
                break
        else:
            return  # as most are
    sizes = _Sizes(limits)
    numbers = {name: sizes.count(name, value) for name, value in variables.items()}
    if uses.count(numbers) > limits.values:
        what = "values, those of a variable wherever it is used"
        raise exceeded("TOO_MANY_VALUES", limits.values, "An operation", what)


class _Sizes:
    """Counts the values of variables, all together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.values - 1  # the variables are an object themselves

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
        """Count values with what they contain, but not the operations of batches."""
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
