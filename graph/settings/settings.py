"""Settings: variables with the prefix `ROSTER_` from the environment or from `.env`.

`roster settings` prints a table of them, for docs/operations.md. An invalid value is rejected with
a message that names its variable.
"""

from typing import Any, Final, Self, get_args

from pydantic import SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from graph.auth.issuers import is_loopback
from graph.environment import InvalidSettings, Variables, names_of
from graph.settings.auth import AuthSettings
from graph.settings.database import DatabaseSettings
from graph.settings.errors import line_of
from graph.settings.limits import LimitSettings
from graph.settings.schema import SchemaSettings
from graph.settings.server import Mode, ServerSettings
from graph.settings.values import clean

DEVELOPMENT_DEFAULTS: Final[dict[str, Any]] = {
    "max_connections_per_caller": 10_000,
    "rate_limit": None,
    "max_aliases": 200,
    "drain_period": 0,
    "max_root_fields": 200,
    "introspection": True,
}


class Settings(AuthSettings, SchemaSettings, LimitSettings, DatabaseSettings, ServerSettings):
    """All groups. pydantic lists the fields of the last base first."""

    model_config = SettingsConfigDict(defer_build=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, Variables(settings_cls)

    @field_validator("*", mode="before")  # pydantic runs the last `before` validator first
    @classmethod
    def _value_is_clean(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, str):
            return given
        field = cls.model_fields[info.field_name or ""]
        return clean(given, exact=SecretStr in get_args(field.annotation))

    @model_validator(mode="before")
    @classmethod
    def _with_room_for_a_developer(cls, given: dict[str, Any]) -> dict[str, Any]:
        mode = given.get("mode", Mode.DEVELOPMENT)
        if isinstance(mode, str) and mode.strip().lower() == Mode.DEVELOPMENT:
            return {
                n: v for n, v in DEVELOPMENT_DEFAULTS.items() if not names_of(n) & set(given)
            } | given
        return given

    @model_validator(mode="after")
    def _mode_is_safe(self) -> Self:
        if self.mode is Mode.DEVELOPMENT and not is_loopback(self.host):
            raise InvalidSettings(
                "ROSTER_HOST: development mode does not authenticate, so this must be an address "
                "of this machine alone: 127.0.0.1, ::1 or localhost. ROSTER_MODE=production "
                "accepts any"
            )
        keys_are_meant = self.auth_api_keys and "auth_api_keys" in self.model_fields_set
        if self.mode is Mode.PRODUCTION and not (self.issuers() or keys_are_meant):
            raise InvalidSettings(
                "ROSTER_MODE: production requires authentication: ROSTER_AUTH_ISSUER and its key, "
                "or ROSTER_AUTH_API_KEYS=true for API keys alone"
            )
        return self


def load() -> Settings:
    """Read the settings from the environment. Raises InvalidSettings."""
    try:
        return Settings()
    except ValidationError as error:
        lines = (line_of(e, Settings.model_fields) for e in error.errors())
        raise InvalidSettings("\n".join(lines)) from None
