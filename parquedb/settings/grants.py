"""The settings of access: whether owners ask for grants, and what this process shows them."""

from typing import Any, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from parquedb.access.grants import GRANT_CHARS_MAX
from parquedb.access.permissions import PERMISSIONS_MAX, Permissions
from parquedb.errors import InvalidInputError
from parquedb.settings.groups import SettingsGroup

KEY_CHARS_MIN: Final = 32
KEY_CHARS_MAX: Final = 1024
KEYS_MAX: Final = 8


class GrantSettings(SettingsGroup):
    """Who may do what, as owners enforce it. Pickles without its secrets."""

    required: bool = Field(default=False, description="Whether owners ask every call for a grant.")
    keys: tuple[SecretStr, ...] = Field(
        default=(),
        max_length=KEYS_MAX,
        description="Keys of grants; the first signs, all verify. In the environment separated by commas.",
    )
    grant: SecretStr | None = Field(default=None, description="A grant that this process was given; it needs no key.")
    permissions: tuple[str, ...] | None = Field(
        default=None,
        max_length=PERMISSIONS_MAX,
        description="All that this process lets itself do; in the environment separated by commas.",
    )
    lifetime_s: float = Field(
        default=300, ge=10, le=86_400, description="Seconds for which grants are signed; they are renewed at half time."
    )

    @field_validator("keys", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:
        keys = value.split(",") if isinstance(value, str) else value
        if not isinstance(keys, list | tuple):
            return value
        plain = [key.get_secret_value() if isinstance(key, SecretStr) else key for key in keys]
        if not all(isinstance(key, str) for key in plain):
            raise ValueError("expected texts")
        stripped = [key.strip() for key in plain]
        if not all(KEY_CHARS_MIN <= len(key) <= KEY_CHARS_MAX and "," not in key for key in stripped):
            raise ValueError(f"expected keys of {KEY_CHARS_MIN} to {KEY_CHARS_MAX} characters without commas")
        return tuple(stripped)

    @field_validator("grant")
    @classmethod
    def _check_grant(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not 0 < len(value.get_secret_value()) <= GRANT_CHARS_MAX:
            raise ValueError(f"expected a grant of at most {GRANT_CHARS_MAX} characters")
        return value

    @field_validator("permissions", mode="before")
    @classmethod
    def _split_permissions(cls, value: Any) -> Any:
        entries = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if isinstance(entries, Permissions):
            return entries.entries
        if isinstance(entries, list | tuple | set | frozenset):
            try:
                return Permissions(entries).entries
            except InvalidInputError as error:
                raise ValueError(f"expected permissions: {error}") from None
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.keys and self.grant is not None:
            raise ValueError("expected keys or a grant, got both")
        return self

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the secrets out, as `Settings` does."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "keys": (), "grant": None}}

    def reveal_keys(self) -> tuple[str, ...]:
        """Return the keys as texts, to sign and for an actor of our own."""
        return tuple(key.get_secret_value() for key in self.keys)

    def reveal_grant(self) -> str | None:
        """Return the grant as text, to send it along."""
        return None if self.grant is None else self.grant.get_secret_value()
