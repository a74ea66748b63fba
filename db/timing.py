"""Intervals and limits of the connections to a database."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds. An operator has no reason to change these; tests do, to be fast."""

    health_check: float = 2.0
    connect: float = 3.0  # for each host; `connect_timeout` in the URL takes precedence
    # After a host did not answer, attempts that began before this time is over skip it. Otherwise
    # queued attempts would time out one after the other, and a request would wait for all of them.
    skip_silent_host: float = 0.5
    # For this time, the other hosts of the URL are tried before it.
    avoid_silent_host: float = 30.0
    # Between two looks for a server that was promoted while the former primary still answers.
    look_around: float = 4.0
    rollback: float = 2.0  # ROLLBACK is cheap however much it undoes
    # A connection used more recently is not tested: if the server had closed it, that would be
    # known.
    trust_used: float = 1.0
    ping: float = 2.0  # `SELECT 1` on an idle connection
    # While a server is read-only, every failed write would replace all connections. So they are
    # discarded at most once in this interval, and once more after the last failure.
    discard_interval: float = 1.0
    close: float = 1.0  # with the protocol's message
    answer: float = 2.0  # statements of LISTEN and NOTIFY, which are cheap for the server
    heartbeat: float = 5.0  # between two checks of the connection for LISTEN
    watchdog_tick: float = 1.0
    # A tick that took this much longer means that this process was stopped. It says nothing about
    # the server.
    watchdog_lag: float = 1.0
    # Between two measurements of a replica's position, and the least after a request for one.
    replica_interval: float = 0.1
    replica_pause: float = 0.01
    # A replica that answers later is not used, because requests would wait for it.
    replica_answer: float = 0.5
    replica_retry: float = 0.25  # after a failed connection
    # Longer than any of Roster's writes: another process may hold SQLite's only write lock.
    sqlite_busy: float = 30.0
    # Opening the file needs no write lock. Another process blocks readers only for a moment, unless
    # it uses the file exclusively.
    sqlite_open: float = 5.0
    clock: Callable[[], float] = time.monotonic


DEFAULT = Timing()
