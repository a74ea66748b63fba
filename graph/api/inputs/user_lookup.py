"""The key of one user, and the order of a list of users."""

from collections.abc import Sequence
from typing import Any

import strawberry

from graph.api import global_ids
from graph.api.errors import InputError
from graph.api.ordering import DEFAULT_ORDER, Order, order_by
from graph.api.scalars import BigInt
from graph.api.types.enums import OrderDirection, UserOrderField


@strawberry.input(description="A key of one user.", one_of=True)
class UserBy:
    id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET,
        description="The global id. It also finds deleted users.",
    )
    database_id: BigInt | None = strawberry.field(
        default=strawberry.UNSET,
        description="The id in the database. It also finds deleted users.",
    )
    username: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The username, regardless of case and Unicode form.",
    )
    email: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The e-mail address, regardless of case and Unicode form.",
    )
    external_id: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The key in another system, compared exactly. In `upsertUser` it requires the "
        "scope `users:link`, because a new user gets it.",
    )

    def given(self) -> tuple[str, Any]:
        """Return the name and the value of the key. GraphQL ensures that there is exactly one."""
        return next((n, v) for n, v in vars(self).items() if v is not strawberry.UNSET)


@strawberry.input(description="One criterion of an order. The id is always the last criterion.")
class UserOrder:
    field: UserOrderField = strawberry.field(description="The field to order by.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.ASC,
        description="Whether the smallest or the greatest value comes first.",
    )


def read_order(steps: Sequence[UserOrder] | None) -> Order:
    if steps and len(steps) > len(UserOrderField):
        raise InputError(f"`orderBy` has at most {len(UserOrderField)} steps.")
    return order_by([(step.field, step.direction) for step in steps]) if steps else DEFAULT_ORDER


def read_user_id(text: str) -> int:
    try:
        return global_ids.decode_user(text)
    except global_ids.InvalidId as error:
        raise InputError(str(error), "INVALID_ID") from None
