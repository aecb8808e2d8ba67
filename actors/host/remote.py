"""`NamespaceActor` as Ray starts it.

Ray sends the class to the process of an actor. By itself it sends it by value, with the name of every method, private
ones too: an owner could not start where the code is a version older or younger than its first caller's, for want of one
of them. Here the class is named, so that each process runs the one that it has.
"""

from typing import Any, Final

import ray

from parquedb.actors.host import namespace_actor

CONCURRENT_CALLS_MAX: Final = 10_000
HEALTH_CALLS_MAX: Final = 8

# Ray's type hints for `remote` know the options of tasks only.
_OPTIONS: Final[dict[str, Any]] = {
    "num_cpus": 0,
    "max_restarts": -1,
    # Ray would repeat finished calls and reorder them; the client repeats with request ids instead.
    "max_task_retries": 0,
    "max_concurrency": CONCURRENT_CALLS_MAX,
    "concurrency_groups": {"health": HEALTH_CALLS_MAX},
}


class NamespaceActor(namespace_actor.NamespaceActor):
    """The same under this module's name, which Ray gives to what it makes of it, again wherever it is received."""


RemoteNamespaceActor: Any = ray.remote(**_OPTIONS)(NamespaceActor)
"""`NamespaceActor` for Ray; the class itself stays plain."""

SentNamespaceActor: type = RemoteNamespaceActor.__ray_metadata__.modified_class
"""What Ray has made of the class. Pickled under this name, which later versions therefore have to keep."""

SentNamespaceActor.__qualname__ = "SentNamespaceActor"
