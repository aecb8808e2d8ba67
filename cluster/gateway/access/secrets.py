"""The secrets that tokens are checked with, on their way to replicas: through Ray, and in no pickle.

Serve stores what it makes replicas of, as pickles. So settings travel without their secrets, and a replica takes these
from its environment, or asks the keeper: a small actor that whoever deploys a gateway starts.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import Any, Final

import ray
from ray.exceptions import RayError

from parquedb.cluster.runtime.secrets import KEEPER_TIMEOUT_S
from parquedb.settings import env_name
from parquedb.settings.access import AccessSettings

VARIABLE: Final = env_name("gateway", "access", "jwt_secrets")


class AccessKeeper:
    """Holds the secrets of one gateway."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secrets)

    def secrets(self) -> tuple[str, ...]:
        """Return them."""
        return self._secrets


_OPTIONS: Final[dict[str, Any]] = {"num_cpus": 0, "max_restarts": -1}
RemoteAccessKeeper: Final[Any] = ray.remote(**_OPTIONS)(AccessKeeper)


def keep(settings: AccessSettings, ray_namespace: str) -> str | None:
    """Make the secrets available to replicas on this cluster.

    Returns:
        The name under which they are found; None where there are none.
    """
    secrets = settings.reveal_jwt_secrets()
    if not secrets:
        return None
    # Named after what it holds: new secrets get a keeper of their own, and replicas that still run keep theirs.
    name = f"access-secrets-{hashlib.sha256(repr(secrets).encode()).hexdigest()[:32]}"
    RemoteAccessKeeper.options(name=name, namespace=ray_namespace, lifetime="detached", get_if_exists=True).remote(
        secrets
    )
    return name


def recover(settings: AccessSettings, name: str | None, ray_namespace: str) -> AccessSettings:
    """Return settings that came out of a pickle with their secrets, where these can be had. Not for an event loop.

    Without them a gateway does not start; see `build_authenticator`.
    """
    if not settings.withheld:
        return settings
    given = [part.strip() for part in os.environ.get(VARIABLE, "").split(",") if part.strip()]
    if not given and name is not None:
        try:
            keeper: Any = ray.get_actor(name, ray_namespace)
            given = list(ray.get(keeper.secrets.remote(), timeout=KEEPER_TIMEOUT_S))
        except (ValueError, RayError):
            return settings
    return settings.with_jwt_secrets(given) if given else settings
