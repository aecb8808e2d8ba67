"""The storage secret on its way to other processes: through Ray, to those that may call its actors, never in a pickle.

A pickled database carries everything but the secret. Who unpickles it takes the secret from `PARQUEDB_SECRET`, or asks
the keeper, a small actor that exists only if a database with an explicit secret was ever pickled.
"""

import os
from typing import Any

import ray
from ray.exceptions import RayError

from parquedb.cluster.runtime.naming import database_name
from parquedb.settings import Settings, env_name

KEEPER_TIMEOUT_S = 10.0


class SecretKeeper:
    """Holds the secret of one database."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def secret(self) -> str:
        """Return it."""
        return self._secret


_OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1}
RemoteSecretKeeper: Any = ray.remote(**_OPTIONS)(SecretKeeper)


def keep(settings: Settings) -> None:
    """Make the secret available to those who will unpickle a database with these settings."""
    if settings.secret is not None and ray.is_initialized():
        RemoteSecretKeeper.options(
            name=_keeper_name(settings), namespace=settings.ray_namespace, lifetime="detached", get_if_exists=True
        ).remote(settings.reveal_secret())


def recover(settings: Settings) -> Settings:
    """Return settings that came out of a pickle with their secret, where it can be had."""
    if settings.key is None or settings.secret is not None:
        return settings
    secret = os.environ.get(env_name("secret"))
    if secret is None:
        try:
            keeper: Any = ray.get_actor(_keeper_name(settings), settings.ray_namespace)
            secret = str(ray.get(keeper.secret.remote(), timeout=KEEPER_TIMEOUT_S))
        except (ValueError, RayError):
            return settings  # Good enough for namespaces that have an owner; a store that wants it will say so.
    return settings.with_secret(secret)


def _keeper_name(settings: Settings) -> str:
    return f"secret-of-{database_name(settings)}"
