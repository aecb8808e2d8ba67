"""What hooks hear of a load: the method that was called, and how many documents it stored."""

from typing import Any

from parquedb.actors.operations import INSERT_ARROW, Operation, Outcome
from parquedb.cluster.watching import Watch
from parquedb.observability.hooks import HookRegistry


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
