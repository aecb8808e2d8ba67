"""Every number a user may turn, with its unit, its bounds and its environment variable.

A setting comes from the call's arguments, else from the environment, else from its default. The environment variable is
`PARQUEDB_` plus the name; one of a group has two underscores: `PARQUEDB_ENGINE__READ_LEASE_S=0.5`.
"""

import re
from typing import Any, Final, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from parquedb.settings.backup import BackupSettings
from parquedb.settings.grants import GrantSettings
from parquedb.settings.groups import SettingsGroup, at_most, checked_endpoint, checked_url, received
from parquedb.settings.http import HttpSettings, checked_gateway_url, is_gateway_url
from parquedb.settings.logs import LogSettings
from parquedb.settings.storage import StorageSettings

__all__ = [
    "GIB",
    "KIB",
    "MIB",
    "BackupSettings",
    "ClientSettings",
    "EngineSettings",
    "GrantSettings",
    "HttpSettings",
    "Settings",
    "StorageSettings",
    "env_name",
]

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

ENV_PREFIX: Final = "PARQUEDB_"
ENV_DELIMITER: Final = "__"

# Neither commas nor the "!" and "in(...)" of Ray's selectors: owners name the nodes that they want.
_LATER_GROUPS = ("backup",)
"""Groups that the first versions which take each other's pickles did not have; every new one belongs here."""

