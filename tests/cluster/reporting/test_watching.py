"""What the client tells hooks of its methods."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from parquedb.actors.requests.operations import INSERT_ARROW, Operation, Outcome
from parquedb.cluster.reporting.watching import Watch, watched_method, watches
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.propagation import traceparent_of
from parquedb.observability.testing import RecordingHook


class Listener:
    inline = True

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_mutation_end(self, context: Any, result: Any) -> None:
        self.heard.append((context.operation, dict(context.options), result.rows))


def test_a_load_is_announced_as_what_its_caller_called() -> None:
    listener, hooks = Listener(), HookRegistry()
    hooks.register_hook(listener)
    for options in ({"actor": "me"}, {"actor": "me", "method": "create_many"}):
        Watch(hooks, "posts", Operation(INSERT_ARROW, None, {}, options)).end(Outcome({"rows": 7}, seq=7))
    assert listener.heard == [("insert_arrow", {"actor": "me"}, 7), ("create_many", {"actor": "me"}, 7)]


def test_the_callers_span_is_told_and_nothing_else_of_the_trace() -> None:
    hook, hooks = RecordingHook(), HookRegistry()
    hooks.register_hook(hook)
    with TracerProvider().get_tracer("caller").start_as_current_span("caller") as span:
        Watch(hooks, "posts", Operation("get", "a"), actor="owner").end(Outcome({"$id": "posts/a"}, seq=3))
    Watch(hooks, "posts", Operation("get", "a"), actor="owner").error(ValueError("no"))
    traced, untraced = [record.context for record in hook.of("on_query_start")]
    assert (traced.traceparent, traced.traceparents) == (traceparent_of(span.get_span_context()), ())
    assert (untraced.traceparent, untraced.actor, untraced.ids) == (None, "owner", ("a",))
    assert (hook.of("on_query_end")[0].result.rows, hook.of("on_query_end")[0].result.cached) == (1, None)


def test_only_what_somebody_listens_to_is_watched() -> None:
    hooks = HookRegistry()
    assert not watches(hooks, Operation("get", "a"))
    hooks.register_hook(RecordingHook("on_query_start"))
    assert watches(hooks, Operation("get", "a"))
    assert not watches(hooks, Operation("create"))
    assert not watches(hooks, Operation("pin")), "nobody called this"


def test_a_method_of_several_calls_ends_once_with_what_it_came_to() -> None:
    hook, hooks = RecordingHook(), HookRegistry()
    with watched_method(hooks, "mutation", "posts", "import_file", path="a.csv"):
        pass
    hooks.register_hook(hook)
    with watched_method(hooks, "mutation", "posts", "import_file", path="a.csv", actor=None) as facts:
        facts.update(rows=3, errors=1)
    with pytest.raises(ValueError, match="no"), watched_method(hooks, "query", "posts", "export_file", filter={"a": 1}):
        raise ValueError("no")
    assert hook.callbacks == ["on_mutation_start", "on_mutation_end", "on_query_start", "on_query_error"]
    ended, failed = hook.records[1], hook.records[3]
    assert (ended.context.options, ended.result.rows, ended.result.errors) == ({"path": "a.csv"}, 3, 1)
    assert (failed.context.filter, failed.context.options) == ({"a": 1}, {})


def test_an_outline_is_the_context_without_what_the_call_names() -> None:
    class Outlined(Listener):
        outline = True

        def on_mutation_end(self, context: Any, result: Any) -> None:
            self.heard.append((context.operation, context.ids, context.options, context.batch_size, result.rows))

    listener, hooks = Outlined(), HookRegistry()
    hooks.register_hook(listener)
    load = Operation(INSERT_ARROW, None, {}, {"method": "create_many"})
    Watch(hooks, "posts", load).end(Outcome({"rows": 7}, seq=7))
    many = Operation("create_many", None, [{"$id": "a"}, {}], size=9)
    Watch(hooks, "posts", many).end(Outcome({"ids": ["a", "b"], "errors": []}, seq=9))
    assert listener.heard == [("create_many", (), None, 1, 7), ("create_many", (), None, 2, 2)]
