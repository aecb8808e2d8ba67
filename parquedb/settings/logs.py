"""The settings of logs: how much, in which form, what is hidden, and what counts as slow."""

import re
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LogFormat = Literal["console", "json"]

_LOGGER: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_FIELD: Final = re.compile(r"[\w$-]{1,200}")


class LogSettings(BaseModel):
    """What is logged and how, by owners and by `configure_logging`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, defer_build=True
    )

    log_level: LogLevel = Field(default="INFO", description="Least severe level that is logged.")
    # Pairs, for settings are keys of dicts. A dict is taken as well.
    log_levels: tuple[tuple[str, LogLevel], ...] = Field(
        default=(),
        max_length=100,
        description='Levels of parts of the tree; in the environment as "storage=DEBUG,actors.engine=WARNING".',
    )
    log_format: LogFormat = Field(default="console", description="Lines for people, or one JSON object per line.")
    log_redact: tuple[str, ...] = Field(
        default=(),
        max_length=1000,
        description="Fields of documents whose values are never logged; in the environment separated by commas.",
    )
    log_slow_s: float = Field(
        default=1.0, ge=0.001, le=3600, description="Seconds from which an operation is logged as slow."
    )
    log_repeats_max: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        description="Records of one message that are logged within `log_repeats_s`; the others are counted.",
    )
    log_repeats_s: float = Field(
        default=10.0, ge=0.1, le=3600, description="Seconds after which the counted ones are told as one line."
    )

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: Any, info: Any) -> Any:
        if not isinstance(value, str):
            return value
        return value.upper() if info.field_name == "log_level" else value.lower()

    @field_validator("log_levels", mode="before")
    @classmethod
    def _split_levels(cls, value: Any) -> Any:
        if isinstance(value, str):
            parts = [part.partition("=") for part in value.split(",") if part.strip()]
            value = {name.strip(): level.strip() for name, _, level in parts}
        if not isinstance(value, dict):
            return value
        for name, level in value.items():
            if not (isinstance(name, str) and _LOGGER.fullmatch(name) and isinstance(level, str)):
                raise ValueError('expected levels by names of loggers, such as "storage=DEBUG"')
        return tuple((name, level.upper()) for name, level in value.items())

    @field_validator("log_redact", mode="before")
    @classmethod
    def _split_fields(cls, value: Any) -> Any:
        fields = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if isinstance(fields, list | tuple):
            for field in fields:
                if not (isinstance(field, str) and _FIELD.fullmatch(field)):
                    raise ValueError("expected plain names of fields, without dots; they are hidden at any depth")
        return fields
