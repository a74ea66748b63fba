"""The types of Relay: `Node` and `PageInfo`."""

import strawberry

from graph.api.types.record_view import RecordView


@strawberry.interface(description="An object that can be fetched by its id.")
class Node:
    id: strawberry.ID = strawberry.field(
        description="An opaque global id. It is unique in the directory and never changes."
    )


@strawberry.type(description="The position of a page in its list.")
class PageInfo(RecordView):
    """The record is a tuple of a page and a function that returns a row's cursor."""

    fields_from = {  # noqa: RUF012 - declared in RecordView
        "has_next_page": lambda place: place[0].has_next,
        "has_previous_page": lambda place: place[0].has_previous,
        "start_cursor": lambda place: place[1](place[0].rows[0]) if place[0].rows else None,
        "end_cursor": lambda place: place[1](place[0].rows[-1]) if place[0].rows else None,
    }

    has_next_page: bool = strawberry.field(
        description="Whether the list continues after this page. False with `last` and without "
        "`before`."
    )
    has_previous_page: bool = strawberry.field(
        description="Whether the list continues before this page. False with `first` and without "
        "`after`."
    )
    start_cursor: str | None = strawberry.field(
        description="The cursor of the first edge, for paging backwards. Null if the page is empty."
    )
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last edge, for paging forwards. Null if the page is empty."
    )