_LABEL = re.compile(r"[A-Za-z0-9]([\w./-]{0,251}[A-Za-z0-9])?")
_HOOK = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class EngineSettings(SettingsGroup):
    """One namespace's owner: what it queues, groups, flushes, keeps and remembers."""

    read_lease_s: float = Field(
        default=0.2,
        ge=0,
        le=30,
        description="Seconds for which a confirmation of ownership vouches for reads; 0 asks each time.",
    )
    queue_ops_max: int = Field(default=20_000, ge=1, le=1_000_000, description="Operations waiting or running.")
    queue_bytes_max: int = Field(
        default=64 * MIB, ge=KIB, le=4 * GIB, description="Bytes of operations waiting or running."
    )
    queue_age_max_s: float = Field(
        default=10,
        ge=0.001,
        le=3600,
        description="Age of the oldest waiting write from which another one is refused, seconds.",
    )
    group_ops_max: int = Field(default=4096, ge=1, le=100_000, description="Writes in one commit.")
    group_bytes_max: int = Field(
        default=8 * MIB, ge=KIB, le=64 * MIB, description="Bytes after which a commit takes no more."
    )
    flush_rows: int = Field(default=50_000, ge=1, le=10_000_000, description="Changed documents that start a flush.")
    flush_bytes: int = Field(
        default=64 * MIB, ge=KIB, le=4 * GIB, description="Bytes of changed documents that start a flush."
    )
    flush_interval_s: float = Field(
        default=60, ge=0.01, le=86_400, description="Seconds a change waits for a flush at most."
    )
    compaction_interval_s: float = Field(
        default=5, ge=0.01, le=86_400, description="Seconds between looks for files worth merging."
    )
    compaction_files: int = Field(default=4, ge=2, le=64, description="Files of about one size that are merged.")
    compaction_dead_share: float = Field(
        default=0.3, gt=0, le=1, description="Share of dead rows above which a file is rewritten."
    )
    compaction_file_bytes: int = Field(
        default=128 * MIB, ge=KIB, le=512 * MIB, description="Size that merged files shall have, bytes."
    )
    compaction_bytes_max: int = Field(
        default=256 * MIB, ge=KIB, le=64 * GIB, description="Bytes of files merged at once."
    )
    checkpoint_entries_max: int = Field(
        default=128,
        ge=1,
        le=200,
        description="Log entries that start the next checkpoint; at four times as many writes wait.",
    )
    checkpoint_bytes_max: int = Field(
        default=4 * MIB, ge=KIB, le=64 * MIB, description="Bytes of log entries that start the next checkpoint."
    )
    log_grace_s: float = Field(
        default=120,
        ge=1,
        le=86_400,
        description="Seconds a superseded log entry is kept for those who are still reading it.",
    )
    snapshot_grace_s: float = Field(
        default=3600,
        ge=1,
        le=2_592_000,
        description="Seconds the files of a superseded state are kept for its readers.",
    )
    history_window_s: float = Field(
        default=7 * 86_400,
        ge=0,
        le=10 * 365 * 86_400,
        description="Seconds that superseded changes are kept for history, change feeds and as_of.",
    )
    history_bytes_max: int = Field(
        default=8 * GIB,
        ge=0,
        le=64 * GIB,
        description="Bytes of superseded changes that are kept; the oldest leave first.",
    )
    collect_interval_s: float = Field(
        default=60, ge=0.01, le=86_400, description="Seconds between removals of what is superseded."
    )
    idle_timeout_s: float = Field(
        default=300, ge=0.1, le=2_592_000, description="Seconds without calls before the owner leaves."
    )
    session_window: int = Field(
        default=256, ge=1, le=4096, description="Writes of one client session that may be unanswered at a time."
    )
    sessions_max: int = Field(default=1000, ge=1, le=100_000, description="Client sessions remembered.")
    session_idle_s: float = Field(
        default=600, ge=1, le=86_400, description="Seconds an idle session is remembered at least."
    )
    request_ids_max: int = Field(
        default=100_000, ge=1, le=10_000_000, description="Request ids given by callers, remembered."
    )
    request_id_window_s: float = Field(
        default=600,
        ge=1,
        le=86_400,
        description="Seconds for which a request id given by a caller is remembered at most.",
    )
    document_bytes_max: int = Field(
        default=16 * MIB, ge=KIB, le=256 * MIB, description="Encoded size of one document, bytes."
    )
    depth_max: int = Field(
        default=100,
        ge=1,
        le=200,
        description="Levels of nesting of a document or filter; the document itself is the first.",
    )
    cache_bytes_max: int = Field(
        default=256 * MIB,
        ge=0,
        le=1024 * GIB,
        description="Bytes of stored files that are kept in memory; 0 keeps none.",
    )
    document_cache_bytes_max: int = Field(
        default=64 * MIB,
        ge=0,
        le=1024 * GIB,
        description="Bytes of documents that are kept ready to be answered; 0 keeps none.",
    )
    calls_bytes_max: int = Field(
        default=256 * MIB, ge=KIB, le=16 * GIB, description="Bytes of calls that have arrived and have no answer yet."
    )
    queries_max: int = Field(default=16, ge=1, le=1000, description="Queries that run at once.")
    queries_waiting_max: int = Field(default=1000, ge=0, le=100_000, description="Queries that wait for their turn.")
    receipts_bytes_max: int = Field(
        default=64 * MIB,
        ge=0,
        le=4 * GIB,
        description="Bytes of whole answers remembered for repeats; older ones keep less.",
    )
    degraded_after_s: float = Field(
        default=5, ge=0.001, le=3600, description="Seconds a commit or a waiting write may take before health says so."
    )
    many_documents_max: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Documents that one write by filter may change."
    )
    query_memory_max: int = Field(
        default=100 * MIB, ge=64 * KIB, le=64 * GIB, description="Bytes one query or write may read and hold."
    )
    request_timeout_s: float = Field(
        default=30, ge=0.001, le=3600, description="Seconds a call may take that sets no limit itself."
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        at_most(self, "group_ops_max", "queue_ops_max")
        # Otherwise a legal document could never be admitted.
        at_most(self, "document_bytes_max", "queue_bytes_max")
        at_most(self, "log_grace_s", "snapshot_grace_s")
        at_most(self, "compaction_file_bytes", "compaction_bytes_max")
        return self


class ClientSettings(SettingsGroup):
    """One process that calls owners."""

    timeout_s: float = Field(default=30, ge=0.001, le=3600, description="Seconds for a call, its repeats included.")
    calls_in_flight_max: int = Field(default=2, ge=1, le=64, description="Packed calls to one owner without an answer.")
    batch_ops_max: int = Field(default=2048, ge=1, le=100_000, description="Operations packed into one call.")
    batch_bytes_max: int = Field(
        default=4 * MIB, ge=KIB, le=256 * MIB, description="Bytes after which a call takes no more."
    )
    queue_ops_max: int = Field(
        default=50_000, ge=1, le=1_000_000, description="Operations that may wait here for a call to one owner."
    )
    queue_bytes_max: int = Field(
        default=64 * MIB,
        ge=KIB,
        le=4 * GIB,
        description="Bytes of operations that may wait here for a call to one owner.",
    )
    queue_age_max_s: float = Field(
        default=5,
        ge=0.001,
        le=3600,
        description="Age of the oldest of them from which another one is refused, seconds.",
    )
    pending_calls_max: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Calls of one process to one owner that have no answer yet."
    )


