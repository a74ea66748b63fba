"""Starts the server of `roster serve`: the listening socket and uvicorn's configuration."""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import ceil
from typing import Final

import uvicorn
from fastapi import FastAPI

from graph.cli.database import CliError, console, database_name
from graph.metrics.exposition import PATH, ServerState, published
from graph.settings import Mode, Settings
from graph.shutdown import SHUTDOWN_MARGIN
from graph.uvicorn_adapter.http import HTTPProtocol
from graph.uvicorn_adapter.server import Server, Supervisor
from graph.uvicorn_adapter.websocket import WebSocketProtocol

_PORT_ERRORS: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
_MODE_NOTES = {Mode.DEVELOPMENT: " (no sign-in, this machine only)", Mode.PRODUCTION: ""}


def run_server(settings: Settings, listening: socket.socket, state: ServerState) -> None:
    """Serve until a signal stops the server."""
    config = uvicorn_config(settings)
    try:
        if settings.workers == 1:
            Server(config, lambda: _greet(settings)).run(sockets=[listening])
        else:
            _greet(settings)
            state.workers = supervisor = Supervisor(config, sockets=[listening])
            supervisor.run()
    except KeyboardInterrupt:
        pass  # uvicorn raises the SIGINT again that stopped it


def uvicorn_config(
    settings: Settings, factory: str | Callable[[], FastAPI] = "graph.app:from_environment"
) -> uvicorn.Config:
    return uvicorn.Config(
        factory,
        factory=True,
        interface="asgi3",
        workers=settings.workers,
        log_config=None,  # `graph.logging` configures it
        log_level="warning",
        access_log=False,  # below the log level, but it would take a tenth of the CPU time
        server_header=False,
        timeout_keep_alive=settings.keep_alive_timeout,
        timeout_graceful_shutdown=ceil(settings.shutdown_timeout) + SHUTDOWN_MARGIN,
        # A long timeout, so that workers that are busy, or slow to start, are not restarted.
        timeout_worker_healthcheck=30,
        http=HTTPProtocol,
        ws=WebSocketProtocol,
        ws_max_size=256 * 1024,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        ws_per_message_deflate=False,  # compression keeps memory allocated per idle socket
    )


def listen(settings: Settings) -> socket.socket:
    """Listen for clients. Raises CliError if that is not possible."""
    return _listen(settings.host, settings.port, "ROSTER")


def publishing(
    settings: Settings, state: ServerState, folder: str | None
) -> AbstractContextManager[None]:
    """Publish metrics, if there is a management port. Raises CliError if it cannot be used."""
    host, port = settings.management_host, settings.management_port
    if port is None:
        return nullcontext()
    if (host, port) == (settings.host, settings.port):
        raise CliError("ROSTER_MANAGEMENT_PORT: must be another port than ROSTER_PORT")
    listening = _listen(host, port, "ROSTER_MANAGEMENT")
    return published(listening, state, folder)


def _listen(host: str, port: int, prefix: str) -> socket.socket:
    """Listen on one address: preferably IPv4 if a name has several. `::` accepts IPv4 too."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise CliError(
            f"{prefix}_HOST: {host} is neither an address nor a name of this machine"
        ) from None
    family, *_, address = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(address[:2], family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        what = "PORT chooses another port"
        if error.errno not in _PORT_ERRORS:
            what = "HOST chooses another address"
        reason = os.strerror(error.errno or 0)
        raise CliError(
            f"cannot listen on {_netloc(host, port)}: {reason}. {prefix}_{what}"
        ) from None


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _greet(settings: Settings) -> None:
    console.print("Roster is running. Ctrl-C stops it.")
    address = _netloc(settings.host, settings.port)
    console.print(f"  address   http://{address}/graphql", markup=False)
    console.print(f"  database  {database_name(settings)}")
    console.print(f"  mode      {settings.mode}{_MODE_NOTES[settings.mode]}")
    if settings.management_port is not None:
        address = _netloc(settings.management_host, settings.management_port)
        console.print(f"  metrics   http://{address}{PATH}", markup=False)
