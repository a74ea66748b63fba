"""The idempotency key of a mutation, with its input as text.

A digest of the text is stored for 24 hours (`users/idempotency.py`). The text contains the names
of the inputs' attributes and the `repr` of `strawberry.Some`. If either changes, a request that is
repeated across the deployment is rejected. A test compares a stored digest.
"""

import json
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from db.time_slices import pause_if_due
from users.commands import IdempotencyKey

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


async def key_of_request(
    verb: str, given: "DataclassInstance", text: str | None
) -> IdempotencyKey | None:
    if text is None:
        return None
    members = [
        f"{_json(name)}: {await _json_in_slices(getattr(given, name))}"
        for name in sorted(declared.name for declared in fields(given))
    ]
    return IdempotencyKey(text=text, request=f"[{_json(verb)}, {{{', '.join(members)}}}]")


async def _json_in_slices(value: object) -> str:
    """Return the same JSON as `json.dumps`. Other requests can run between the elements."""
    if not isinstance(value, list):
        return _json(value)
    elements = []
    for element in value:
        await pause_if_due()
        elements.append(_json(element))
    return f"[{', '.join(elements)}]"


def _json(value: Any) -> str:
    plain = _without_new_keys(asdict(value)) if _is_input(value) else value
    return json.dumps(plain, sort_keys=True, default=repr)


def _is_input(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _without_new_keys(operation: dict[str, Any]) -> dict[str, Any]:
    # Only `create` had a key in 0.5. The text of a batch from then stays the same without it.
    for verb, given in operation.items():
        if verb != "create" and isinstance(given, dict) and given.get("idempotency_key") is None:
            given.pop("idempotency_key", None)
    return operation
