"""What every object with an id shares, and what every connection shares (Relay)."""

import strawberry


@strawberry.interface(description="An object that can be fetched again by its id.")
class Node:
    id: strawberry.ID = strawberry.field(
        description="Opaque, unique in the whole directory, and the same for ever."
    )


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
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
