"""The gateway as Serve's configuration files name it: `import_path: parquedb.cluster.deployment.application:build`.

Which database is served and how, the environment of the cluster's nodes says (`PARQUEDB_URL`, `PARQUEDB_GATEWAY__*`): a
configuration file is no place for either, least of all for secrets. How many replicas there are is Serve's to say.
"""

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from parquedb.cluster.client.connect import connect_async
from parquedb.cluster.gateway.deployment import build_deployment
from parquedb.settings.environment import load_gateway_settings


class Arguments(BaseModel):
    """What a configuration file may say under `args`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_cpus: float = Field(
        default=0, ge=0, le=64, description="What each replica asks of its node; 0 lets it go to any node."
    )


def build(arguments: Arguments) -> "serve.Application":
    """Return the gateway to the database that this process's environment names; Serve calls it in a task of its own.

    Raises:
        ConfigurationError: a variable cannot be used.
        ParqueDBError: the database cannot be reached.
    """
    # Not closed: replicas are made of what is pickled of it, and Serve ends this process right afterwards.
    database = asyncio.run(connect_async())
    options: dict[str, Any] = {"num_cpus": arguments.num_cpus}
    return build_deployment(database, load_gateway_settings(), ray_actor_options=options)
