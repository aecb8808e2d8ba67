"""The gateway on Ray Serve: as many processes as wanted behind Serve's HTTP proxies."""

from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from ray import serve

from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway.app import build_app
from parquedb.gateway_settings import GatewaySettings
from parquedb.observability.otel.export import otel_variables

NAME: Final = "parquedb-gateway"
"""Of the Serve application, and of its deployment."""


def build_deployment(database: AsyncDatabase, settings: GatewaySettings, **options: Any) -> "serve.Application":
    """Return the gateway to a database as a Serve application.

    Args:
        database: What is served; a copy of it travels to each replica.
        settings: Of the gateway; `replicas` and `shutdown_s` are Serve's as well.
        **options: Of `serve.deployment`, such as `autoscaling_config` or `ray_actor_options`; they win.

    Raises:
        ConfigurationError: such a gateway would not start.
    """

    def build() -> FastAPI:
        return build_app(database, settings, behind_serve=True)

    deployment = serve.deployment(**(_options(settings) | options))(serve.ingress(build)(_Replica))
    application: serve.Application = deployment.bind()
    return application


def _options(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "name": NAME,
        "num_replicas": settings.replicas,
        # Beyond what a replica takes it says 503 by itself, at once; Serve would let requests wait unseen.
        "max_ongoing_requests": settings.requests_max + settings.streams_max + 1,
        "graceful_shutdown_timeout_s": settings.shutdown_s,
        # A replica inherits nothing of this process's environment.
        "ray_actor_options": {"num_cpus": 0, "runtime_env": {"env_vars": otel_variables()}},
    }


class _Replica:
    """All that a replica is, it is as an ASGI application."""


@dataclass(frozen=True, slots=True)
class ServedGateway:
    """A gateway that runs on Serve.

    Attributes:
        url: Where it listens.
        name: Of the Serve application.
    """

    url: str
    name: str

    def close(self) -> None:
        """Let it finish what it is at, and end it; Serve itself goes on."""
        serve.delete(self.name)


def serve_gateway(database: AsyncDatabase, settings: GatewaySettings, **options: Any) -> ServedGateway:
    """Serve a database over HTTP on the Ray cluster that this process has joined; returns when it answers.

    Args:
        database: What is served.
        settings: Of the gateway.
        **options: Of `serve.deployment`.

    Raises:
        ConfigurationError: the settings do not allow it.
    """
    application = build_deployment(database, settings, **options)
    serve.start(http_options={"host": settings.host, "port": settings.port})
    serve.run(application, name=NAME, route_prefix="/")
    return ServedGateway(f"http://{settings.host}:{settings.port}", NAME)
