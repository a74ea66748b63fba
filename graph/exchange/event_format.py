"""The formats of exported events."""

from enum import StrEnum


class EventFormat(StrEnum):
    NDJSON = "ndjson"
    CLOUDEVENTS = "cloudevents"
