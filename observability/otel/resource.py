"""Who sends telemetry: the attributes of this process, the same for spans, metrics and log records.

    service.name, service.version, service.instance.id, host.name, process.pid
    parquedb.process.role    `client` or `owner`
    parquedb.namespace, parquedb.actor.id, parquedb.node.id    of an owner

What `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say wins.
"""

import os
import socket
import uuid
from typing import Any, Final

from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from parquedb.observability.otel.process_facts import FACTS
from parquedb.observability.otel.version import VERSION

DEFAULT_SERVICE: Final = "parquedb"

_instance = [str(uuid.uuid4())]


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
        **FACTS,
    }
    if not named:
        # The version is of the service, which where it has a name of its own is the application.
        given = given.merge(Resource({SERVICE_NAME: service_name, "service.version": VERSION}))
    return Resource(ours).merge(given)


def _forked() -> None:
    _instance[0] = str(uuid.uuid4())


os.register_at_fork(after_in_child=_forked)
