"""What a process remembers of the reads of its callers."""

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from db.replication.memory import CallerMemory
from db.replication.position import PRIMARY, Position
from db.replication.servers import Primary, Server
from db.timing import DEFAULT

TERM = "00000001-0011223344556677"


class Standby(Server):
    """A server whose measurements a test makes up."""

    def __init__(self) -> None:
        super().__init__()
        self.monitor = Mock(begun=0, done=0)

    def restart(self) -> None:
        self._forget_reads()


def measure(server: Any, lsn: int) -> None:
    server.monitor.begun += 1
    server.monitor.done = server.monitor.begun
    server.last_bound = Position(TERM, lsn)


def note(memory: CallerMemory, caller: str, *servers: Server) -> None:
    memory.note(caller, {server: server.read_until(server.epoch) for server in servers})


@pytest.fixture
def clock() -> Any:
    return Mock(return_value=0.0)


@pytest.fixture
def primary(clock: Any) -> Primary:
    made = Primary(Mock(), Mock(), replace(DEFAULT, clock=clock), max_lag=10)
    made.monitor = Mock(begun=0, done=0)
    return made


@pytest.fixture
def memory(primary: Primary, clock: Any) -> CallerMemory:
    return CallerMemory(primary, clock)


def test_caller_without_reads_wants_nothing(memory: CallerMemory) -> None:
    assert memory.wanted("ada") == (None, None)


def test_read_of_a_replica_is_bound_by_its_next_measurement(memory: CallerMemory) -> None:
    standby = Standby()
    measure(standby, 5)
    note(memory, "ada", standby)
    assert memory.wanted("ada") == (None, standby)
    measure(standby, 7)
    assert memory.wanted("ada") == (Position(TERM, 7), None)
    measure(standby, 9)
    assert memory.wanted("ada") == (Position(TERM, 7), None)
    assert memory.wanted("eve") == (None, None)


def test_measurement_in_progress_is_no_bound(memory: CallerMemory) -> None:
    standby = Standby()
    standby.monitor.begun = 1
    note(memory, "ada", standby)
    standby.monitor.done, standby.last_bound = 1, Position(TERM, 5)
    assert memory.wanted("ada") == (None, standby)


def test_reads_of_two_servers_want_the_primary_until_both_are_measured(
    memory: CallerMemory,
) -> None:
    one, two = Standby(), Standby()
    note(memory, "ada", one)
    note(memory, "ada", two)
    assert memory.wanted("ada") == (PRIMARY, None)
    measure(one, 5)
    assert memory.wanted("ada") == (Position(TERM, 5), two)
    measure(two, 4)
    assert memory.wanted("ada") == (Position(TERM, 5), None)


def test_restarted_replica_leaves_the_primary(memory: CallerMemory) -> None:
    standby = Standby()
    note(memory, "ada", standby)
    standby.restart()
    measure(standby, 9)
    assert memory.wanted("ada") == (PRIMARY, None)


def test_read_of_the_primary_replaces_everything(memory: CallerMemory, primary: Primary) -> None:
    standby = Standby()
    note(memory, "ada", standby)
    standby.restart()
    note(memory, "ada", primary)
    assert memory.wanted("ada") == (PRIMARY, None)
    measure(primary, 8)
    assert memory.wanted("ada") == (Position(TERM, 8), None)


def test_callers_are_forgotten_when_usable_replicas_have_caught_up(
    memory: CallerMemory, primary: Primary, clock: Any
) -> None:
    for number in range(5):
        clock.return_value = float(number)
        note(memory, f"caller{number}", primary)
    primary.oldest_at = 3.5
    note(memory, "ada", primary)
    note(memory, "ada", primary)
    assert len(memory) == 2
    assert memory.wanted("caller3") == (None, None)
    assert memory.wanted("caller4") == (PRIMARY, None)
