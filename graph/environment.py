"""Reads settings from environment variables, then from `.env` in the current folder.

`.env` has the format of python-dotenv, without interpolation: a secret can contain `${`.
pydantic-settings silently ignores unreadable files and lines that python-dotenv cannot parse. This
module reports both, so it calls python-dotenv's parser directly. That parser is undocumented.

    Exception
    └── InvalidSettings  one line per invalid setting
"""

import codecs
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
from dotenv.parser import Binding, parse_stream
from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

log = structlog.get_logger("roster")

_PREFIX: Final = "ROSTER_"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # a variable name in POSIX shells
_FILE: Final = Path(".env")
# Variables of the tests and benchmarks. The server ignores them.
_OF_OTHERS: Final = frozenset({"ROSTER_TEST_POSTGRES_URL", "ROSTER_BENCH_POSTGRES_URL"})
# Variables that Kubernetes sets in each container for a Service named `roster` or `roster-…`:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE: Final = r"ROSTER(?:_[A-Z0-9_]+)?"
_PORT: Final = rf"{_SERVICE}_PORT_\d+_(?:TCP|UDP|SCTP)"
_OF_KUBERNETES: Final = tuple(
    re.compile(f"{name}={value}")
    for name, value in (
        (rf"(?:{_SERVICE}_PORT|{_PORT})", r"(?:tcp|udp|sctp)://.*"),
        (rf"(?:{_SERVICE}_SERVICE_HOST|{_PORT}_ADDR)", r"[0-9a-f.:]+"),
        (rf"(?:{_SERVICE}_SERVICE_PORT(?:_[A-Z0-9_]+)?|{_PORT}_PORT)", r"\d{1,5}"),
        (rf"{_PORT}_PROTO", r"(?:tcp|udp|sctp)"),
    )
)
# Deprecated field names, which are still accepted: new name -> old name.
OLD_NAMES: Final = {
    "auth_recheck_interval": "caller_watch",
    "max_batch_size": "batch_limit",
    "max_body_bytes": "body_limit",
    "max_concurrent_operations": "concurrent_operations",
    "max_connections_per_caller": "sockets_per_caller",
    "max_operations_per_connection": "socket_operations",
    "max_response_values": "max_answer_values",
    "persisted_documents": "trusted_documents",
    "persisted_documents_file": "trusted_manifest",
    "set_database_idle_timeout": "database_idle_timeout",
    "ws_init_timeout": "socket_init_timeout",
}
_OTHERS_MAY_READ: Final = 0o044


class InvalidSettings(Exception):
    """One line per invalid setting. Lines never contain the value: it can be a password."""


def validation_alias(field_name: str) -> str | AliasChoices:
    # With an AliasChoices, pydantic's errors name the variable that is set.
    new, old = _variable(field_name), OLD_NAMES.get(field_name)
    return AliasChoices(new, _variable(old)) if old else new


def set_variable(field_name: str) -> str:
    old = _variable(OLD_NAMES.get(field_name, field_name))
    return old if old in _set_names() else _variable(field_name)


def _set_names() -> set[str]:
    given = (*os.environ.items(), *read_file(_FILE).items())
    return {name.upper() for name, value in given if value.strip()}


def names_of(field_name: str) -> set[str]:
    names = {field_name, _variable(field_name)}
    old = OLD_NAMES.get(field_name)
    return names | {_variable(old)} if old else names


def _variable(field_name: str) -> str:
    return f"{_PREFIX}{field_name.upper()}"


