"""The table of all settings in docs/operations.md: `roster settings`."""

from enum import Enum
from typing import Any, Final

from pydantic.fields import FieldInfo

from graph.settings import DEVELOPMENT_DEFAULTS, Settings

_SIGNS: Final = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def settings_table() -> str:
    """Return the settings as Markdown: name, default, accepted range and description."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join(["| setting | default | range | |", "|---|---|---|---|", *rows])


def _row(name: str, field: FieldInfo) -> str:
    description = " ".join((field.description or "").split())
    cells = (f"`ROSTER_{name.upper()}`", _default(name, field), _range(field), description)
    return f"| {' | '.join(cells)} |"


def _default(name: str, field: FieldInfo) -> str:
    default = _text(field.default)
    if name not in DEVELOPMENT_DEFAULTS:
        return default
    return f"{default}, in development {_text(DEVELOPMENT_DEFAULTS[name]) or '`off`'}"


def _text(value: Any) -> str:
    match value:
        case None | [] | ():
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case Enum():
            return f"`{value.value}`"
    return f"`{value}`"


def _range(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {bound}"
        for constraint in field.metadata
        for name, sign in _SIGNS.items()
        if (bound := getattr(constraint, name, None)) is not None
    ]
    return ", ".join(bounds)
