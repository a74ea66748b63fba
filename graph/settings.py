"""Settings: `ROSTER_` in the environment or in `.env`; each stands in the README."""

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Self

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.engine import Database
from db.url import parse_url


class Mode(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ROSTER_", env_file=".env", extra="ignore")

    mode: Mode = Mode.DEVELOPMENT
    database_url: Annotated[
        str, Field(validation_alias=AliasChoices("ROSTER_DATABASE_URL", "DATABASE_URL"))
    ] = "sqlite:///./roster.db"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    pool_timeout: Annotated[float, Field(gt=0, le=600)] = 30
    pool_pre_ping: bool = True
    statement_timeout: Annotated[float, Field(gt=0, le=3600)] = 30
    socket_init_timeout: Annotated[float, Field(gt=0, le=600)] = 8
    socket_operations: Annotated[int, Field(ge=1, le=10_000)] = 100
    sockets_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    send_timeout: Annotated[float, Field(gt=0, le=600)] = 10
    log_format: Annotated[str, Field(pattern="^(text|json)$")] = "text"

    @field_validator("database_url")
    @classmethod
    def _database_is_one_of_ours(cls, url: str) -> str:
        parse_url(url)
        return url

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> Self:
        if self.mode is Mode.PRODUCTION:
            raise ValueError(
                "production needs a way to verify tokens, and this version has none yet"
            )
        if not _is_loopback(self.host):
            raise ValueError(
                f"development mode asks nobody to sign in, so {self.host} must be 127.0.0.1"
            )
        return self

    def database(self) -> Database:
        return Database(
            self.database_url,
            pool_size=self.pool_size,
            pool_timeout=self.pool_timeout,
            pool_pre_ping=self.pool_pre_ping,
            statement_timeout=self.statement_timeout,
        )


class WrongSettings(Exception):
    """One line for each wrong setting, and never its value: it may hold a password."""


def load() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        raise WrongSettings("\n".join(_line(e) for e in error.errors())) from None


def _line(error: object) -> str:
    assert isinstance(error, dict)
    name = "_".join(str(part) for part in error["loc"]).upper().removeprefix("ROSTER_")
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"ROSTER_{name}: {message}" if name else message


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
