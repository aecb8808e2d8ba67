"""Tokens and money of the last minute and hour, with thresholds: gauges for dashboards, an event when one is passed."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from parquedb.clock import Clock, SystemClock
from parquedb.errors import InvalidInputError
from parquedb.observability.ai.events import AIRateLimitContext, RateMeasure, RateWindow
from parquedb.observability.ai.request import MONEY, AIRequest, Cost
from parquedb.observability.hooks import HookRegistry, global_hook_registry

WINDOWS_S: Final[dict[RateWindow, float]] = {"minute": 60.0, "hour": 3600.0}
SLICES: Final = 60
"""Parts of a window: what is older than it leaves with a part at a time."""
MODELS_MAX: Final = 200
"""Models and tenants with gauges of their own; further ones count only in the sum of all."""

_REARMED_AT: Final = Decimal("0.9")


@dataclass(frozen=True, slots=True)
class RateThreshold:
    """What use of models is worth an event.

    Attributes:
        measure: `tokens`, or `cost` in US dollars.
        window: `minute` or `hour`.
        above: The event comes when more than this was used within the window, and again only after it has fallen to
            nine tenths of it.
        model: Of this model alone.
        tenant: Of this tenant alone.
    """

    measure: RateMeasure
    window: RateWindow
    above: Decimal | int
    model: str | None = None
    tenant: str | None = None


class _Window:
    """Tokens and dollars of the last so many seconds."""

    __slots__ = ("_parts", "_slice_s", "cost", "tokens")

    def __init__(self, length_s: float) -> None:
        self._slice_s = length_s / SLICES
        self._parts: deque[tuple[int, int, Decimal]] = deque()
        self.tokens = 0
        self.cost = Decimal(0)

    def add(self, now_s: float, tokens: int, cost: Decimal) -> None:
        self.expire(now_s)
        number = int(now_s / self._slice_s)
        if self._parts and self._parts[-1][0] == number:
            _, before, spent = self._parts.pop()
            self._parts.append((number, before + tokens, MONEY.add(spent, cost)))
        else:
            self._parts.append((number, tokens, cost))
        self.tokens += tokens
        self.cost = MONEY.add(self.cost, cost)

    def expire(self, now_s: float) -> None:
        oldest = int(now_s / self._slice_s) - SLICES
        while self._parts and self._parts[0][0] <= oldest:
            _, tokens, cost = self._parts.popleft()
            self.tokens -= tokens
            self.cost = MONEY.subtract(self.cost, cost)


_Scope = tuple[str | None, str | None]
"""A model, a tenant; None for all."""


class AIRateGauges:
    """Watches requests as they are recorded: an observer of `AIRequestsView`. Any thread may use it."""

    def __init__(
        self,
        thresholds: Iterable[RateThreshold] = (),
        *,
        hooks: HookRegistry = global_hook_registry,
        meter: Meter | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start with empty windows.

        Args:
            thresholds: What is worth an event.
            hooks: Hear `on_ai_rate_limit`.
            meter: Makes the gauges; of the global provider by default.
            clock: Tells the time at which a request counts: when it is recorded.

        Raises:
            InvalidInputError: a threshold names a model and a tenant, or is not understood.
        """
        self._thresholds = tuple(thresholds)
        for one in self._thresholds:
            if one.window not in WINDOWS_S or one.measure not in {"tokens", "cost"}:
                raise InvalidInputError(f"thresholds: expected tokens or cost by minute or hour, got {one!r}")
            if one.model is not None and one.tenant is not None:
                raise InvalidInputError(f"thresholds: expected a model or a tenant, not both; got {one!r}")
        self._hooks = hooks
        self._clock = SystemClock() if clock is None else clock
        self._lock = threading.Lock()
        # What has a threshold has its windows from the start: later there may be no room for it.
        scopes: list[_Scope] = [(None, None), *((one.model, one.tenant) for one in self._thresholds)]
        self._windows: dict[_Scope, dict[RateWindow, _Window]] = {scope: _windows() for scope in scopes}
        self._scopes_max = MODELS_MAX + len(self._windows)
        self._passed: set[RateThreshold] = set()
        self._register(metrics.get_meter("parquedb") if meter is None else meter)

    def observe(self, request: AIRequest, cost: Cost) -> None:
        """Count a request."""
        now_s, events = self._clock.boot_s(), []
        scopes: list[_Scope] = [(None, None), (request.model, None)]
        if request.tenant is not None:
            scopes.append((None, request.tenant))
        with self._lock:
            for scope in scopes:
                windows = self._windows.get(scope)
                if windows is None:
                    if len(self._windows) >= self._scopes_max:
                        continue
                    windows = self._windows[scope] = _windows()
                for window in windows.values():
                    window.add(now_s, request.tokens.total, cost.amount)
            events = self._passing(now_s)
        # Hooks run with no lock held.
        for event in events:
            self._hooks.emit("ai_rate_limit", event)

    def value(
        self, measure: RateMeasure, window: RateWindow, *, model: str | None = None, tenant: str | None = None
    ) -> Decimal:
        """Return the tokens or US dollars of a window up to now."""
        with self._lock:
            return self._value(self._clock.boot_s(), measure, window, (model, tenant))

    def _value(self, now_s: float, measure: RateMeasure, window: RateWindow, scope: _Scope) -> Decimal:
        windows = self._windows.get(scope)
        if windows is None:
            return Decimal(0)
        windows[window].expire(now_s)
        return Decimal(windows[window].tokens) if measure == "tokens" else windows[window].cost

    def _passing(self, now_s: float) -> list[AIRateLimitContext]:
        events: list[AIRateLimitContext] = []
        for one in self._thresholds:
            value, above = self._value(now_s, one.measure, one.window, (one.model, one.tenant)), Decimal(one.above)
            if value <= above * _REARMED_AT:
                self._passed.discard(one)
            elif value > above and one not in self._passed:
                self._passed.add(one)
                at = datetime.now(UTC)
                events.append(AIRateLimitContext(one.measure, one.window, value, above, one.model, one.tenant, at))
        return events

    def _register(self, meter: Meter) -> None:
        for measure, unit in (("tokens", "{token}"), ("cost", "{USD}")):
            meter.create_observable_gauge(
                f"parquedb.ai.{measure}.recent",
                callbacks=[_Reading(self, measure)],
                unit=unit,
                description=f"AI {measure} within the last minute and hour, by model and by tenant.",
            )

    def _readings(self, measure: RateMeasure) -> list[tuple[float, dict[str, Any]]]:
        with self._lock:
            now_s = self._clock.boot_s()
            return [
                (
                    float(self._value(now_s, measure, window, (model, tenant))),
                    {"window": window, "model": model or "", "tenant": tenant or ""},
                )
                for model, tenant in self._windows
                for window in WINDOWS_S
            ]


class _Reading:
    """Tells OpenTelemetry the values of one gauge."""

    def __init__(self, gauges: AIRateGauges, measure: Any) -> None:
        self._gauges = gauges
        self._measure = measure

    def __call__(self, _options: CallbackOptions) -> Iterator[Observation]:
        for value, attributes in self._gauges._readings(self._measure):
            yield Observation(value, attributes)


def _windows() -> dict[RateWindow, _Window]:
    return {name: _Window(length_s) for name, length_s in WINDOWS_S.items()}
