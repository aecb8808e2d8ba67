"""Requests to models: recorded with tokens, latency and cost, captured from instrumented SDKs, and summed up."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parquedb.observability.ai.prices import CustomPrice as CustomPrice
    from parquedb.observability.ai.prices import PriceBook as PriceBook
    from parquedb.observability.ai.prices import Rates as Rates
    from parquedb.observability.ai.prices import custom_prices as custom_prices
    from parquedb.observability.ai.request import AIRequest as AIRequest
    from parquedb.observability.ai.request import Tokens as Tokens
    from parquedb.observability.ai.requests import AIRequestsView as AIRequestsView
    from parquedb.observability.ai.requests import record_ai_request as record_ai_request
    from parquedb.observability.ai.tenants import ALL_TENANTS as ALL_TENANTS
    from parquedb.observability.ai.usage_view import AIUsageView as AIUsageView
    from parquedb.observability.ai.usage_view import create_ai_usage_view as create_ai_usage_view

_HOMES = {
    "ALL_TENANTS": "tenants",
    "AIRequest": "request",
    "AIRequestsView": "requests",
    "AIUsageView": "usage_view",
    "CustomPrice": "prices",
    "PriceBook": "prices",
    "Rates": "prices",
    "Tokens": "request",
    "create_ai_usage_view": "usage_view",
    "custom_prices": "prices",
    "record_ai_request": "requests",
}

__all__ = [
    "ALL_TENANTS",
    "AIRequest",
    "AIRequestsView",
    "AIUsageView",
    "CustomPrice",
    "PriceBook",
    "Rates",
    "Tokens",
    "create_ai_usage_view",
    "custom_prices",
    "record_ai_request",
]


def __getattr__(name: str) -> Any:
    # On first use: capturing needs the OpenTelemetry SDK, and prices are some megabytes.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value
