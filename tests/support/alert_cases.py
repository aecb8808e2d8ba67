"""For each alert, series that cross its threshold and come back, and when that must fire it: input of promtool.

Time runs in steps of `STEP_S`. Each case is `QUIET_S` of what must not fire, just below the threshold, then `BAD_S` of
what must, just above it, then quiet again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

STEP_S = 15
QUIET_S = 20 * 60
BAD_S = 20 * 60
LAST_BAD_S = QUIET_S + BAD_S - STEP_S
PHASES = (QUIET_S // STEP_S, BAD_S // STEP_S, QUIET_S // STEP_S)
"""Steps of quiet, bad and quiet again."""

BOUNDS = ("0.001", "0.005", "0.01", "0.05", "0.1", "0.2", "0.5", "1.0", "2.0", "5.0", "10.0", "+Inf")
Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """One alert.

    Attributes:
        alert: Its name.
        series: What Prometheus holds.
        labels: Of the alert, without `alertname` and `severity`.
        severity: Of the alert.
        true_s: First second, after the quiet ones, at which the condition holds.
        for_s: How long it has to hold.
        resolved_s: Seconds after the last bad ones by which it must have ended.
        summary: As rendered, once firing.
        description: The same.
    """

    alert: str
    severity: str
    labels: dict[str, str]
    series: Sequence[Series]
    true_s: int
    for_s: int
    resolved_s: int
    summary: str
    description: str

    def promtool_tests(self, rules: str, runbook_url: str) -> dict[str, Any]:
        """Return a file for `promtool test rules`; `runbook_url` is where the alert leads."""
        true_s = QUIET_S + self.true_s
        fires_s = true_s + self.for_s
        moments = {
            true_s - STEP_S: None,
            true_s: "pending" if self.for_s else "firing",
            fires_s - STEP_S: "pending" if self.for_s else None,
            fires_s: "firing",
            LAST_BAD_S: "firing",
            LAST_BAD_S + self.resolved_s: None,
            2 * QUIET_S + BAD_S - STEP_S: None,
        }
        return {
            "rule_files": [rules],
            "evaluation_interval": f"{STEP_S}s",
            "group_eval_order": ["parquedb-rates", "parquedb-operations", "parquedb-owners", "parquedb-targets"],
            "tests": [
                {
                    "interval": f"{STEP_S}s",
                    "input_series": list(self.series),
                    "promql_expr_test": [self._state(moment_s, state) for moment_s, state in moments.items()],
                    "alert_rule_test": [self._words(runbook_url)],
                }
            ],
        }

    def _state(self, moment_s: int, state: str | None) -> dict[str, Any]:
        labels = {"alertname": self.alert, "severity": self.severity, **self.labels, "alertstate": state}
        sample = {"labels": f"ALERTS{{{_selector(labels)}}}", "value": 1}
        return {
            "expr": f'ALERTS{{alertname="{self.alert}"}}',
            "eval_time": f"{moment_s}s",
            "exp_samples": [sample] if state else [],
        }

    def _words(self, runbook_url: str) -> dict[str, Any]:
        annotations = {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": runbook_url,
        }
        alert = {"exp_labels": {"severity": self.severity, **self.labels}, "exp_annotations": annotations}
        return {"eval_time": f"{LAST_BAD_S}s", "alertname": self.alert, "exp_alerts": [alert]}


def _selector(labels: dict[str, Any]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def gauge(name: str, quiet: float | None, bad: float | None, *, lapse_every: int = 0, **labels: str) -> Series:
    """Make a series with one value in each phase; None is no sample.

    Args:
        name: Of the metric.
        quiet: The value in the quiet phases.
        bad: The value in the bad one.
        lapse_every: Steps of the bad phase after each of which one has the quiet value; 0 for none.
        labels: Besides `job`.
    """
    values = [value for value, steps in zip((quiet, bad, quiet), PHASES, strict=True) for _ in range(steps)]
    if lapse_every:
        for step in range(PHASES[0] + lapse_every, PHASES[0] + PHASES[1], lapse_every + 1):
            values[step] = quiet
    words = ["_" if value is None else f"{value:g}" for value in values]
    return {"series": f"{name}{{{_selector({'job': 'parquedb', **labels})}}}", "values": " ".join(words)}


def counter(name: str, quiet: float, bad: float, **labels: str) -> Series:
    """Make a counter that grows by so much in each step of each phase."""
    total, words = 0.0, []
    for growth, steps in zip((quiet, bad, quiet), PHASES, strict=True):
        for _ in range(steps):
            words.append(f"{total:.10g}")
            total += growth
    return {"series": f"{name}{{{_selector({'job': 'parquedb', **labels})}}}", "values": " ".join(words)}


def events(name: str, quiet_every_s: int, bad_every_s: int, **labels: str) -> Series:
    """Make a counter of single events, one every so many seconds."""
    total, words = 0, []
    for every_s, steps in zip((quiet_every_s, bad_every_s, quiet_every_s), PHASES, strict=True):
        for step in range(steps):
            total += step * STEP_S % every_s == 0
            words.append(str(total))
    return {"series": f"{name}{{{_selector({'job': 'parquedb', **labels})}}}", "values": " ".join(words)}


def histogram(name: str, bound: str, quiet: float, bad: float, **labels: str) -> list[Series]:
    """Make the buckets of 100 observations a step, of which so many lie within `bound`, the rest above it."""
    place = BOUNDS.index(bound)
    return [
        counter(
            f"{name}_bucket",
            0 if at < place else quiet if at == place else 100,
            0 if at < place else bad if at == place else 100,
            **labels,
            le=le,
        )
        for at, le in enumerate(BOUNDS)
    ]
