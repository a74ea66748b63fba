"""Explains rejected hosts and origins to developers: names the setting with its exact value."""

from collections.abc import Iterable
from typing import Final

import structlog

from graph.protocol.origins import parse_host, parse_origin
from graph.settings import Settings

log = structlog.get_logger("roster")

_MAX_LOGGED: Final = 100  # distinct lines: a page that tries again does not fill the log


class OriginHints:
    """Creates messages for development mode. Each is logged once: pages cannot read a rejection."""

    def __init__(self, settings: Settings) -> None:
        self._origins = settings.cors_origins
        self._hosts = settings.allowed_hosts
        self._logged: set[str] = set()

    def of_origin(self, origin: str, host: str) -> str:
        try:
            parsed = parse_origin(origin)
        except ValueError:
            return self._log(
                "A page without an origin was rejected: open it from a server, not from a file.",
            )
        setting = _setting("ROSTER_CORS_ORIGINS", [*self._origins, parsed])
        return self._log(
            f"A page of {parsed} was rejected. Start Roster with {setting} to allow it. If a proxy "
            "such as Vite's passes its requests on, `changeOrigin: false` works without it.",
            host=host[:_MAX_LOGGED],
        )

    def of_host(self, host: str) -> str:
        try:
            parsed = parse_host(host)
        except ValueError:
            return self._log("A request without a usable Host header was rejected.")
        setting = _setting("ROSTER_ALLOWED_HOSTS", [*self._hosts, parsed])
        return self._log(
            f"A request for the host {parsed} was rejected. Start Roster with {setting} to allow "
            "it."
        )

    def _log(self, message: str, **fields: str) -> str:
        if message not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(message)
            log.warning(message, **fields)
        return message


def _setting(name: str, values: Iterable[str]) -> str:
    return f"{name}={','.join(dict.fromkeys(values))}"
