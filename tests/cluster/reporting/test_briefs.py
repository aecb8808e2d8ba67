"""Told in brief, an operation looks as if its hook had been given a context and a result."""

from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.reporting.briefs import Briefs, told_in_brief
from parquedb.cluster.reporting.watching import Watch
from parquedb.cluster.transport.delivery import Delivery, ReplyLost
from parquedb.errors import VersionConflictError
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.brief_spans import whole
from parquedb.observability.otel.lean_span import LeanSpan
from parquedb.observability.otel.lean_tracer import LeanSpans
from parquedb.observability.otel.propagation import current_packed
from parquedb.observability.otel.span_provider import decide_by
from parquedb.observability.otel.tracing import OpenTelemetryHook
from parquedb.observability.testing import RecordingHook
from parquedb.storage.query.scan_counts import ScanCost

DOCUMENT = {"$id": "posts/a", "version": 3}
CASES = {
    "create": (Operation("create", None, {"n": 1}, size=90), Outcome(DOCUMENT, seq=7)),
    "update": (Operation("update", "a", {"$set": {"n": 1}}, size=40), Outcome(DOCUMENT, seq=7)),
    "an update of unknown size": (Operation("update", "a", {"$set": {"n": 1}}), Outcome(DOCUMENT, seq=7)),
    "the document before": (
        Operation("update", "a", {"$set": {"n": 1}}, {"return_document": "before"}, size=40),
        Outcome(DOCUMENT, seq=7),
    ),
    "replace": (Operation("replace", "a", {"n": 1}, size=90), Outcome(DOCUMENT, seq=7)),
    "restore": (Operation("restore", "a"), Outcome(DOCUMENT, seq=7)),
    "delete": (Operation("delete", "a"), Outcome(1, seq=7)),
    "a delete of nothing": (Operation("delete", "a"), Outcome(0, seq=7)),
    "create_many": (
        Operation("create_many", None, [{"n": 1}, {"n": 2}]),
        Outcome({"ids": ["a", "b"], "errors": []}, seq=8),
    ),
    "create_many of one": (Operation("create_many", None, [{"n": 1}]), Outcome({"ids": ["a"], "errors": []}, seq=7)),
    "create_many, one refused": (
        Operation("create_many", None, [{"n": 1}, {"n": 2}]),
        Outcome({"ids": ["a", None], "errors": [[1, {}]]}, seq=7),
    ),
    "batch": (
        arguments.batch("posts", [{"op": "create", "data": {"n": 1}}, {"op": "delete", "id": "b"}]),
        Outcome([DOCUMENT, 0], seq=8),
    ),
    "get": (Operation("get", "a"), Outcome(DOCUMENT, seq=7)),
    "a get of nothing": (Operation("get", "a"), Outcome(None, seq=7)),
    "a get before any write": (Operation("get", "a"), Outcome(None, seq=0)),
    "a get that says what it cost": (Operation("get", "a"), Outcome(DOCUMENT, seq=7, cost=ScanCost(1, 2, 3, 4))),
}


class Traced:
    """A hook of spans, and what it has sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.hooks = HookRegistry()
        self.source = LeanSpans(self.sent.append, decide_by(ALWAYS_ON))
        self.hooks.register_hook(OpenTelemetryHook(spans=self.source))

    def begin(self, operation: Operation) -> Delivery:
        brief = Briefs(self.hooks, "posts", "owner").of(operation)
        assert brief is not None
        return Delivery(operation, now_s=1.0, timeout_s=30.0, brief=brief)

    @property
    def span(self) -> Any:
        [span] = self.sent
        return span if isinstance(span, LeanSpan) else whole(span, self.source.series, 0)


@pytest.mark.parametrize("case", CASES)
def test_the_span_is_the_one_of_a_watched_operation(case: str) -> None:
    operation, answer = CASES[case]
    told, watched = Traced(), Traced()
    told_in_brief(told.begin(operation), answer, None, 2.0)
    Watch(watched.hooks, "posts", operation, actor="owner").end(answer)
    assert told.span.attributes == watched.span.attributes
    assert told.span.template.name == watched.span.template.name
    assert told.span.template.attributes == watched.span.template.attributes


def test_a_failure_is_told_as_it_was_before() -> None:
    told, watched = Traced(), Traced()
    error = VersionConflictError("a", expected=1, actual=2)
    operation = Operation("update", "a", {"$set": {"n": 1}}, size=40)
    told_in_brief(told.begin(operation), None, error, 2.0)
    Watch(watched.hooks, "posts", operation, actor="owner").error(error)
    assert told.span.attributes == watched.span.attributes
    assert told.span.status == watched.span.status
    assert current_packed() is None


def test_one_that_is_sent_again_is_told_whole_from_then_on() -> None:
    traced = Traced()
    delivery = traced.begin(Operation("get", "a"))
    delivery.after(ReplyLost("gone"), 1.0)
    assert current_packed() == delivery.span
    told_in_brief(delivery, Outcome(DOCUMENT, seq=7, attempts=2), None, 2.0)
    assert traced.span.attributes["parquedb.result.attempts"] == 2
    assert traced.span.start_ns < traced.span.end_ns
    assert current_packed() is None


def test_who_comes_later_to_listen_is_told_everything() -> None:
    traced = Traced()
    briefs = Briefs(traced.hooks, "posts", "owner")
    assert briefs.of(Operation("get", "a")) is not None
    assert briefs.of(Operation("find")) is None
    traced.hooks.register_hook(RecordingHook())
    assert briefs.of(Operation("get", "a")) is None


def test_a_part_of_a_load_goes_by_the_name_of_its_method() -> None:
    told = Traced()
    part = Operation("create_many", None, [{"n": 1}], {"method": "import_file"})
    assert Briefs(told.hooks, "posts", "owner").of(part) is None
