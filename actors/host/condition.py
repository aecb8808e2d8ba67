"""How an owner is: healthy, degraded or unhealthy, and for which reasons."""

from collections.abc import Mapping
from typing import Any, Final

from parquedb.settings import EngineSettings

USABLE: Final = frozenset({"idle", "opening", "open", "closed"})
_NEARLY_FULL: Final = 0.9
_FLUSHES_MISSED: Final = 3
_ENDED: Final = {
    "fenced": "fenced: another owner has taken over the namespace",
    "failed": "failed: the owner has stopped after an error nobody foresaw, or could not open",
}


def condition(
    state: str,
    lag: Mapping[str, Any],
    circuits: Mapping[str, str],
    settings: EngineSettings,
    changing: tuple[str, float],
) -> tuple[str, list[str]]:
    """Return the status and what it follows from.

    Args:
        state: Of the engine.
        lag: What `statistics.lag` returns; empty while there is no engine.
        circuits: State of each circuit, by name.
        settings: What counts as late and as full.
        changing: What the host is doing to the engine (`opening`, `closing`, or "") and for how many seconds.

    Returns:
        `healthy` (nothing to report), `degraded` (it serves, or will, but not as it should) or `unhealthy` (it does not
        serve), and one sentence for each reason.
    """
    if state not in USABLE:
        return "unhealthy", [_ENDED.get(state, state)]
    doing, doing_s = changing
    reasons = [f"circuit {name} is {found}" for name, found in circuits.items() if found.lower() != "closed"]
    if doing_s > settings.degraded_after_s:
        reasons.append(f"{doing} for {doing_s:.1f} s")
    if lag:
        reasons += _late(lag, settings) + _full(lag, settings)
    return ("degraded" if reasons else "healthy"), reasons


def _late(lag: Mapping[str, Any], settings: EngineSettings) -> list[str]:
    reasons = []
    if lag["commit_pending_s"] > settings.degraded_after_s:
        reasons.append(f"a commit has been pending for {lag['commit_pending_s']:.1f} s")
    if lag["queue_age_s"] > settings.degraded_after_s:
        reasons.append(f"the oldest waiting write is {lag['queue_age_s']:.1f} s old")
    if lag["unflushed_s"] > _FLUSHES_MISSED * settings.flush_interval_s + settings.degraded_after_s:
        reasons.append(f"changes have waited for a flush for {lag['unflushed_s']:.0f} s")
    if lag["last_error"] is not None:
        reasons.append(f"the last checkpoint or merge failed: {lag['last_error']}")
    return reasons


def _full(lag: Mapping[str, Any], settings: EngineSettings) -> list[str]:
    bounds = (
        ("queued_ops", settings.queue_ops_max, "writes"),
        ("queued_bytes", settings.queue_bytes_max, "bytes of writes"),
        ("queries_waiting", settings.queries_waiting_max, "queries"),
    )
    return [
        f"the queue is full: {lag[name]} of {most} {what}"
        for name, most, what in bounds
        if lag[name] and lag[name] >= _NEARLY_FULL * most
    ]
