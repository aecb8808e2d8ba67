"""Noticing that a model behaves unlike it did: slower, dearer, wordier, failing more often."""

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import Meter

from parquedb.clock import Clock, SystemClock
from parquedb.errors import InvalidInputError
from parquedb.observability.ai.events import AIAnomalyContext, AnomalyMeasure
from parquedb.observability.ai.request import AIRequest, Cost
from parquedb.observability.hooks import HookRegistry, global_hook_registry

MODELS_MAX: Final = 1_000
"""Models that are watched; the one that was not used for longest makes room."""

WINDOW_MAX: Final = 100_000

_SAMPLES_MIN: Final = 2
_RECENT: Final = 20


@dataclass(frozen=True, slots=True)
class AnomalySettings:
    """When something is unlike before.

    Attributes:
        window: Requests of a model that are remembered; the sliding window that others are compared with.
        samples_min: Of these at least so many, before anything is called unlike.
        deviations: Standard deviations above the mean that are too many.
        spread_min: Least standard deviation that is believed, as a part of the mean: without it, a model that always
            took the same would be unlike itself at the smallest change.
        error_rate_rise: How far the error rate of the latest 20 requests must lie above that of those before, 0 to 1.
        cool_down_s: Seconds after an event in which the same model and measure cause no other.
    """

    window: int = 500
    samples_min: int = 50
    deviations: float = 4.0
    spread_min: float = 0.1
    error_rate_rise: float = 0.3
    cool_down_s: float = 300.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInputError: one is out of range.
        """
        fine = (
            _SAMPLES_MIN <= self.samples_min <= self.window <= WINDOW_MAX
            and self.deviations > 0
            and self.spread_min > 0
        )
        if not (fine and 0 < self.error_rate_rise <= 1 and self.cool_down_s >= 0):
            expected = (
                f"{_SAMPLES_MIN} <= samples_min <= window <= {WINDOW_MAX:,}, positive numbers, error_rate_rise up to 1"
            )
            raise InvalidInputError(f"anomaly settings: expected {expected}; got {self!r}", field="settings")


@dataclass(slots=True)
class _Sliding:
    """The last values of one measure with their mean and spread.

    Sums are kept exactly, as integers of a billionth: floats would drift as values come and go.
    """

    size: int
    values: deque[int] = field(default_factory=deque)
    total: int = 0
    squares: int = 0

    def add(self, value: float) -> None:
        unit = round(value * 1e9)
        self.values.append(unit)
        self.total += unit
        self.squares += unit * unit
        if len(self.values) > self.size:
            old = self.values.popleft()
            self.total -= old
            self.squares -= old * old

    def mean(self) -> float:
        return self.total / len(self.values) / 1e9

    def deviation(self) -> float:
        count = len(self.values)
        return math.sqrt(max(0, count * self.squares - self.total * self.total)) / count / 1e9


@dataclass(slots=True)
class _Model:
    """What is remembered of one model."""

    measures: dict[AnomalyMeasure, _Sliding]
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=_RECENT))
    quiet_until_s: dict[AnomalyMeasure, float] = field(default_factory=dict)


class AnomalyDetector:
    """Watches requests as they are recorded: an observer of `AIRequestsView`. Any thread may use it."""

    def __init__(
        self,
        settings: AnomalySettings | None = None,
        *,
        hooks: HookRegistry = global_hook_registry,
        meter: Meter | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start without memories.

        Args:
            settings: When something is unlike before.
            hooks: Hear `on_ai_anomaly`.
            meter: Makes the counter of events; of the global provider by default.
            clock: Measures the cool-down.
        """
        self._settings = settings or AnomalySettings()
        self._hooks = hooks
        self._clock = SystemClock() if clock is None else clock
        self._lock = threading.Lock()
        self._models: dict[tuple[str, str], _Model] = {}
        self._counter = (metrics.get_meter("parquedb") if meter is None else meter).create_counter(
            "parquedb.ai.anomalies", unit="{event}", description="Requests to models that were unlike those before."
        )

    def observe(self, request: AIRequest, cost: Cost) -> None:
        """Compare a request with those before it, then remember it."""
        with self._lock:
            model = self._model(request)
            events = [
                event
                for measure, value in _values(request, cost)
                if (event := self._compare(model, request, measure, value)) is not None
            ]
            rate = self._compare_errors(model, request)
            events += [] if rate is None else [rate]
        # Hooks run with no lock held.
        for event in events:
            self._counter.add(1, {"measure": event.measure, "provider": event.provider, "model": event.model})
            self._hooks.emit("ai_anomaly", event)

    def _model(self, request: AIRequest) -> _Model:
        key = (request.provider, request.model)
        model = self._models.pop(key, None)
        if model is None:
            if len(self._models) >= MODELS_MAX:
                del self._models[next(iter(self._models))]
            names: tuple[AnomalyMeasure, ...] = ("latency", "cost", "tokens", "error_rate")
            model = _Model({name: _Sliding(self._settings.window) for name in names})
        # Last in order: the first one is the longest unused.
        self._models[key] = model
        return model

    def _compare(
        self, model: _Model, request: AIRequest, measure: AnomalyMeasure, value: float
    ) -> AIAnomalyContext | None:
        before = model.measures[measure]
        event = None
        if len(before.values) >= self._settings.samples_min:
            mean = before.mean()
            spread = max(before.deviation(), self._settings.spread_min * mean)
            far = (value - mean) / spread if spread > 0 else (math.inf if value > mean else 0.0)
            if far > self._settings.deviations and self._may_tell(model, measure):
                event = self._event(measure, request, (value, mean, far, len(before.values)), request.id)
        before.add(value)
        return event

    def _compare_errors(self, model: _Model, request: AIRequest) -> AIAnomalyContext | None:
        before, recent = model.measures["error_rate"], model.recent
        if len(recent) == _RECENT:
            before.add(float(recent[0]))
        recent.append(request.status == "error")
        if len(before.values) < self._settings.samples_min:
            return None
        rate, mean = sum(recent) / len(recent), before.mean()
        if rate - mean < self._settings.error_rate_rise or not self._may_tell(model, "error_rate"):
            return None
        # Of the mean of so many tosses, had nothing changed.
        spread = max(math.sqrt(mean * (1 - mean) / _RECENT), self._settings.spread_min)
        return self._event("error_rate", request, (rate, mean, (rate - mean) / spread, len(before.values)), None)

    def _may_tell(self, model: _Model, measure: AnomalyMeasure) -> bool:
        now_s = self._clock.boot_s()
        if now_s < model.quiet_until_s.get(measure, -math.inf):
            return False
        model.quiet_until_s[measure] = now_s + self._settings.cool_down_s
        return True

    @staticmethod
    def _event(
        measure: AnomalyMeasure, request: AIRequest, found: tuple[float, float, float, int], request_id: str | None
    ) -> AIAnomalyContext:
        value, expected, deviation, samples = found
        return AIAnomalyContext(
            measure,
            request.provider,
            request.model,
            value,
            expected,
            deviation,
            samples,
            request_id,
            datetime.now(UTC),
        )


def _values(request: AIRequest, cost: Cost) -> list[tuple[AnomalyMeasure, float]]:
    """Return what is comparable: an answer from a cache, or an error, says nothing of the model's usual cost."""
    values: list[tuple[AnomalyMeasure, float]] = []
    if request.status == "ok" and not request.cached:
        if request.latency_s is not None:
            values.append(("latency", float(request.latency_s)))
        if cost.known:
            values.append(("cost", float(cost.amount)))
        values.append(("tokens", float(request.tokens.total)))
    return values
