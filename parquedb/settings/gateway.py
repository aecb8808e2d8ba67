"""The settings of an HTTP gateway: where it listens, and how much it takes from strangers.

A setting comes from the call's arguments, else from `PARQUEDB_GATEWAY__<NAME>`, else from its default.
"""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from parquedb.settings.access import AccessSettings
from parquedb.settings.database import ENV_DELIMITER, GIB, KIB, MIB, env_name
from parquedb.settings.groups import SettingsGroup, at_most

GATEWAY_ENV_PREFIX: Final = env_name("gateway") + ENV_DELIMITER


class GatewaySettings(SettingsGroup):
    """What a gateway is told. Immutable; every limit holds for each replica by itself."""

    environment: Literal["development", "production"] = Field(
        default="development", description="In production nobody is let in who has not said who he is."
    )
    host: str = Field(default="127.0.0.1", min_length=1, max_length=255, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on; 0 for any free one.")
    replicas: int = Field(default=1, ge=1, le=1000, description="Processes that answer requests.")
    docs: bool = Field(default=True, description="Whether /docs and /openapi.json are shown.")
    console: bool = Field(default=True, description="Whether there is a web console at /console.")

    timeout_s: float = Field(default=30, ge=0.001, le=3600, description="Seconds for a request that names none.")
    timeout_s_max: float = Field(
        default=60, ge=0.001, le=3600, description="The most seconds that a caller may ask for by `Request-Timeout`."
    )
    body_bytes_max: int = Field(default=32 * MIB, ge=KIB, le=GIB, description="Bytes of a body that is read whole.")
    import_bytes_max: int = Field(default=64 * GIB, ge=KIB, le=1024 * GIB, description="Bytes of a streamed import.")
    depth_max: int = Field(
        default=110, ge=4, le=200, description="Levels of nesting of JSON in a body or in the query string."
    )
    filter_values_max: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Values in a filter, an update or a pipeline, all levels."
    )
    page_documents_max: int = Field(default=10_000, ge=1, le=10_000, description="Documents of one page.")
    operations_max: int = Field(default=4096, ge=1, le=100_000, description="Operations of one request.")
    url_bytes_max: int = Field(default=16 * KIB, ge=256, le=MIB, description="Bytes of path and query string.")
    headers_bytes_max: int = Field(
        default=32 * KIB, ge=256, le=MIB, description="Bytes of all header names and values of one request."
    )
    headers_max: int = Field(default=100, ge=1, le=10_000, description="Header lines of one request.")
    requests_max: int = Field(default=512, ge=1, le=100_000, description="Requests that are answered at a time.")
    streams_max: int = Field(
        default=64, ge=1, le=10_000, description="Change feeds, imports and exports at a time, each for itself."
    )
    export_bytes_max: int = Field(default=4 * GIB, ge=KIB, le=1024 * GIB, description="Bytes of one export.")
    stream_bytes_max: int = Field(
        default=64 * MIB, ge=KIB, le=64 * GIB, description="Bytes after which a change feed ends, to be resumed."
    )
    stream_s_max: float = Field(
        default=300, ge=0.05, le=86_400, description="Seconds after which a change feed ends, to be resumed."
    )
    heartbeat_s: float = Field(default=15, ge=0.05, le=300, description="Seconds of silence before a feed says so.")
    stalled_s: float = Field(
        default=60, ge=0.05, le=3600, description="Seconds a stream may stand still because its other side does."
    )
    ready_cache_s: float = Field(default=1, ge=0, le=60, description="Seconds an answer of /ready is given again.")
    ready_timeout_s: float = Field(default=3, ge=0.05, le=60, description="Seconds for each check behind /ready.")
    lag_degraded_s: float = Field(
        default=300, ge=0.1, le=86_400, description="Seconds changes may wait for a flush before /ready says so."
    )
    access: AccessSettings = Field(default_factory=AccessSettings, description="Who may call.")
    shutdown_s: float = Field(default=20, ge=0, le=600, description="Seconds for requests under way when it ends.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        at_most(self, "timeout_s", "timeout_s_max")
        return self


def gateway_env_name(*path: str) -> str:
    """Return the environment variable of a gateway's setting: `gateway_env_name("body_bytes_max")`."""
    # What kind of installation this is concerns more than the gateway.
    return env_name(*path) if path == ("environment",) else env_name("gateway", *path)
