"""The settings of one store: deadlines, repeats, breakers, a replica to read from, connections."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from parquedb.settings.groups import SettingsGroup, at_most, checked_endpoint, checked_url


class StorageSettings(SettingsGroup):
    """One store: deadlines, repeats, breakers, a replica to read from, connections."""

    timeout_s: float = Field(default=10, ge=0.001, le=600, description="Seconds for one attempt.")
    retry_attempts_max: int = Field(default=4, ge=1, le=20, description="Attempts in all, the first included.")
    retry_base_s: float = Field(
        default=0.05,
        ge=0,
        le=10,
        description="Upper end of the random wait before the first repeat, seconds; it doubles with each.",
    )
    retry_max_s: float = Field(
        default=2.0, ge=0, le=60, description="Upper end of the random wait before any repeat, seconds."
    )
    retry_total_s: float | None = Field(
        default=None,
        ge=0.001,
        le=3600,
        description="Seconds for all attempts and waits of one call; twice timeout_s when absent.",
    )
    retry_budget_ratio: float = Field(default=0.2, ge=0, le=1, description="Repeats per first attempt over time.")
    breaker_failures: int = Field(default=5, ge=1, le=10_000, description="Failures in a row that open the circuit.")
    breaker_failure_rate: float = Field(
        default=0.5, gt=0, le=1, description="Share of failed calls in the window that opens the circuit."
    )
    breaker_calls_min: int = Field(
        default=20, ge=1, le=100_000, description="Calls that must be in the window before shares count."
    )
    breaker_window_s: float = Field(
        default=60, ge=0.1, le=3600, description="Seconds that the window of shares looks back."
    )
    breaker_slow_call_s: float | None = Field(
        default=None, ge=0.001, le=600, description="Seconds from which a call is slow; slowness is fine when absent."
    )
    breaker_slow_call_rate: float = Field(
        default=1.0, gt=0, le=1, description="Share of slow calls in the window that opens the circuit."
    )
    breaker_open_s: float = Field(
        default=30, ge=0.001, le=3600, description="Seconds before an open circuit admits a probe."
    )
    breaker_successes: int = Field(default=2, ge=1, le=1000, description="Successful probes that close the circuit.")
    breaker_probes_max: int = Field(default=2, ge=1, le=1000, description="Probes at the same time.")
    breaker_stat_bypass: bool = Field(
        default=False, description="Whether questions for existence and size pass an open circuit, uncounted."
    )
    read_fallback_url: str | None = Field(
        default=None, description="Where a replica is that is read while the circuit of reads is open."
    )
    read_fallback_endpoint_url: str | None = Field(
        default=None, description="Address of the replica's S3 server; the database's when absent."
    )
    read_fallback_region: str | None = Field(
        default=None, min_length=1, max_length=64, description="Region of the replica; the database's when absent."
    )
    pool_connections: int = Field(default=64, ge=1, le=4096, description="Connections to the store.")

    _check_url = field_validator("read_fallback_url", mode="before")(checked_url)
    _check_endpoint = field_validator("read_fallback_endpoint_url")(checked_endpoint)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        at_most(self, "retry_base_s", "retry_max_s")
        return self

    @property
    def total_s(self) -> float:
        """Seconds for all attempts and waits of one call that brings no limit of its own."""
        return 2 * self.timeout_s if self.retry_total_s is None else self.retry_total_s
