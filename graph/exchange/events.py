"""Events as lines of JSON, for log shippers: as in the schema, or as CloudEvents 1.0."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from feed.reader import Event
from graph.api.types.enums import ActorType, UserEventType, UserField, UserStatus
from graph.api.types.user_event import UserEvent
from graph.exchange.event_format import EventFormat
from graph.protocol.json import dumps

_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"
_ID: Final = "urn:roster:user-event"
_ONLY: Final = "Only with `--personal-data`: it can name a person."


class _Exported(BaseModel):
    model_config = ConfigDict(from_attributes=True, alias_generator=to_camel, populate_by_name=True)


class ExportedActor(_Exported):
    """The author of a change."""

    type: ActorType
    actor_id: str | None = Field(
        description="The database id of a user, or the subject of a service. Null for Roster."
    )
    label: str | None = Field(None, description=f"The name of the author. {_ONLY}")


class ExportedChange(_Exported):
    """A change of one field."""

    field_name: UserField
    before: str | None = Field(None, description=f"The value before the change. {_ONLY}")
    after: str | None = Field(None, description=f"The value after the change. {_ONLY}")
    redacted: bool = Field(description="True if the values were erased.")


class ExportedEvent(_Exported):
    """A change of one user, with the names of `UserEvent` in the GraphQL schema."""

    id: str = Field(description="The global id of the event.")
    cursor: str = Field(description="The position in the feed, for `--after` and `after`.")
    type: UserEventType
    user_id: str = Field(description="The global id of the changed user.")
    at: datetime
    actor: ExportedActor
    reason: str | None = Field(None, description=f"The reason given by the author. {_ONLY}")
    request_id: str | None
    changes: list[ExportedChange]
    status_before: UserStatus | None
    status_after: UserStatus | None
    version_after: int


class CloudEvent(BaseModel):
    """An event in the structured mode of CloudEvents 1.0."""

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, description="The cursor of the event.")
    source: str = Field(min_length=1, json_schema_extra={"format": "uri-reference"})
    type: str = Field(pattern="^roster\\.user\\.[a-z]+$")
    subject: str = Field(description="The global id of the changed user.")
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Literal["urn:roster:user-event:1"] = "urn:roster:user-event:1"
    data: ExportedEvent

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


_PERSONAL: Final[Mapping[str, Any]] = {
    "reason": True,
    "actor": {"label"},
    "changes": {"__all__": {"before", "after"}},
}


def encoder(format: EventFormat, *, personal_data: bool, source: str) -> Callable[[Event], bytes]:
    """Return a function that writes an event as one line."""
    left_out = {} if personal_data else _PERSONAL

    def as_event(row: Event) -> BaseModel:
        return ExportedEvent.model_validate(UserEvent.of(row))

    def as_cloud_event(row: Event) -> BaseModel:
        event = ExportedEvent.model_validate(UserEvent.of(row))
        return CloudEvent(
            id=event.cursor,
            source=source,
            type=f"roster.user.{event.type.lower()}",
            subject=event.user_id,
            time=event.at,
            data=event,
        )

    is_cloud_event = format is EventFormat.CLOUDEVENTS
    make = as_cloud_event if is_cloud_event else as_event
    excluded: Any = {"data": left_out} if is_cloud_event else left_out

    def encode(row: Event) -> bytes:
        return dumps(make(row).model_dump(by_alias=True, exclude=excluded)) + b"\n"

    return encode


def json_schema(format: EventFormat) -> dict[str, Any]:
    """Return the JSON Schema of a line. Later versions may add properties."""
    is_cloud_event = format is EventFormat.CLOUDEVENTS
    model = CloudEvent if is_cloud_event else ExportedEvent
    schema = TypeAdapter(model).json_schema(mode="serialization")
    id_ = f"{_ID}-cloudevent:1" if is_cloud_event else f"{_ID}:1"
    return {"$schema": _SCHEMA, "$id": id_, **schema}
