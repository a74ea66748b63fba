from collections.abc import Callable

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from db.engine import Database
from db.models import UserEvent
from graph import app as application
from graph.cli import main
from graph.environment import InvalidSettings
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


def test_command_that_crashes_before_it_reads_its_settings_logs_no_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    formats: list[str] = []

    def crash() -> None:
        assert formats == ["text"]
        raise LookupError("a value")

    monkeypatch.setattr(main, "configure_logs", formats.append)
    monkeypatch.setattr(main, "app", crash)
    with pytest.raises(LookupError):
        main.main()


def test_error_of_a_worker_is_logged_instead_of_printed_with_its_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[object] = []
    for error in (LookupError("a value"), InvalidSettings("ROSTER_PORT: must be a number")):
        monkeypatch.setattr(application, "load", _raising(error))
        with capture_logs() as logs, pytest.raises(SystemExit) as ended:
            application.from_environment()
        found += [ended.value.code, [(line["event"], line["exc_info"]) for line in logs]]
    assert found == [
        *(1, [("the application cannot be created", True)]),
        *("roster: ROSTER_PORT: must be a number", []),
    ]


def _raising(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail
