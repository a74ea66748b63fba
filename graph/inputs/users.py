"""What selects users: one by a key, many by a filter, in an order."""

from collections.abc import Callable, Sequence
from typing import Any

import strawberry

from db.models import UserStatus
from db.statements import UserFilter as Filter
from graph import ids
from graph.errors import InputError
from graph.inputs.lists import MAX_LIST, check_length
from graph.order import Order, order_by
from graph.scalars import BigInt
from graph.types.enums import OrderDirection, UserOrderField
from users.identity import email_key, username_key


@strawberry.input(description="The one key to find a user by.", one_of=True)
class UserBy:
    id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET,
        description="The user's id; a deleted user can be found by it too.",
    )
    database_id: BigInt | None = strawberry.field(
        default=strawberry.UNSET,
        description="The id in the database; a deleted user can be found by it too.",
    )
    username: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The username, without regard to case and Unicode form.",
    )
    email: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The e-mail address, without regard to case and Unicode form.",
    )
    external_id: str | None = strawberry.field(
        default=strawberry.UNSET, description="Another system's key, to the letter."
    )

    def given(self) -> tuple[str, Any]:
        """Give the name and the value of the one key; that there is one, GraphQL has seen to."""
        return next((n, v) for n, v in vars(self).items() if v is not strawberry.UNSET)


@strawberry.input(description="What a text has to be, without regard to case and Unicode form.")
class StringFilter:
    eq: str | None = strawberry.field(default=None, description="Exactly this text.")


@strawberry.input(
    description="What the listed users have to be; all that is given has to hold. Deleted users "
    "are listed only where `status` asks for them. Null and absent both ask nothing; an empty "
    f"list matches nobody. A list has at most {MAX_LIST} values."
)
class UserFilter:
    id: list[strawberry.ID] | None = strawberry.field(default=None, description="One of these ids.")
    database_id: list[BigInt] | None = strawberry.field(
        default=None, description="One of these ids in the database."
    )
    status: list[UserStatus] | None = strawberry.field(
        default=None, description="One of these statuses."
    )
    is_active: bool | None = strawberry.field(
        default=None, description="Whether the status is `ACTIVE`."
    )
    username: StringFilter | None = strawberry.field(default=None, description="The username.")
    email: StringFilter | None = strawberry.field(default=None, description="The e-mail address.")

    def read(self) -> Filter:
        """Turn it into what the database is asked; raise InputError for what cannot be meant."""
        for name, values in (
            ("id", self.id),
            ("databaseId", self.database_id),
            ("status", self.status),
        ):
            check_length(name, values)
        return Filter(
            ids=_all_of(
                None if self.id is None else [user_id(text) for text in self.id],
                self.database_id,
            ),
            statuses=self.status,
            is_active=self.is_active,
            username_keys=_keys(self.username, username_key),
            email_keys=_keys(self.email, email_key),
        )


@strawberry.input(description="One step of an order. The id is always the last, and breaks ties.")
class UserOrder:
    field: UserOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.ASC, description="Which end comes first."
    )


NEWEST_FIRST = UserOrder(field=UserOrderField.CREATED_AT, direction=OrderDirection.DESC)


def read_order(steps: Sequence[UserOrder] | None) -> Order:
    if steps and len(steps) > len(UserOrderField):
        raise InputError(f"`orderBy` has at most {len(UserOrderField)} steps.")
    return order_by([(step.field, step.direction) for step in steps or [NEWEST_FIRST]])


def user_id(text: str) -> int:
    """Read the id of a user; raise InputError for anything else."""
    try:
        return ids.decode_as("User", text)
    except ids.MalformedId as error:
        raise InputError(str(error), "INVALID_ID") from None


def _all_of(*lists: Sequence[int] | None) -> list[int] | None:
    """Give what is in every list that was given; None where none was."""
    given = [set(values) for values in lists if values is not None]
    return sorted(set.intersection(*given)) if given else None


def _keys(wanted: StringFilter | None, key: Callable[[str], str | None]) -> list[str] | None:
    if wanted is None or wanted.eq is None:
        return None
    found = key(wanted.eq)
    return [] if found is None else [found]
