"""Of an operation that is sent once nobody hears; of one that is sent again each attempt is told, and is a span."""

from typing import Any

from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode

from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.http.answers import NoAnswer
from parquedb.cluster.http.delivery import GatewayDelivery
from parquedb.cluster.reporting.accounts import Accounts
from parquedb.cluster.reporting.attempts import Attempts
from parquedb.cluster.reporting.briefs import Briefs
from parquedb.cluster.transport.delivery import Delivery, ReplyLost
from parquedb.errors import BackpressureError, NetworkError, ValidationError
from parquedb.observability.contexts import AttemptContext
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.lean_tracer import LeanSpans
from parquedb.observability.otel.span_provider import decide_by
from parquedb.observability.otel.tracing import OpenTelemetryHook
from parquedb.observability.testing import RecordingHook

GET = Operation("get", "a")
ANSWER = Outcome({"$id": "posts/a", "version": 3}, seq=7)
BEGAN_S = 100.0


class Heard:
    """A registry, and what its hooks are told of attempts."""

    def __init__(self) -> None:
        self.hooks = HookRegistry()
        self.attempts = Attempts(self.hooks, "posts", "owner")
        self._recording = RecordingHook("on_attempt")
        self.hooks.register_hook(self._recording)

    def delivery(self, operation: Operation = GET) -> Delivery:
        return Delivery(operation, now_s=BEGAN_S, timeout_s=30.0, attempts=self.attempts)

    @property
    def told(self) -> list[AttemptContext]:
        return [record.context for record in self._recording.of("on_attempt")]


def close(delivery: Delivery, answer: Outcome | None = ANSWER, error: BaseException | None = None) -> None:
    Accounts(None, "posts", 1e9).close(delivery, answer, error, None)


def test_of_an_operation_that_is_sent_once_no_attempt_is_told() -> None:
    heard = Heard()
    close(heard.delivery())
    assert heard.told == []


def test_each_attempt_of_one_that_is_repeated_is_told_with_what_it_came_to() -> None:
    heard = Heard()
    delivery = heard.delivery()
    delivery.after(ReplyLost("gone"), BEGAN_S + 2.0)
    second = delivery.after(BackpressureError("full", retry_after=1.0), BEGAN_S + 2.5)
    close(delivery)
    facts = [(one.operation, one.namespace, one.actor, one.attempt, one.error) for one in heard.told]
    assert facts == [
        ("get", "posts", "owner", 1, "ReplyLost"),
        ("get", "posts", "owner", 2, "BackpressureError"),
        ("get", "posts", "owner", 3, None),
    ]
    assert second.delay_s >= 1.0
    # The first repeat left at once; the pauses are between attempts, not in them.
    assert [one.duration_s for one in heard.told[:2]] == [2.0, 0.5]


def test_the_last_attempt_of_one_that_fails_has_its_error() -> None:
    heard = Heard()
    delivery = heard.delivery()
    delivery.after(ReplyLost("gone"), BEGAN_S)
    close(delivery, None, ValidationError("no"))
    assert [one.error for one in heard.told] == ["ReplyLost", "ValidationError"]


def test_a_repeat_that_was_given_up_before_it_left_took_no_time() -> None:
    heard = Heard()
    delivery = heard.delivery()
    delivery.after(BackpressureError("full", retry_after=20.0), 0.0)
    delivery.attempt_over(1.0, TimeoutError())
    assert heard.told[1].duration_s == 0.0


def test_a_part_of_a_load_is_told_under_the_name_of_its_method() -> None:
    heard = Heard()
    delivery = heard.delivery(Operation("create_many", None, [{"n": 1}], {"method": "import_file"}))
    delivery.after(ReplyLost("gone"), BEGAN_S)
    assert heard.told[0].operation == "import_file"


def test_a_pause_that_a_gateway_asked_for_is_no_part_of_an_attempt() -> None:
    heard = Heard()
    delivery = GatewayDelivery(GET, now_s=BEGAN_S, timeout_s=60.0, attempts=heard.attempts)
    refused = NoAnswer(NetworkError("later", retry_after=10.0), sent=False, repeatable=True)
    step = delivery.after_request(refused, BEGAN_S, attempts_max=3)
    delivery.attempt_over(BEGAN_S + step.delay_s + 1.0, None)
    assert heard.told[1].duration_s == 1.0


def test_attempts_are_spans_below_that_of_their_operation() -> None:
    sent: list[Any] = []
    hooks = HookRegistry()
    hooks.register_hook(OpenTelemetryHook(spans=LeanSpans(sent.append, decide_by(ALWAYS_ON))))
    brief = Briefs(hooks, "posts", "owner").of(GET)
    attempts = Attempts(hooks, "posts", "owner")
    delivery = Delivery(GET, now_s=BEGAN_S, timeout_s=30.0, brief=brief, attempts=attempts)
    delivery.after(ReplyLost("gone"), BEGAN_S + 2.0)
    close(delivery, Outcome(ANSWER.value, seq=7, attempts=2))
    first, second, whole = sent
    assert [span.template.name for span in sent] == ["get posts attempt"] * 2 + ["get posts"]
    assert {span.parent.span_id for span in (first, second)} == {whole.span_id}
    assert {span.template.kind for span in (first, second)} == {SpanKind.INTERNAL}
    assert first.attributes == {"parquedb.attempt": 1, "error.type": "ReplyLost"}
    assert second.attributes == {"parquedb.attempt": 2}
    assert [span.status[0] for span in sent] == [StatusCode.ERROR, StatusCode.UNSET, StatusCode.UNSET]
    assert abs((first.end_ns - first.start_ns) / 1e9 - 2.0) < 1e-6
