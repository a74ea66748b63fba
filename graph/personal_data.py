"""All that is held about a person, as one document (GDPR, articles 15 and 20).

It has the schema's names and forms, and every field that the schema gets.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row
from strawberry.types import get_object_definition
from strawberry.types.base import StrawberryOptional
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from graph.scalars import SCALARS, Json
from graph.types.user import User
from graph.types.user_event import UserEvent


def document(
    user: Row[Any], history: Sequence[Row[Any]], actions: Sequence[Row[Any]], settled: int
) -> Json:
    """Build the document: a user, their whole history, and what they did to which other users.

    An event above the watermark `settled` has no cursor yet: a client could not follow from it
    without missing what is committed below.
    """
    did = [_plain(UserEvent.of(row)) for row in actions]
    return Json(
        {
            "user": _plain(User.of(user)),
            "history": [
                _plain(UserEvent.of(row)) | ({} if row.id <= settled else {"cursor": None})
                for row in history
            ],
            "actions": [
                {name: act[name] for name in ("id", "type", "at", "userId")} for act in did
            ],
        }
    )


def _plain(value: Any) -> Any:
    """Give an object of the schema as JSON has it, less the fields that are resolved."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if (definition := get_object_definition(value)) is None:
        return value
    held = (field for field in definition.fields if field.base_resolver is None)
    return {to_camel_case(f.python_name): _field(f, getattr(value, f.python_name)) for f in held}


def _field(field: StrawberryField, value: Any) -> Any:
    type_ = field.type.of_type if isinstance(field.type, StrawberryOptional) else field.type
    scalar = next((own for kind, own in SCALARS.items() if kind is type_), None)
    if scalar is None or value is None:
        return _plain(value)
    assert scalar.serialize
    return scalar.serialize(value)
