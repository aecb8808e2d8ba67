"""The gateway on Ray Serve: as many processes as wanted behind Serve's HTTP proxies."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from ray import serve

from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway.access import secrets
from parquedb.cluster.gateway.access.callers import build_authenticator
from parquedb.cluster.gateway.access.tls import serve_tls_options
from parquedb.cluster.gateway.app import build_app
from parquedb.cluster.gateway.proxy_questions import SparedProxy
from parquedb.observability.otel.export import otel_variables
from parquedb.settings.gateway import GatewaySettings

NAME: Final = "parquedb-gateway"
"""Of the Serve application, and of its deployment."""

HEALTH_CHECK_S: Final = 10.0
"""Seconds between Serve's looks at a replica, and for each answer."""


def build_deployment(database: AsyncDatabase, settings: GatewaySettings, **options: Any) -> "serve.Application":
    """Return the gateway to a database as a Serve application.

    Args:
        database: What is served; a copy of it travels to each replica.
        settings: Of the gateway; `replicas` and `shutdown_s` are Serve's as well.
        **options: Of `serve.deployment`, such as `autoscaling_config` or `ray_actor_options`; they win, and what a
            replica needs in its environment is added to `ray_actor_options`.

    Raises:
        ConfigurationError: such a gateway would not start.
    """
    # What is wrong with the settings is told here, and not in the log of a replica.
    build_authenticator(settings.access, database, production=settings.environment == "production")
    ray_namespace = database.settings.ray_namespace
    keeper = secrets.keep(settings.access, ray_namespace)

    def build() -> FastAPI:
        with ThreadPoolExecutor(1) as beside_the_loop:
            access = beside_the_loop.submit(secrets.recover, settings.access, keeper, ray_namespace).result()
        app = build_app(database, settings.model_copy(update={"access": access}), behind_serve=True)
        app.add_middleware(SparedProxy)
        return app

    options = _options(settings) | options
    options["ray_actor_options"] = _with_environment(options["ray_actor_options"])
    deployment = serve.deployment(**options)(serve.ingress(build)(_Replica))
    application: serve.Application = deployment.bind()
    return application


def _options(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "name": NAME,
        "num_replicas": settings.replicas,
        # Beyond what a replica takes it says 503 by itself, at once; Serve would let requests wait unseen.
        "max_ongoing_requests": 2 * settings.requests_max,
        "graceful_shutdown_timeout_s": settings.shutdown_s,
        "health_check_period_s": HEALTH_CHECK_S,
        "health_check_timeout_s": HEALTH_CHECK_S,
        "ray_actor_options": {"num_cpus": 0},
        # The gateway has an access log of its own.
        "logging_config": {"enable_access_log": False},
    }


def _with_environment(actor_options: dict[str, Any]) -> dict[str, Any]:
    """Return options of replicas with their environment: they inherit nothing of this process's."""
    runtime = actor_options.get("runtime_env", {})
    variables = otel_variables() | _ONE_LOOP | runtime.get("env_vars", {})
    return {**actor_options, "runtime_env": {**runtime, "env_vars": variables}}


_ONE_LOOP: Final = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}
"""Serve runs handlers on a loop of their own, lest they block its own. Ours do not, and each hop costs."""


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

    Where Serve runs on the cluster already, its proxies go on listening where they do.

    Args:
        database: What is served.
        settings: Of the gateway.
        **options: Of `serve.deployment`.

    Raises:
        ConfigurationError: the settings do not allow it.
    """
    tls = serve_tls_options(settings.access)
    application = build_deployment(database, settings, **options)
    port = settings.port or _free_port(settings.host)
    serve.start(http_options={"host": settings.host, "port": port, **tls})
    serve.run(application, name=NAME, route_prefix="/")
    return ServedGateway(address(settings.host, port, tls=bool(tls)), NAME)


def address(host: str, port: int, *, tls: bool) -> str:
    """Return the URL of a gateway that listens there."""
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _free_port(host: str) -> int:
    # Serve cannot be asked for any port: each node's proxy listens on the same one.
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
