"""What clients may ask: introspection, federation, persisted documents."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import model_validator

from graph.documents.persisted import PersistedMode, read_manifest
from graph.environment import InvalidSettings, set_variable
from graph.settings.group import LOWER, SettingGroup, accepted_by
from users.identity import UsernameEmails


class SchemaSettings(SettingGroup):
    username_emails: Annotated[UsernameEmails, LOWER] = UsernameEmails.OWN
    """Which usernames may be an e-mail address: the user's `own`, `any` or `none`. A service that
    accepts either for authentication could otherwise confuse two users.
    """
    introspection: bool = False
    """Whether introspection is enabled, and similar names are suggested."""
    federation: bool = False
    """Whether the schema is a subgraph of Apollo Federation 2. `_service` does not depend on
    `ROSTER_INTROSPECTION`. See [Federation](federation.md).
    """
    persisted_documents: Annotated[PersistedMode, LOWER] = PersistedMode.OFF
    """`on` accepts only documents of the manifest, by `documentId`. `log` logs other documents."""
    persisted_documents_file: Annotated[Path | None, accepted_by(read_manifest)] = None
    """The manifest of persisted documents: JSON as written by graphql-codegen, Relay or Apollo."""

    @model_validator(mode="after")
    def _manifest_is_named(self) -> Self:
        persisted = self.persisted_documents is not PersistedMode.OFF
        if persisted and self.persisted_documents_file is None:
            name = set_variable("persisted_documents")
            raise InvalidSettings(f"{name}: needs ROSTER_PERSISTED_DOCUMENTS_FILE")
        return self

    def manifest(self) -> dict[str, str]:
        return (
            {}
            if self.persisted_documents_file is None
            else read_manifest(self.persisted_documents_file)
        )
