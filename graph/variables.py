"""How large variables can be, found before they are coerced."""

from typing import Any, Final

from graph.limits import Limits, exceeded

# What an operation of `bulkUsers` can hold, on average; one with all there is holds 9.
OPERATION_VALUES: Final = 20


def check_variables(variables: object, limits: Limits) -> None:
    """Raise LimitExceeded for too long a list, or too many values; look at no more than that.

    The operations of `bulkUsers` have room of their own: for twice as many as there can be, since
    its payload says what is wrong with them, and for the values that each can have.
    """
    if isinstance(variables, dict) and len(variables) < limits.values:
        for value in variables.values():
            if isinstance(value, list | dict):
                break
        else:
            return  # as most are
    batches: list[list[Any]] = []
    _check_values([variables], limits.list_length, limits.values, batches)
    for operations in batches:
        _check_values(operations, limits.list_length, OPERATION_VALUES * len(operations))


def _check_values(
    values: list[Any], longest: int, most: int, batches: list[list[Any]] | None = None
) -> None:
    """Check what the values hold, but for the operations of batches, which are put there."""
    left, number = list(values), 0
    while left:
        number += 1
        if number > most:
            raise exceeded("TOO_MANY_VALUES", most, "The variables", "values")
        match left.pop():
            case list() as elements:
                if len(elements) > longest:
                    raise exceeded("LIST_TOO_LONG", longest, "A list", "elements")
                left += elements
            case {"operations": list(operations), **members} if (
                batches is not None and len(operations) <= 2 * longest
            ):
                batches.append(operations)
                left += members.values()
            case dict() as members:
                left += members.values()
