from sqlalchemy import select

from db.engine import Database
from db.models import UserEvent
from tests.support.client import count
from users.seed import populate


async def test_demo_data_has_events_in_chronological_order(database: Database) -> None:
    for total in (300, 600):  # on an empty directory, and beside users with the same names
        assert sum([added async for added in populate(database, 300)]) == 300
        assert (await count(database))[0] == total
    async with database.engine.connect() as connection:
        first, second = UserEvent.user_id <= 300, UserEvent.user_id > 300
        for run_ in (first, second):
            by_id = select(UserEvent.at).where(run_).order_by(UserEvent.id)
            moments = (await connection.execute(by_id)).scalars().all()
            assert moments == sorted(moments)
            assert len(moments) > 300
