"""Reading settings from `PARQUEDB_*` environment variables."""

from collections.abc import Mapping
from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from parquedb.settings import ENV_DELIMITER, ENV_PREFIX, Settings

__all__ = ["SettingsError", "from_environment"]


class _EnvironmentSettings(Settings, BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        env_ignore_empty=True,
        # Off, so that a malformed value is a validation error like any other and can be reported without its text.
        enable_decoding=False,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


def from_environment(given: Mapping[str, Any]) -> Settings:
    """Return the settings: those `given`, the others from the environment, else defaults.

    Raises:
        pydantic.ValidationError: a value cannot be used.
        SettingsError: the environment cannot be read.
    """
    read = _EnvironmentSettings(**given)
    # Of the plain class, so that whoever unpickles it needs no more than that; checked already.
    values = {name: getattr(read, name) for name in Settings.model_fields}
    return Settings.model_construct(read.model_fields_set, **values)
