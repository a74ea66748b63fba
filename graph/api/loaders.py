"""Lookups by key, batched with those of other fields and operations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from db.prepared import PreparedStatement
from db.session import Session

if TYPE_CHECKING:
    from asyncio import Future


class Loader(NamedTuple):
    """One kind of lookup, with a statement of `db.statements` such as `USERS_BY_ID`.

    Loaders with the same session and statement are equal, so that their keys are batched.
    """

    session: Session
    lookup: PreparedStatement

    def load(self, keys: Sequence[Any]) -> "Future[list[Any]]":
        """Return the rows of the keys in their order, with None for each key without a row."""
        return self.session.load(self.lookup, keys)

    async def find(self, key: Any) -> Any | None:
        [row] = await self.load([key])
        return row
