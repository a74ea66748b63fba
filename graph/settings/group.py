"""The base of a group of settings. `Settings` inherits from all groups."""

from collections.abc import Callable
from typing import Any, Final

from pydantic import AfterValidator, AliasGenerator, BeforeValidator
from pydantic_settings import BaseSettings, SettingsConfigDict

from graph.environment import validation_alias

LOWER: Final = BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given)


class SettingGroup(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="ROSTER_",
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=validation_alias),
        validate_by_name=True,
        use_attribute_docstrings=True,  # `roster settings` prints them
        defer_build=True,  # only `Settings` is used
    )


def accepted_by(check: Callable[[Any], object]) -> AfterValidator:
    """Reject a value for which `check` raises ValueError. A setting that is not set is accepted."""

    def validate(given: Any) -> Any:
        if given is not None:
            check(given)
        return given

    return AfterValidator(validate)
