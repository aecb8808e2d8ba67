"""A span in brief that is active while its operation lasts: what happens meanwhile hangs under it.

It is a `Span` to whoever finds it active, and becomes a whole one as soon as somebody has something to add to it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanContext, Status, StatusCode
from opentelemetry.util.types import Attributes

from parquedb.observability.otel.propagation import unpacked
from parquedb.observability.otel.vocabulary import mark_failed

if TYPE_CHECKING:
    from parquedb.observability.otel.brief_spans import BriefSpans
    from parquedb.observability.otel.lean_span import LeanSpan


class WorkSpan(trace.Span):
    """One span; it ends in the task that it was started in, after all that was started below it.

    Attributes:
        packed: It, packed (`propagation`).
    """

    __slots__ = ("_began_s", "_callers", "_context", "_is_over", "_parent", "_series", "_token", "_whole", "packed")

    def __init__(self, series: "BriefSpans", span: bytes, parent: bytes, began_s: float, callers: bytes) -> None:
        """Start, and be active; see `BriefSpans.start`."""
        self.packed = span
        self._series = series
        self._parent = parent
        self._began_s = began_s
        self._callers = callers
        self._is_over = False
        self._context: SpanContext | None = None
        self._whole: LeanSpan | None = None
        self._token = otel_context.attach(trace.set_span_in_context(self))

    def finish(self, ended_s: float, numbers: Sequence[int], words: Sequence[str | None]) -> None:
        """End with what the operation came to."""
        self._leave()
        whole = self._whole
        if whole is None:
            self._series.finished(self.packed, self._parent, self._began_s, self._callers, ended_s, numbers, words)
        else:
            self._series.told += 2
            whole.set_attributes(self._series.attributes(numbers, words))
            whole.end()

    def fail(self, _ended_s: float, error: BaseException, numbers: Sequence[int], words: Sequence[str | None]) -> None:
        """End with why the operation failed, and what was known of it when it began."""
        whole = self._made_whole()
        whole.set_attributes(self._series.attributes(numbers, words))
        self._leave()
        self._series.told += 2
        mark_failed(whole, error, of_storage=self._series.kind.group == "storage")
        whole.end()

    def get_span_context(self) -> SpanContext:
        """Return its ids, as others are to hang under it."""
        context = self._context
        if context is None:
            remote = unpacked(self.packed)
            context = self._context = SpanContext(remote.trace_id, remote.span_id, False, remote.trace_flags)
        return context

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return not self._is_over

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        self._made_whole().set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute."""
        self._made_whole().set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Note that something happened meanwhile."""
        self._made_whole().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Ignore it: all links are known at the start."""

    def update_name(self, name: str) -> None:
        """Ignore it: names are what spans are counted by."""

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went; the last word counts."""
        self._made_whole().set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Note an exception with its words; only whoever asks for that gets here."""
        self._made_whole().record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """End it early, whoever says so; what comes later is ignored."""
        self._made_whole().end(end_time)

    def _made_whole(self) -> "LeanSpan":
        whole = self._whole
        if whole is None:
            whole = self._whole = self._series.opened(self.packed, self._parent, self._began_s, self._callers)
            if self._is_over:
                whole.end_ns = whole.start_ns  # It has left already: what is added now is ignored.
        return whole

    def _leave(self) -> None:
        """Make what was active before it active again."""
        self._is_over = True
        token = self._token
        try:
            # `otel_context.detach` would log an error for a token of another task.
            token.var.reset(token)
        except (ValueError, RuntimeError):
            return
