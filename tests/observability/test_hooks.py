"""Hooks hear everything, in order, and change nothing."""

import asyncio
import gc
import logging
import os
import pickle
from datetime import UTC, datetime

import pytest

from parquedb.errors import ConfigurationError
from parquedb.observability.contexts import (
    CommitContext,
    CommitResult,
    FlushContext,
    MutationResult,
    QueryResult,
    create_mutation_context,
    create_query_context,
    create_storage_context,
    new_operation_id,
)
from parquedb.observability.hooks import (
    CALLBACKS,
    EVENTS,
    HookRegistry,
    global_hook_registry,
    load_hooks,
    register_hook,
)
from parquedb.observability.testing import FileRecordingHook, RecordingHook
from tests.observability import sample_hooks

HERE = "tests.observability.sample_hooks"


class NamedHook:
    """Writes its name into a shared list."""

    inline = True

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def on_query_start(self, ctx: object) -> None:
        self.log.append(f"start {self.name}")

    def on_query_end(self, ctx: object, result: object) -> None:
        self.log.append(f"end {self.name}")


class BrokenHook:
    inline = True

    def on_query_start(self, ctx: object) -> None:
        raise ValueError("broken start")

    def on_query_end(self, ctx: object, result: object) -> None:
        raise AssertionError("must not be called: it never saw the start")

    def on_mutation_end(self, ctx: object, result: object) -> None:
        raise asyncio.CancelledError


def query(namespace: str = "posts"):
    return create_query_context("find", namespace, {"a": 1})


def test_an_operation_is_announced_and_ended_once_with_its_own_context():
    registry, hook = HookRegistry(), RecordingHook()
    registry.register_hook(hook)
    context, result = query(), QueryResult(rows=3)
    operation = registry.start("query", context)
    operation.end(result)
    operation.end(QueryResult(rows=4))
    operation.error(ValueError())
    assert hook.records == [("on_query_start", context, None), ("on_query_end", context, result)]
    assert operation.elapsed_s() > 0


def test_a_failure_reaches_the_error_callback_even_when_it_is_a_cancellation():
    registry, hook = HookRegistry(), RecordingHook()
    registry.register_hook(hook)
    error = asyncio.CancelledError()
    registry.start("storage", create_storage_context("read", "k")).error(error)
    assert hook.callbacks == ["on_storage_start", "on_storage_error"]
    assert hook.records[1].result is error


def test_endings_run_in_the_reverse_order_of_starts():
    registry, log = HookRegistry(), []
    for name in "abc":
        registry.register_hook(NamedHook(name, log))
    registry.start("query", query()).end(QueryResult())
    assert log == ["start a", "start b", "start c", "end c", "end b", "end a"]


def test_on_commit_follows_on_commit_end():
    registry, hook = HookRegistry(), RecordingHook()
    registry.register_hook(hook)
    registry.start("commit", CommitContext("posts", writes=2)).end(CommitResult())
    assert hook.callbacks == ["on_commit_start", "on_commit_end", "on_commit"]


@pytest.mark.parametrize("event", ["flush", "compaction", "cold_start", "circuit_change"])
def test_an_event_reaches_the_callback_of_its_name(event):
    registry, hook = HookRegistry(), RecordingHook()
    registry.register_hook(hook)
    registry.emit(event, FlushContext("posts"))
    assert hook.callbacks == [f"on_{event}"]


def test_a_hook_with_one_callback_is_called_for_that_one_only():
    registry, hook = HookRegistry(), RecordingHook("on_mutation_end")
    registry.register_hook(hook)
    registry.start("query", query()).end(QueryResult())
    registry.start("mutation", create_mutation_context("create", "posts")).end(MutationResult())
    assert hook.callbacks == ["on_mutation_end"]


def test_unregistering_is_idempotent_and_spares_operations_under_way():
    registry, hook = HookRegistry(), RecordingHook()
    unregister = registry.register_hook(hook)
    other = registry.register_hook(RecordingHook())
    operation = registry.start("query", query())
    unregister()
    unregister()
    registry.start("query", query())
    operation.end(QueryResult())
    assert hook.callbacks == ["on_query_start", "on_query_end"]
    assert registry.active
    other()
    assert not registry.active


def test_a_hook_registered_while_an_operation_runs_hears_nothing_of_it():
    registry, hook = HookRegistry(), RecordingHook()
    registry.register_hook(RecordingHook())
    operation = registry.start("query", query())
    registry.register_hook(hook)
    operation.end(QueryResult())
    assert hook.records == []


