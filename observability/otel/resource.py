"""Who sends telemetry: the attributes of this process, the same for spans, metrics and log records.

    service.name, service.version, service.instance.id, host.name, process.pid
    parquedb.process.role    `client` or `owner`
    parquedb.namespace, parquedb.actor.id, parquedb.node.id    of an owner

What `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say wins.
"""

import os
import socket
import uuid
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from parquedb.observability.otel.version import VERSION

DEFAULT_SERVICE: Final = "parquedb"

_facts: dict[str, Any] = {"parquedb.process.role": "client"}
_instance = [str(uuid.uuid4())]


def describe_process(facts: Mapping[str, Any]) -> None:
    """Add attributes to the resource of this process; to be called before anything is sent."""
    _facts.update(facts)


def process_resource(service_name: str = DEFAULT_SERVICE) -> Resource:
    """Return the resource of this process.

    Args:
        service_name: `service.name`, unless the environment has one.
    """
    given = Resource.create()
    named = not str(given.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    ours: dict[str, Any] = {
        "service.instance.id": _instance[0],
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        **_facts,
    }
    if not named:
        # The version is of the service, which where it has a name of its own is the application.
        given = given.merge(Resource({SERVICE_NAME: service_name, "service.version": VERSION}))
    return Resource(ours).merge(given)


def _forked() -> None:
    _instance[0] = str(uuid.uuid4())


os.register_at_fork(after_in_child=_forked)
