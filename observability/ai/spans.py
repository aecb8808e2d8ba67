"""Spans of requests to models, as instrumented SDKs make them, read as requests.

Names are written out here and not imported: the conventions are still in development, and their module moves.

Source:
    OpenTelemetry semantic conventions, "Semantic Conventions for Generative AI", with the names they deprecated.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import StatusCode

from parquedb.observability.ai.request import SECONDS_MAX, TOKENS_MAX, AIRequest, RequestType, Tokens

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

OPERATION: Final = ("gen_ai.operation.name",)
PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system")
REQUEST_MODEL: Final = ("gen_ai.request.model",)
RESPONSE_MODEL: Final = ("gen_ai.response.model",)
STREAM: Final = ("gen_ai.request.stream",)
FIRST_CHUNK: Final = ("gen_ai.response.time_to_first_chunk",)
FINISH_REASONS: Final = ("gen_ai.response.finish_reasons",)
RESPONSE_ID: Final = ("gen_ai.response.id",)
INPUT_TOKENS: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT_TOKENS: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
CACHE_READ_TOKENS: Final = ("gen_ai.usage.cache_read.input_tokens",)
CACHE_CREATION_TOKENS: Final = ("gen_ai.usage.cache_creation.input_tokens",)
REASONING_TOKENS: Final = ("gen_ai.usage.reasoning.output_tokens",)
INPUT: Final = ("gen_ai.input.messages", "gen_ai.prompt")
OUTPUT: Final = ("gen_ai.output.messages", "gen_ai.completion")
ERROR: Final = ("error.type",)
USER: Final = ("user.id", "enduser.id")
TENANT: Final = ("parquedb.tenant", "tenant.id")
SERVICE: Final = ("service.name",)
ENVIRONMENT: Final = ("deployment.environment.name", "deployment.environment")

# Spans of agents, workflows and tools repeat the tokens of the requests inside them, which have spans of their own.
_TYPES: Final[Mapping[str, RequestType]] = {
    "chat": "chat",
    "text_completion": "completion",
    "embeddings": "embed",
    "generate_content": "generate",
}
_NANO: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def request_of(span: "ReadableSpan") -> AIRequest | None:
    """Return the request that a span tells of; None for a span that is not one of a request to a model.

    Raises:
        InvalidInputError: what it tells makes no sense.
    """
    facts = span.attributes or {}
    kind = _TYPES.get(_text(facts, OPERATION) or "")
    asked, answered = _text(facts, REQUEST_MODEL), _text(facts, RESPONSE_MODEL)
    model = answered or asked
    if kind is None or model is None or span.context is None or span.start_time is None:
        return None
    if _first(facts, STREAM) is True or _number(facts, FIRST_CHUNK) is not None:
        kind = "stream"
    error = _text(facts, ERROR)
    failed = error is not None or span.status.status_code is StatusCode.ERROR
    resource = span.resource.attributes
    trace_id, span_id = f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"
    return AIRequest(
        id=f"{trace_id}-{span_id}",
        time=_EPOCH + timedelta(microseconds=span.start_time // 1_000),
        model=model,
        provider=_text(facts, PROVIDER) or "",
        request_model=asked,
        type=kind,
        status="error" if failed else "ok",
        latency_s=None if span.end_time is None else max(0, span.end_time - span.start_time) / _NANO,
        first_chunk_s=_seconds(facts, FIRST_CHUNK),
        tokens=_tokens(facts),
        error=(error or _exception(span)) if failed else None,
        finish_reasons=_texts(facts, FINISH_REASONS),
        user=_text(facts, USER),
        app=_text(resource, SERVICE),
        environment=_text(resource, ENVIRONMENT),
        tenant=_text(facts, TENANT) or _text(resource, TENANT),
        trace_id=trace_id,
        span_id=span_id,
        input=_first(facts, INPUT),
        output=_first(facts, OUTPUT),
        metadata={} if (answer := _text(facts, RESPONSE_ID)) is None else {"response": answer},
    )


def _tokens(facts: Mapping[str, Any]) -> Tokens:
    return Tokens(
        *(
            _count(facts, names)
            for names in (INPUT_TOKENS, OUTPUT_TOKENS, CACHE_READ_TOKENS, CACHE_CREATION_TOKENS, REASONING_TOKENS)
        )
    )


def _exception(span: "ReadableSpan") -> str | None:
    for event in reversed(span.events):
        name = (event.attributes or {}).get("exception.type")
        if isinstance(name, str):
            return name
    return None


def _first(facts: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first attribute of some names, the current one first; None where there is none."""
    return next((facts[name] for name in names if facts.get(name) is not None), None)


def _text(facts: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    value = _first(facts, names)
    return None if value is None or value == "" else str(value)


def _texts(facts: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    value = _first(facts, names)
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _number(facts: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    value = _first(facts, names)
    fine = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return float(value) if fine else None


def _seconds(facts: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    value = _number(facts, names)
    return None if value is None or value > SECONDS_MAX else value


def _count(facts: Mapping[str, Any], names: tuple[str, ...]) -> int:
    value = _number(facts, names)
    return 0 if value is None or value > TOKENS_MAX else int(value)