class Settings(LogSettings):
    """Everything a connection is told. Immutable; pickles whole, so treat its pickles as secrets.

    Use `parquedb.load_settings`, which reads the environment and whose errors name the variable at fault.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, defer_build=True
    )

    url: str = Field(description="Where the database is: a path, file://, s3://, memory://, or https:// of a gateway.")
    endpoint_url: str | None = Field(default=None, description="Address of an S3-compatible server; AWS when absent.")
    key: str | None = Field(
        default=None, repr=False, description="Access key id; the environment's AWS credentials when absent."
    )
    secret: SecretStr | None = Field(default=None, description="Secret access key that belongs to `key`.")
    token: SecretStr | None = Field(default=None, description="Bearer token for a gateway.")
    api_key: SecretStr | None = Field(default=None, description="API key for a gateway.")
    region: str = Field(
        default="us-east-1", min_length=1, max_length=64, description="Region that S3 requests are signed for."
    )
    ray_address: str | None = Field(
        default=None, description='Ray cluster to join, such as "auto"; one is started when absent.'
    )
    ray_namespace: str = Field(
        default="parquedb", min_length=1, max_length=200, description="Ray namespace of the owners."
    )
    # Pairs, for settings are keys of dicts. A dict is taken as well.
    owner_labels: tuple[tuple[str, str], ...] = Field(
        default=(),
        max_length=16,
        description='Labels of the Ray nodes that owners may run on, as "role=owners,zone=a"; any node when absent.',
    )
    hooks: tuple[str, ...] = Field(
        default=(), max_length=100, description='Hooks as "module:attribute"; in the environment separated by commas.'
    )
    metrics: bool = Field(default=True, description="Whether operations are counted, for `db.metrics()`.")
    worker_logs: str | None = Field(
        default=None, description="Where every process stores what it logs, a URL of its own; nowhere when absent."
    )
    worker_logs_upkeep_s: float = Field(
        default=600,
        ge=0,
        le=30 * 86_400,
        description="Seconds between turns in which one of them merges small files and drops old rows; 0: none does.",
    )
    worker_logs_keep_s: float = Field(
        default=30 * 86_400,
        ge=0,
        le=100 * 365 * 86_400,
        description="Seconds that what is stored there is kept at least; 0: for ever.",
    )
    engine: EngineSettings = Field(default_factory=EngineSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    client: ClientSettings = Field(default_factory=ClientSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    access: GrantSettings = Field(default_factory=GrantSettings)
    backup: BackupSettings = Field(default_factory=BackupSettings)

    _check_logs = field_validator("worker_logs", mode="before")(checked_url)

    @field_validator("url", mode="before")
    @classmethod
    def _check_place(cls, value: Any) -> Any:
        return checked_gateway_url(value) if isinstance(value, str) and is_gateway_url(value) else checked_url(value)

    @property
    def is_gateway(self) -> bool:
        """Whether the database is behind an HTTP gateway."""
        return is_gateway_url(self.url)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the secrets out: a pickle is copied, stored and logged by programs that know nothing of secrets."""
        state = super().__getstate__()
        values = {**state["__dict__"], "secret": None, "token": None, "api_key": None}
        # An owner of an earlier version lacks the class; one of this version or a later puts the default in.
        for name in _LATER_GROUPS:
            if values[name] == type(values[name])():
                del values[name]
        return {**state, "__dict__": values}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take a pickle, also of another version."""
        super().__setstate__(received(type(self), state))

    def reveal_secret(self) -> str | None:
        """Return the secret as text, to hand it to a store or to an actor of our own."""
        return None if self.secret is None else self.secret.get_secret_value()

    def with_secret(self, secret: str | None) -> Self:
        """Return these settings with a secret put (back) in; unchanged for None."""
        return self if secret is None else self.model_copy(update={"secret": SecretStr(secret)})

    _check_endpoint = field_validator("endpoint_url")(checked_endpoint)

    @field_validator("owner_labels", mode="before")
    @classmethod
    def _split_labels(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = dict(part.strip().partition("=")[::2] for part in value.split(",") if part.strip())
        if not isinstance(value, dict):
            return value
        for name, wanted in value.items():
            if not all(isinstance(text, str) and _LABEL.fullmatch(text) for text in (name, wanted)):
                raise ValueError('expected labels of nodes and their values, such as "role=owners"')
        return tuple(value.items())

    @field_validator("hooks", mode="before")
    @classmethod
    def _split_hooks(cls, value: Any) -> Any:
        hooks = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if isinstance(hooks, list | tuple):
            for hook in hooks:
                if not (isinstance(hook, str) and _HOOK.fullmatch(hook)):
                    raise ValueError('expected names of the form "module:attribute"')
        return hooks


def env_name(*path: str) -> str:
    """Return the environment variable of a setting: `env_name("engine", "flush_rows")`."""
    # A position inside a list (hooks) has no variable of its own.
    return ENV_PREFIX + ENV_DELIMITER.join(part.upper() for part in path if not part.isdigit())
