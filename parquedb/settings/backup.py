"""The settings of backups: how to reach the store they lie in, and how many objects move at a time."""

from typing import Any

from pydantic import Field, SecretStr, field_validator

from parquedb.settings.groups import SettingsGroup, checked_endpoint


class BackupSettings(SettingsGroup):
    """Backups: the store they lie in, where it is reached in another way than the database's, and parallelism."""

    endpoint_url: str | None = Field(
        default=None, description="Address of the S3-compatible server of backups; the database's when absent."
    )
    key: str | None = Field(
        default=None, repr=False, description="Access key id for backups; the database's when absent."
    )
    secret: SecretStr | None = Field(default=None, description="Secret access key for backups; goes with key.")
    region: str | None = Field(
        default=None, min_length=1, max_length=64, description="Region of backups; the database's when absent."
    )
    parallel: int = Field(
        default=8, ge=1, le=64, description="Objects on their way at a time; each takes 8 MiB of memory at most."
    )

    _check_endpoint = field_validator("endpoint_url")(checked_endpoint)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the secret out, as `Settings` does."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "secret": None}}
