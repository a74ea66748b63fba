"""Rows of exported and imported files, with the names of the GraphQL schema."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast

from pydantic import (
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from db.models import UserStatus
from graph.api.global_ids import encode_user
from graph.protocol.json import dumps
from users.commands import UserFields

Status = Literal[UserStatus.ACTIVE, UserStatus.DEACTIVATED]


class ExportedUser(BaseModel):
    """A user as exported, from a row with the columns of `User`."""

    model_config = ConfigDict(
        from_attributes=True, alias_generator=AliasGenerator(serialization_alias=to_camel)
    )

    id: Annotated[str, BeforeValidator(encode_user)]
    database_id: Annotated[str, BeforeValidator(str), Field(validation_alias="id")]
    external_id: str | None
    username: str
    email: str
    display_name: str | None
    status: UserStatus
    status_reason: str | None
    status_changed_at: datetime
    version: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    erase_after: datetime | None
    erased_at: datetime | None


def as_ndjson(users: Sequence[ExportedUser]) -> bytes:
    return b"".join(dumps(user.model_dump(by_alias=True)) + b"\n" for user in users)


EXPORTED: Final = tuple(to_camel(name) for name in ExportedUser.model_fields)


class ImportedUser(BaseModel):
    """A user to import. The external id is the key; a field that is not given is unchanged.

    `status_reason` is the reason of a change of the status, and is ignored without one.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", hide_input_in_errors=True)

    external_id: str
    username: str | None = None
    email: str | None = None
    display_name: str | None = None
    status: Status | None = None
    status_reason: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_roster_decides(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if name not in _DECIDED_BY_ROSTER}

    @property
    def fields(self) -> UserFields:
        given = self.model_fields_set & _WRITTEN
        return cast("UserFields", {name: getattr(self, name) for name in given})


_WRITTEN: Final = frozenset({"username", "email", "display_name"})
IMPORTED: Final = frozenset(to_camel(name) for name in ImportedUser.model_fields)
# Exported columns that an import ignores.
_DECIDED_BY_ROSTER: Final = frozenset(EXPORTED) - IMPORTED


def problems_of(error: ValidationError) -> list[tuple[str, str]]:
    """Return the fields and messages of an error, without values."""
    return [
        (
            _shown(".".join(map(str, problem["loc"]))),
            _message(problem["type"], problem["input"], problem["msg"]),
        )
        for problem in error.errors(include_url=False, include_context=False)
    ]


def _message(kind: str, given: object, usual: str) -> str:
    is_missing = given is None and kind == "string_type"
    return _MESSAGES.get("missing" if is_missing else kind, usual)


def _shown(name: str) -> str:
    # The name of an unknown field is from the file: it can have any characters.
    return name if name.isprintable() and len(name) <= _MAX_NAME else "?"


_MAX_NAME: Final = 40
_MESSAGES: Final = {
    "missing": "This field is required.",
    "extra_forbidden": f"Unknown field. Supported fields: {', '.join(sorted(IMPORTED))}.",
    "string_type": "Must be a text.",
    "literal_error": "Must be ACTIVE or DEACTIVATED.",
}
