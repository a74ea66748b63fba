"""What every object with an id shares, and what every connection shares (Relay)."""

import strawberry

from graph.api.types.record_view import RecordView


@strawberry.interface(description="An object that can be fetched again by its id.")
class Node:
    id: strawberry.ID = strawberry.field(
        description="Opaque, unique in the whole directory, and the same for ever."
    )


@strawberry.type(description="Where a page lies in its list.")
class PageInfo(RecordView):
    """Of a page, and what gives a row's cursor."""

    fields_from = {  # noqa: RUF012 - declared in RecordView
        "has_next_page": lambda place: place[0].has_next,
        "has_previous_page": lambda place: place[0].has_previous,
        "start_cursor": lambda place: place[1](place[0].rows[0]) if place[0].rows else None,
        "end_cursor": lambda place: place[1](place[0].rows[-1]) if place[0].rows else None,
    }

    has_next_page: bool = strawberry.field(
        description="Whether there is more after this page. With `last` and no `before`: false."
    )
    has_previous_page: bool = strawberry.field(
        description="Whether there is more before this page. With `first` and no `after`: false."
    )
    start_cursor: str | None = strawberry.field(
        description="The first edge's cursor, to page backwards with; null on an empty page."
    )
    end_cursor: str | None = strawberry.field(
        description="The last edge's cursor, to page forwards with; null on an empty page."
    )
