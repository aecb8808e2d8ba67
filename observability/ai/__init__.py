"""Requests to models: recorded with tokens, latency and cost, captured from instrumented SDKs, and summed up."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parquedb.observability.ai.anomalies import AnomalyDetector as AnomalyDetector
    from parquedb.observability.ai.anomalies import AnomalySettings as AnomalySettings
    from parquedb.observability.ai.capture import AISpanProcessor as AISpanProcessor
    from parquedb.observability.ai.capture import capture_ai_requests as capture_ai_requests
    from parquedb.observability.ai.events import AIAnomalyContext as AIAnomalyContext
    from parquedb.observability.ai.events import AIRateLimitContext as AIRateLimitContext
    from parquedb.observability.ai.prices import CustomPrice as CustomPrice
    from parquedb.observability.ai.prices import PriceBook as PriceBook
    from parquedb.observability.ai.prices import Rates as Rates
    from parquedb.observability.ai.prices import custom_prices as custom_prices
    from parquedb.observability.ai.rates import AIRateGauges as AIRateGauges
    from parquedb.observability.ai.rates import RateThreshold as RateThreshold
    from parquedb.observability.ai.report import ai_usage_report as ai_usage_report
    from parquedb.observability.ai.request import AIRequest as AIRequest
    from parquedb.observability.ai.request import Tokens as Tokens
    from parquedb.observability.ai.requests import AIRequestsView as AIRequestsView
    from parquedb.observability.ai.requests import AsyncAIRequestsView as AsyncAIRequestsView
    from parquedb.observability.ai.requests import record_ai_request as record_ai_request
    from parquedb.observability.ai.requests import record_ai_request_async as record_ai_request_async
    from parquedb.observability.ai.tenants import ALL_TENANTS as ALL_TENANTS
    from parquedb.observability.ai.usage_view import AIUsageView as AIUsageView
    from parquedb.observability.ai.usage_view import AsyncAIUsageView as AsyncAIUsageView
    from parquedb.observability.ai.usage_view import create_ai_usage_view as create_ai_usage_view
    from parquedb.observability.ai.usage_view import create_async_ai_usage_view as create_async_ai_usage_view

_HOMES = {
    "AIAnomalyContext": "events",
    "AIRateGauges": "rates",
    "AIRateLimitContext": "events",
    "AIRequest": "request",
    "AIRequestsView": "requests",
    "AISpanProcessor": "capture",
    "AIUsageView": "usage_view",
    "ALL_TENANTS": "tenants",
    "AnomalyDetector": "anomalies",
    "AnomalySettings": "anomalies",
    "AsyncAIRequestsView": "requests",
    "AsyncAIUsageView": "usage_view",
    "CustomPrice": "prices",
    "PriceBook": "prices",
    "RateThreshold": "rates",
    "Rates": "prices",
    "Tokens": "request",
    "ai_usage_report": "report",
    "capture_ai_requests": "capture",
    "create_ai_usage_view": "usage_view",
    "create_async_ai_usage_view": "usage_view",
    "custom_prices": "prices",
    "record_ai_request": "requests",
    "record_ai_request_async": "requests",
}

__all__ = [
    "ALL_TENANTS",
    "AIAnomalyContext",
    "AIRateGauges",
    "AIRateLimitContext",
    "AIRequest",
    "AIRequestsView",
    "AISpanProcessor",
    "AIUsageView",
    "AnomalyDetector",
    "AnomalySettings",
    "AsyncAIRequestsView",
    "AsyncAIUsageView",
    "CustomPrice",
    "PriceBook",
    "RateThreshold",
    "Rates",
    "Tokens",
    "ai_usage_report",
    "capture_ai_requests",
    "create_ai_usage_view",
    "create_async_ai_usage_view",
    "custom_prices",
    "record_ai_request",
    "record_ai_request_async",
]


def __getattr__(name: str) -> Any:
    # On first use: capturing needs the OpenTelemetry SDK, and prices are some megabytes.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value
