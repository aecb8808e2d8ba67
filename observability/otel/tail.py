"""Keeping spans that sampling left out, once it is known that they failed or took longest.

The decision is each span's own, made when it ends: nothing waits for the rest of its trace. So what is kept has the ids
that it handed on, but the spans around it are there only if they were sampled or kept as well. What makes an operation
slow or fail does so to those it is part of, which is why mostly a whole branch is kept.

Source:
    The threshold is a running quantile in one number (Ma, Muthukrishnan and Sandler, "Frugal Streaming for Estimating
    Quantiles", 2013), with steps in proportion to it, so that it follows durations of any size.
"""

import time
from collections.abc import Callable
from typing import Final

from opentelemetry.trace import StatusCode

from parquedb.observability.otel.lean_span import LeanSpan

SLOW_QUANTILE: Final = 0.99
"""Spans that take longer than this share of their like are slow."""

KEPT_PER_S_MAX: Final = 10.0
"""Spans kept per second and process, in the long run; a storm of errors must not undo the sampling."""

KEPT_AT_ONCE_MAX: Final = 100.0
NAMES_MAX: Final = 1000
"""Names with a threshold of their own; spans of further names are kept only when they failed."""

SPANS_MIN: Final = 200
"""Spans of a name before any of them counts as slow."""

KEPT: Final = "parquedb.sampling.kept"
"""The attribute that says why."""

_STEP: Final = 0.05


class Tail:
    """Judges spans that have ended.

    Args:
        now_s: Monotonic seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._thresholds: dict[str, list[float]] = {}
        self._room = KEPT_AT_ONCE_MAX
        self._filled_s = now_s()

    def why_kept(self, span: LeanSpan) -> str | None:
        """Learn from a span's duration; return `error` or `slow` if it is worth keeping, None otherwise."""
        took_s = (span.end_ns - span.start_ns) / 1e9
        failed = span.status[0] is StatusCode.ERROR
        return self.judged(span.template.name, took_s, sampled=span.sampled, failed=failed)

    def judged(self, name: str, took_s: float, *, sampled: bool, failed: bool = False) -> str | None:
        """Do what `why_kept` does, for a span that may not be whole."""
        slow = self._is_slow(name, took_s)
        if sampled:
            return None
        why = "error" if failed else "slow" if slow else None
        return why if why is not None and self._has_room() else None

    def _is_slow(self, name: str, took_s: float) -> bool:
        learned = self._thresholds.get(name)
        if learned is None:
            if len(self._thresholds) < NAMES_MAX:
                self._thresholds[name] = [1.0, max(took_s, 1e-9)]
            return False
        threshold_s = learned[1]
        # While little is known it moves fast, to be near the truth by the time it is used.
        step = max(_STEP, 1.0 - learned[0] / SPANS_MIN)
        slow = took_s > threshold_s
        learned[1] *= 1.0 + step * (SLOW_QUANTILE if slow else SLOW_QUANTILE - 1.0)
        if learned[0] < SPANS_MIN:
            learned[0] += 1.0
            return False
        return slow

    def _has_room(self) -> bool:
        now_s = self._now_s()
        self._room = min(KEPT_AT_ONCE_MAX, self._room + (now_s - self._filled_s) * KEPT_PER_S_MAX)
        self._filled_s = now_s
        if self._room < 1.0:
            return False
        self._room -= 1.0
        return True