class Variables(PydanticBaseSettingsSource):
    """Variables that are set, by field. An empty variable counts as not set.

    The value of a field with aliases is keyed by the variable that is set, so that errors name that
    variable. Unknown variables are included: the model rejects them.
    """

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        aliases = {name for field in settings_cls.model_fields.values() for name in _aliases(field)}
        self._sources = [
            _ours(os.environ.items(), aliases),
            _ours(read_file(_FILE).items(), aliases),
        ]
        names = {name for source in self._sources for name in source}
        for new, old in _renamed():
            if {new, old} <= names:
                raise InvalidSettings(
                    f"{old}: is the old name of {new}, which is set too: remove it"
                )

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        aliases = _aliases(field)
        for source in self._sources:
            for name in aliases or [_variable(field_name)]:
                if name in source:
                    return source[name], name if aliases else field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        known = set(_OF_OTHERS)
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                values[key] = value
            known |= {_variable(field_name), *_aliases(field)}
        unknown = {n: v for source in self._sources for n, v in source.items() if n not in known}
        return values | unknown


def _renamed() -> Iterator[tuple[str, str]]:
    for new, old in OLD_NAMES.items():
        yield _variable(new), _variable(old)


def _aliases(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    return [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else []


def _ours(variables: Iterable[tuple[str, str]], aliases: set[str]) -> dict[str, str]:
    # Settings are case-insensitive: the result has names in upper case.
    found: dict[str, str] = {}
    for name, value in variables:
        upper = name.upper()
        if not upper.startswith(_PREFIX) and upper not in aliases:
            continue
        if not value.strip() or is_of_kubernetes(upper, value):
            continue
        if found.get(upper, value) != value:
            raise InvalidSettings(f"{upper}: set twice, in upper and in lower case")
        found[upper] = value
    return found


def is_of_kubernetes(name: str, value: str) -> bool:
    return any(pattern.fullmatch(f"{name}={value}") for pattern in _OF_KUBERNETES)


def read_file(path: Path) -> Mapping[str, str]:
    """Read an optional file of variables. Raises InvalidSettings if it is unreadable."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise InvalidSettings(f"{path}: is a link to a file that does not exist") from None
        return {}
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise InvalidSettings(f"{path}: cannot be read: {reason}") from None
    return dict(parse_file(path, content))


def set_from_file(prefix: str) -> None:
    """Set environment variables of others that are in `.env`, as for a library that reads them."""
    for name, value in read_file(_FILE).items():
        if name.startswith(prefix):
            os.environ.setdefault(name, value)


def parse_file(path: Path, content: bytes) -> Iterator[tuple[str, str]]:
    for binding in parse_stream(io.StringIO(_decode(path, content))):
        key = binding.key or ""
        # The message omits the key: it can contain a secret, as in ROSTER_AUTH_SECRET:c2VjcmV0==
        is_ours = key.upper().startswith(_PREFIX)
        if binding.error or (is_ours and not (binding.value is not None and NAME.fullmatch(key))):
            raise InvalidSettings(
                f"{path}: line {_line(binding)} cannot be read: it must have the form NAME=value; "
                "a value that begins with a quotation mark must end with one"
            )
        if binding.value is not None:
            yield key, binding.value


def _decode(path: Path, content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise InvalidSettings(f"{path}: must be saved in UTF-8: it is in UTF-16, or is not text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidSettings(f"{path}: line {line} must be saved in UTF-8") from None


def _line(binding: Binding) -> int:
    # A binding includes the blank lines before its name.
    [blank] = re.findall(r"\A\s*", binding.original.string)
    return binding.original.line + len(re.findall(r"\r\n|\n|\r", blank))


def log_notices(*, production: bool) -> None:
    """Log deprecated, ignored and insecure settings that are no errors."""
    # The command calls this once. Each worker would repeat the lines.
    ignored = sorted(name for name, value in os.environ.items() if is_of_kubernetes(name, value))
    names = _set_names()
    if old := {old: new for new, old in _renamed() if old in names}:
        log.warning("settings have new names; the old ones will be removed", renamed=old)
    if ignored:
        log.info("variables of a Kubernetes Service are ignored", variables=ignored)
    if production and os.name == "posix" and _is_open_to_others():
        log.warning("other users can read the file .env: its mode should be 600")


def _is_open_to_others() -> bool:
    try:
        return bool(_FILE.stat().st_mode & _OTHERS_MAY_READ)
    except OSError:
        return False
