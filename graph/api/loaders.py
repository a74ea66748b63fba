"""Look-ups by key, merged with those of other fields and operations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from db.prepared import PreparedStatement
from db.session import Session

if TYPE_CHECKING:
    from asyncio import Future


class Loader(NamedTuple):
    """One kind of look-up: `db.statements` has them, for instance `USERS_BY_ID`.

    Two of the same session and statement are equal, so that their keys are looked up together.
    """

    session: Session
    lookup: PreparedStatement

    def load(self, keys: Sequence[Any]) -> "Future[list[Any]]":
        """Look up the rows of keys, in their order; None stands where there is none."""
        return self.session.load(self.lookup, keys)

    async def find(self, key: Any) -> Any | None:
        [row] = await self.load([key])
        return row
