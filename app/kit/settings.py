"""Every setting of the service, from the environment (SHINCHOKU_…), with its meaning."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHINCHOKU_", env_parse_none_str="", frozen=True)

    database_url: str = Field(
        default="sqlite:///shinchoku.db",
        description="Where the data lives: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`",
    )
    read_database_url: str | None = Field(
        default=None,
        description="A standby of that PostgreSQL, which then serves what only reads",
    )
    seed: Path | None = Field(
        default=ROOT / "seed" / "fujimi-h29.txt",
        description="The document that an empty database is filled with at its first start; empty for none",
    )
    pool_size: int = Field(
        default=10,
        ge=1,
        le=500,
        description="Database connections of one worker, and so the requests it serves at once; "
        "on PostgreSQL it needs up to two more",
    )
    busy_timeout: float = Field(
        default=10.0,
        gt=0,
        le=60,
        description="Seconds that a request waits for a free connection or for another writer before it gets a 503",
    )
    statement_timeout: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Seconds that PostgreSQL may take for one statement of a request before it gets a 503; 0 for any",
    )
    max_body_bytes: int = Field(
        default=2_000_000, ge=1_000, description="Largest request body in bytes; a larger one gets a 413"
    )
    max_import_bytes: int = Field(
        default=50_000_000,
        ge=1_000,
        description="Largest file that `POST /imports` takes, in bytes; a larger one gets a 413",
    )
    cors_origins: list[str] = Field(
        default=["*"],
        description='Web sites whose pages may call the API, as a JSON list such as `["https://example.jp"]`',
    )
    publisher: str | None = Field(
        default=None,
        max_length=200,
        description="Name of the organisation that runs the service, told on its pages and in `/catalog.jsonld`",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level of what is logged: debug, info, warning or error"
    )

    @field_validator("database_url")
    @classmethod
    def names_a_database(cls, address: str) -> str:
        if not re.match(r"sqlite:///[^:]|postgresql(\+psycopg)?://", address) or not _readable(address):
            raise ValueError("write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
        return address

    @field_validator("read_database_url")
    @classmethod
    def names_a_standby(cls, address: str | None) -> str | None:
        if address and not (re.match(r"postgresql(\+psycopg)?://", address) and _readable(address)):
            raise ValueError("write postgresql://USER:PASSWORD@HOST/NAME")
        return address


def _readable(address: str) -> bool:
    try:
        make_url(address)
    except (ArgumentError, ValueError):
        return False
    return True