def test_a_child_registry_hears_its_parents_hooks_present_and_future():
    parent, early, late, own = HookRegistry(), RecordingHook(), RecordingHook(), RecordingHook()
    parent.register_hook(early)
    child = HookRegistry(parent)
    assert child.active
    child.register_hook(own)
    unregister = parent.register_hook(late)
    child.emit("flush", FlushContext("posts"))
    unregister()
    parent.emit("flush", FlushContext("users"))
    child.emit("flush", FlushContext("tags"))
    assert [record.context.namespace for record in early.records] == ["posts", "users", "tags"]
    assert [record.context.namespace for record in late.records] == ["posts"]
    assert [record.context.namespace for record in own.records] == ["posts", "tags"]
    assert len(child.stats()) == 2


def test_a_forgotten_child_registry_does_not_stay_in_memory():
    parent = HookRegistry()
    HookRegistry(parent)
    gc.collect()
    assert len(parent._children) == 0


def test_the_module_function_registers_for_every_connection():
    hook = RecordingHook()
    unregister = register_hook(hook)
    try:
        HookRegistry(global_hook_registry).emit("flush", FlushContext("posts"))
    finally:
        unregister()
    assert hook.callbacks == ["on_flush"]
    assert not global_hook_registry.active


def test_a_raising_hook_is_counted_per_group_logged_once_and_hides_nothing_from_the_others(caplog):
    registry, before, after = HookRegistry(), RecordingHook(), RecordingHook()
    registry.register_hook(before)
    registry.register_hook(BrokenHook())
    registry.register_hook(after)
    with caplog.at_level(logging.WARNING, "parquedb"):
        for _ in range(3):
            registry.start("query", query()).end(QueryResult())
        registry.start("mutation", create_mutation_context("create", "posts")).end(MutationResult())
    assert before.callbacks == after.callbacks
    assert len(before.of("on_query_end")) == 3
    assert registry.stats()[1].errors == {"query": 3, "mutation": 1}
    assert [record.getMessage() for record in caplog.records] == [
        f"hook {__name__}.BrokenHook failed in {group}; the operation is unaffected, further failures are only counted"
        for group in ("query", "mutation")
    ]
    assert caplog.records[0].exc_info is not None


def test_an_interrupt_by_the_user_is_not_swallowed():
    class Interrupted:
        inline = True

        def on_flush(self, ctx):
            raise KeyboardInterrupt

    registry = HookRegistry()
    registry.register_hook(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        registry.emit("flush", FlushContext("posts"))


def test_what_hooks_listen_to_is_counted_by_group_with_the_parents_hooks():
    parent = HookRegistry()
    parent.register_hook(RecordingHook("on_query_end", "on_commit"))
    registry = HookRegistry(parent)
    unregister = registry.register_hook(RecordingHook("on_query_error", "on_flush"))
    heard = {"query": 2, "mutation": 0, "storage": 0, "commit": 1}
    assert registry.counts() == heard | dict.fromkeys(EVENTS, 0) | {"flush": 1}
    assert [registry.hears(group) for group in ("query", "mutation", "commit", "flush")] == [True, False, True, True]
    unregister()
    assert (registry.counts()["query"], registry.hears("flush")) == (1, False)


def test_calls_are_counted_by_hook_and_group():
    registry = HookRegistry()
    registry.register_hook(RecordingHook())
    registry.register_hook(RecordingHook("on_flush"))
    registry.start("query", query()).end(QueryResult())
    registry.emit("flush", FlushContext("posts"))
    both, flushes = registry.stats()
    assert {name: group.calls for name, group in both.groups.items()} == {"query": 2, "flush": 1}
    assert (both.calls, flushes.calls, both.inline) == (3, 1, True)


def test_a_slow_inline_hook_is_counted_and_logged_once(caplog):
    registry = HookRegistry(slow_s=0.0)
    registry.register_hook(RecordingHook())
    with caplog.at_level(logging.WARNING, "parquedb"):
        registry.start("query", query()).end(QueryResult())
    assert registry.stats()[0].slow == 2
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "hook parquedb.observability.testing.RecordingHook was slow in query"
    ]


def test_hooks_load_from_strings_naming_a_class_a_function_or_an_object():
    mine = RecordingHook()
    made, called, named, given = load_hooks([f"{HERE}:CountingHook", f"{HERE}:make", f"{HERE}:instance", mine])
    assert isinstance(made, sample_hooks.CountingHook)
    assert isinstance(called, RecordingHook)
    assert named is sample_hooks.instance
    assert given is mine


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("myapp.hooks", 'expected "module:attribute", such as "myapp.hooks:AuditHook"'),
        (":hook", 'expected "module:attribute"'),
        ("no_such_module_here:hook", "module 'no_such_module_here' could not be imported: ModuleNotFoundError"),
        (f"{HERE}:missing", f"'{HERE}' has no 'missing'"),
        (
            f"{HERE}:not_a_hook",
            "an object of type int without callbacks; expected some of on_ai_anomaly, on_ai_rate_limit",
        ),
        (f"{HERE}:NeedsAnArgument", "expected a class or function that needs no arguments"),
        (f"{HERE}:make_badly", "could not be made: OSError: no audit file"),
        (object(), "an object of type object without callbacks"),
    ],
)
def test_a_bad_hook_setting_says_what_was_expected(spec, message):
    with pytest.raises(ConfigurationError) as caught:
        load_hooks([spec])
    assert message in str(caught.value)
    assert caught.value.setting == "hooks"


