"""What hooks are told about requests to models: `on_ai_rate_limit(ctx)` and `on_ai_anomaly(ctx)`."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

RateMeasure = Literal["tokens", "cost"]
RateWindow = Literal["minute", "hour"]
AnomalyMeasure = Literal["latency", "cost", "tokens", "error_rate"]


@dataclass(frozen=True, slots=True)
class AIRateLimitContext:
    """Use of models within a minute or an hour has passed a threshold.

    Attributes:
        measure: `tokens` or `cost`.
        window: `minute` or `hour`, up to now.
        value: Tokens, or US dollars, within the window.
        threshold: What it has passed.
        model: Whose; None for all models.
        tenant: Whose; None for all tenants.
        time: When.
    """

    measure: RateMeasure
    window: RateWindow
    value: Decimal
    threshold: Decimal
    model: str | None
    tenant: str | None
    time: datetime


@dataclass(frozen=True, slots=True)
class AIAnomalyContext:
    """A model behaves unlike it did before.

    Attributes:
        measure: `latency` (seconds), `cost` (US dollars), `tokens` (of one request) or `error_rate` (0 to 1).
        provider: Of the model.
        model: Which one.
        value: Of the request, or of the latest requests.
        expected: Mean of the requests before.
        deviation: How many of their standard deviations lie between the two; where those were all alike, of the least
            spread that is believed.
        samples: Requests that `expected` was computed from.
        request_id: Of the request; None for a rate.
        time: When.
    """

    measure: AnomalyMeasure
    provider: str
    model: str
    value: float
    expected: float
    deviation: float
    samples: int
    request_id: str | None
    time: datetime
