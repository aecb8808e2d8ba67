"""Rates and anomalies: told once, when they begin, and never for what is as it always was."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from parquedb.clock import ManualClock
from parquedb.errors import InvalidInputError
from parquedb.observability.ai import AIRateGauges, AIRequest, AnomalyDetector, AnomalySettings, RateThreshold, Tokens
from parquedb.observability.ai.rates import MODELS_MAX
from parquedb.observability.ai.request import Cost
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.testing import RecordingHook

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class InlineHook(RecordingHook):
    """Hears everything before the call that caused it returns."""

    inline = True


class Watch:
    """An observer with hooks that remember, a clock turned by hand, and metrics to look at."""

    def __init__(self) -> None:
        self.hook, self.clock, self.reader = InlineHook(), ManualClock(), InMemoryMetricReader()
        hooks = HookRegistry()
        hooks.register_hook(self.hook)
        meter = MeterProvider([self.reader]).get_meter("test")
        self.options: dict[str, Any] = {"hooks": hooks, "meter": meter, "clock": self.clock}

    def told(self) -> list[Any]:
        return [record.context for record in self.hook.records]

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], float]]]:
        data = self.reader.get_metrics_data()
        return {
            metric.name: [(dict(point.attributes), point.value) for point in metric.data.data_points]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def request(**facts: Any) -> AIRequest:
    return AIRequest(**{"id": "r", "time": NOW, "model": "m", "tokens": Tokens(100, 0), "latency_s": 1.0, **facts})


def paid(amount: str = "0.5") -> Cost:
    return Cost(Decimal(amount), Decimal(0), "v")


def test_windows_hold_the_last_minute_and_hour() -> None:
    watch = Watch()
    gauges = AIRateGauges(**watch.options)
    for _ in range(3):
        gauges.observe(request(tenant="a"), paid())
        watch.clock.advance(30)
    assert (gauges.value("tokens", "minute"), gauges.value("tokens", "hour")) == (100, 300)
    assert gauges.value("cost", "hour", tenant="a") == Decimal("1.5")
    watch.clock.advance(3_600)
    assert gauges.value("tokens", "hour") == gauges.value("cost", "hour") == 0


def test_a_threshold_is_told_of_once_until_use_has_fallen() -> None:
    watch = Watch()
    gauges = AIRateGauges([RateThreshold("tokens", "minute", 250)], **watch.options)
    for _ in range(5):
        gauges.observe(request(), paid())
    [event] = watch.told()
    assert (event.measure, event.window, event.value, event.threshold) == ("tokens", "minute", 300, 250)
    watch.clock.advance(61)
    for _ in range(3):
        gauges.observe(request(), paid())
    assert len(watch.told()) == 2


def test_thresholds_of_a_model_or_tenant_hear_of_that_alone() -> None:
    watch = Watch()
    limits = [RateThreshold("cost", "hour", Decimal("0.9"), model="m"), RateThreshold("tokens", "hour", 1, tenant="b")]
    gauges = AIRateGauges(limits, **watch.options)
    gauges.observe(request(model="n", tenant="a"), paid("5"))
    assert watch.told() == []
    gauges.observe(request(tenant="b"), paid("1"))
    assert [(event.measure, event.model, event.tenant) for event in watch.told()] == [
        ("cost", "m", None),
        ("tokens", None, "b"),
    ]
    with pytest.raises(InvalidInputError):
        AIRateGauges([RateThreshold("tokens", "day", 1)], **watch.options)  # type: ignore[arg-type]


def test_a_threshold_holds_for_its_tenant_however_many_others_came_before() -> None:
    watch = Watch()
    gauges = AIRateGauges([RateThreshold("tokens", "minute", 99, tenant="late")], **watch.options)
    for number in range(2 * MODELS_MAX):
        gauges.observe(request(tenant=f"t{number}"), paid())
    assert watch.told() == []
    gauges.observe(request(tenant="late"), paid())
    assert [event.tenant for event in watch.told()] == ["late"]


def test_rates_are_gauges_of_opentelemetry() -> None:
    watch = Watch()
    AIRateGauges(**watch.options).observe(request(), paid())
    points = watch.metrics()["parquedb.ai.tokens.recent"]
    assert ({"window": "minute", "model": "m", "tenant": ""}, 100.0) in points
    assert ({"window": "hour", "model": "", "tenant": ""}, 100.0) in points


SETTINGS = AnomalySettings(samples_min=10, window=40, cool_down_s=60)


def detector(settings: AnomalySettings = SETTINGS) -> tuple[Watch, AnomalyDetector]:
    watch = Watch()
    return watch, AnomalyDetector(settings, **watch.options)


@pytest.mark.parametrize(
    ("measure", "odd", "cost", "value"),
    [
        ("latency", {"latency_s": 30.0}, paid(), 30.0),
        ("cost", {}, paid("9"), 9.0),
        ("tokens", {"tokens": Tokens(5000, 0)}, paid(), 5000.0),
    ],
)
def test_a_request_unlike_those_before_it_is_told_of(
    measure: str, odd: dict[str, Any], cost: Cost, value: float
) -> None:
    watch, detect = detector()
    for number in range(30):
        detect.observe(request(latency_s=1.0 + number % 3 / 10), paid())
    assert watch.told() == []
    detect.observe(request(id="odd", **odd), cost)
    [event] = watch.told()
    assert (event.measure, event.value, event.request_id, event.samples) == (measure, value, "odd", 30)
    assert event.deviation > 4
    assert watch.metrics()["parquedb.ai.anomalies"][0][1] == 1


def test_of_few_samples_nothing_is_said() -> None:
    watch, detect = detector()
    for _ in range(9):
        detect.observe(request(), paid())
    detect.observe(request(latency_s=1000.0), paid())
    assert watch.told() == []


def test_where_all_was_alike_a_small_change_is_none_and_a_large_one_is() -> None:
    watch, detect = detector()
    for _ in range(20):
        detect.observe(request(), paid())
    detect.observe(request(latency_s=1.2), paid())
    assert watch.told() == []
    detect.observe(request(latency_s=3.0), paid())
    [event] = watch.told()
    assert math.isfinite(event.deviation)


def test_where_all_was_zero_anything_is_unlike() -> None:
    watch, detect = detector()
    for _ in range(20):
        detect.observe(request(tokens=Tokens()), paid("0"))
    detect.observe(request(), paid("0"))
    assert [event.measure for event in watch.told()] == ["tokens"]


def test_after_an_event_there_is_quiet_for_a_while() -> None:
    watch, detect = detector()
    for _ in range(30):
        detect.observe(request(), paid())
    for _ in range(3):
        detect.observe(request(latency_s=9.0), paid())
    assert len(watch.told()) == 1
    watch.clock.advance(61)
    detect.observe(request(latency_s=90.0), paid())
    assert len(watch.told()) == 2


def test_what_has_become_usual_is_unlike_no_more() -> None:
    watch, detect = detector()
    for latency_s in (1.0, 9.0):
        for _ in range(40):
            watch.clock.advance(100)
            detect.observe(request(latency_s=latency_s), paid())
    watch.hook.clear()
    for _ in range(20):
        watch.clock.advance(100)
        detect.observe(request(latency_s=9.0), paid())
    assert watch.told() == []


def test_a_rising_error_rate_is_told_of_and_a_steady_one_is_not() -> None:
    watch, detect = detector()
    for number in range(100):
        detect.observe(request(status="error" if number % 10 == 0 else "ok"), paid())
    assert watch.told() == []
    for _ in range(15):
        detect.observe(request(status="error"), paid())
    [event] = watch.told()
    assert (event.measure, event.request_id) == ("error_rate", None)
    assert event.value >= event.expected + 0.3


def test_models_are_compared_with_themselves_alone() -> None:
    watch, detect = detector()
    for _ in range(50):
        detect.observe(request(model="fast", latency_s=0.1), paid("0.01"))
    for _ in range(20):
        detect.observe(request(model="slow", latency_s=60.0), paid("5"))
    assert watch.told() == []


def test_errors_and_cached_answers_say_nothing_of_usual_cost() -> None:
    watch, detect = detector()
    for _ in range(30):
        detect.observe(request(), paid())
    detect.observe(request(cached=True, latency_s=99.0, tokens=Tokens(10**6, 0)), paid("9"))
    detect.observe(request(status="error", latency_s=99.0), paid("9"))
    assert watch.told() == []
    with pytest.raises(InvalidInputError):
        AnomalySettings(samples_min=1)