def test_a_misspelt_callback_is_pointed_out(caplog):
    class Misspelt:
        def on_mutaton_end(self, ctx, result) -> None: ...

    with caplog.at_level(logging.WARNING, "parquedb"):
        HookRegistry().register_hook(Misspelt())
    assert "nothing calls on_mutaton_end; is it misspelt?" in caplog.text


def test_every_documented_callback_is_one_the_registry_calls():
    registry, hook = HookRegistry(), RecordingHook()
    registry.register_hook(hook)
    for group in ("query", "mutation", "storage", "commit"):
        registry.start(group, None).end(None)
        registry.start(group, None).error(ValueError())
    for event in ("flush", "compaction", "cold_start", "circuit_change", "attempt", "ai_anomaly", "ai_rate_limit"):
        registry.emit(event, None)
    assert set(hook.callbacks) == CALLBACKS


def test_the_factories_give_each_operation_an_id_of_its_own():
    contexts = [
        create_query_context("get", "posts", ids=("a",)),
        create_mutation_context("update", "posts", "a", options={"expected_version": 1}),
        create_storage_context("create", "posts/log/1", bytes=10),
    ]
    assert all(len(context.operation_id) == 16 and int(context.operation_id, 16) >= 0 for context in contexts)
    assert len({context.operation_id for context in contexts}) == 3
    assert contexts[1].ids == ("a",)
    assert (contexts[0].attempt, contexts[0].side, contexts[0].batch_size) == (1, "client", 1)


def test_operation_ids_differ_between_a_process_and_its_fork():
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, new_operation_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    ids = {os.read(reading, 16).decode(), *(new_operation_id() for _ in range(10_000))}
    os.close(reading)
    os.close(writing)
    assert len(ids) == 10_001
    assert {len(each) for each in ids} == {16}


def test_a_recording_hook_remembers_the_newest_and_finds_them_by_operation():
    hook = RecordingHook("on_query_start", records_max=2)
    for operation in ("get", "find", "count"):
        hook.on_query_start(create_query_context(operation, "posts"))
    assert [record.context.operation for record in hook.records] == ["find", "count"]
    assert [record.context.operation for record in hook.of("on_query_start", "find")] == ["find"]
    assert hook.wait_for("on_query_start", 2) == hook.records
    with pytest.raises(AssertionError, match="expected 3 on_query_start within 0 s"):
        hook.wait_for("on_query_start", 3, timeout_s=0)
    assert pickle.loads(pickle.dumps(hook)).records == []
    with pytest.raises(ValueError, match="no such callbacks: on_quary"):
        RecordingHook("on_quary")


def test_a_hook_that_records_to_a_file_does_so_from_every_copy(tmp_path):
    hook = FileRecordingHook(tmp_path / "heard.jsonl", "on_query_start", "on_query_error")
    context = create_query_context("find", "posts", {"at": datetime(2026, 1, 2, tzinfo=UTC)})
    hook.on_query_start(context)
    pickle.loads(pickle.dumps(hook)).on_query_error(context, ValueError("no"))
    first, second = hook.wait_until(lambda records: len(records) == 2)
    assert (first.callback, first.context["operation_id"]) == ("on_query_start", context.operation_id)
    assert second.result == {"error": "ValueError", "message": "no"}
    assert not hasattr(hook, "on_flush")


def test_contexts_are_frozen_and_travel():
    context = create_mutation_context("update", "posts", "a", traceparent="00-1-2-01")
    with pytest.raises(AttributeError):
        context.namespace = "users"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(context)) == context


def test_details_are_wanted_unless_all_who_listen_are_content_with_an_outline():
    class Outlined:
        inline = outline = True

        def on_query_end(self, ctx, result): ...

    hooks = HookRegistry()
    assert not hooks.wants_details("query")
    hooks.register_hook(Outlined())
    assert not hooks.wants_details("query")
    unregister = hooks.register_hook(RecordingHook("on_query_end"))
    assert hooks.wants_details("query")
    assert not hooks.wants_details("mutation")
    unregister()
    assert not hooks.wants_details("query")
