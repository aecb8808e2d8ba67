"""Secrets on their way to other processes: through Ray, to those that may call its actors, never in a pickle.

A pickled database carries everything but its secrets: that of storage, and the keys of grants or the grant that it
holds. Who unpickles it takes them from the environment, or asks a keeper, a small actor that exists only if a database
with such a secret was ever pickled.
"""

import hashlib
import json
import os
from typing import Any

import ray
from ray.exceptions import RayError

from parquedb.cluster.runtime.lookup import Lookup
from parquedb.cluster.runtime.naming import database_name
from parquedb.cluster.runtime.placement import node_options
from parquedb.errors import RpcUnavailableError
from parquedb.settings import GrantSettings, Settings, env_name

KEEPER_TIMEOUT_S = 10.0
_DIGEST_CHARS = 16


class SecretKeeper:
    """Holds one secret of one database."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def secret(self) -> str:
        """Return it."""
        return self._secret


_OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1}
RemoteSecretKeeper: Any = ray.remote(**_OPTIONS)(SecretKeeper)


def keep(settings: Settings) -> str:
    """Make secrets available to those who will unpickle a database with these settings.

    Returns:
        Name of the keeper of what the database shows to owners; "" where it shows nothing. One that shows a grant has a
        keeper of its own: whoever unpickles it shall not come by the keys of another.

    Raises:
        RpcUnavailableError: the head of the cluster does not answer.
    """
    if not ray.is_initialized():
        return ""
    if settings.secret is not None:
        _keep(settings, _keeper_name(settings), settings.reveal_secret())
    shown = _shown(settings.access)
    if shown is None:
        return ""
    name = f"access-of-{database_name(settings)}{hashlib.sha256(shown.encode()).hexdigest()[:_DIGEST_CHARS]}"
    _keep(settings, name, shown)
    return name


def recover(settings: Settings, access_keeper: str = "") -> Settings:
    """Return settings that came out of a pickle with their secrets, where they can be had.

    Args:
        settings: Of the database.
        access_keeper: What `keep` returned.
    """
    if settings.key is not None and settings.secret is None:
        # Without it: good enough for namespaces that have an owner; a store that wants it will say so.
        secret = os.environ.get(env_name("secret")) or _asked(settings, _keeper_name(settings))
        settings = settings.with_secret(secret)
    if access_keeper and _shown(settings.access) is None:
        shown = _asked(settings, access_keeper)
        if shown is not None:
            access = settings.access.model_dump() | json.loads(shown)
            settings = settings.model_copy(update={"access": GrantSettings(**access)})
    return settings


def _keep(settings: Settings, name: str, secret: str | None) -> None:
    options = {"name": name, "namespace": settings.ray_namespace, "lifetime": "detached", "get_if_exists": True}
    keeper = RemoteSecretKeeper.options(**options, **node_options(settings))
    Lookup("who keeps a secret", lambda: keeper.remote(secret)).result(KEEPER_TIMEOUT_S)


def _asked(settings: Settings, name: str) -> str | None:
    try:
        question = Lookup("who keeps a secret", lambda: ray.get_actor(name, settings.ray_namespace))
        keeper: Any = question.result(KEEPER_TIMEOUT_S)
        return str(ray.get(keeper.secret.remote(), timeout=KEEPER_TIMEOUT_S))
    except (ValueError, RayError, RpcUnavailableError):
        return None


def _shown(access: GrantSettings) -> str | None:
    """Return the secrets of access as a text; None where there are none."""
    keys, grant = access.reveal_keys(), access.reveal_grant()
    return json.dumps({"keys": keys, "grant": grant}) if keys or grant is not None else None


def _keeper_name(settings: Settings) -> str:
    return f"secret-of-{database_name(settings)}"
