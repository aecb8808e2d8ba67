"""What the client tells hooks of operations that it sends more than once: each attempt, when it is over."""

from parquedb.actors.requests.operations import Operation
from parquedb.observability.contexts import AttemptContext
from parquedb.observability.hooks import HookRegistry


class Attempts:
    """Who is told of the attempts of the operations of one link.

    Args:
        hooks: The hooks.
        namespace: Where the operations go.
        actor: Name of the actor that is asked, if one is.
    """

    __slots__ = ("_actor", "_hooks", "_namespace")

    def __init__(self, hooks: HookRegistry, namespace: str, actor: str | None) -> None:
        self._hooks = hooks
        self._namespace = namespace
        self._actor = actor

    def over(self, operation: Operation, number: int, took_s: float, error: BaseException | None) -> None:
        """Tell of one attempt.

        Args:
            operation: What was sent.
            number: 1 for the first one.
            took_s: Seconds that it took.
            error: What it failed with, if it did.
        """
        if not self._hooks.hears("attempt"):
            return
        name = operation.options.get("method", operation.kind) if operation.is_write else operation.kind
        failure = None if error is None else type(error).__name__
        told = AttemptContext(name, self._namespace, number, max(0.0, took_s), failure, self._actor)
        self._hooks.emit("attempt", told)
