"""The rules for texts that a form can check. The constants are those of the validators."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from db.models import (
    DISPLAY_NAME_LENGTH,
    EMAIL_LENGTH,
    EXTERNAL_ID_LENGTH,
    REASON_LENGTH,
    USERNAME_LENGTH,
)
from users.email_address import EMAIL_PATTERN
from users.idempotency import KEY_LENGTH
from users.identity import USERNAME_MIN_LENGTH, USERNAME_PATTERN


class Normalisation(StrEnum):
    NONE = "NONE"
    TRIMMED_NFC = "TRIMMED_NFC"
    USERNAME = "USERNAME"
    EMAIL = "EMAIL"


@dataclass(frozen=True, slots=True)
class TextRule:
    """`min` and `max` are in code points of the normalised text."""

    min: int
    max: int
    normalisation: Normalisation
    pattern: str | None = None


TEXT_RULES: Final[Mapping[str, TextRule]] = {
    "username": TextRule(
        USERNAME_MIN_LENGTH, USERNAME_LENGTH, Normalisation.USERNAME, USERNAME_PATTERN
    ),
    "email": TextRule(1, EMAIL_LENGTH, Normalisation.EMAIL, EMAIL_PATTERN),
    "display_name": TextRule(1, DISPLAY_NAME_LENGTH, Normalisation.TRIMMED_NFC),
    "external_id": TextRule(1, EXTERNAL_ID_LENGTH, Normalisation.NONE),
    "reason": TextRule(1, REASON_LENGTH, Normalisation.TRIMMED_NFC),
    "idempotency_key": TextRule(1, KEY_LENGTH, Normalisation.NONE),
}
