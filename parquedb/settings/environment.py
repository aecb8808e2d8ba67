"""Loading settings: from arguments, else from `PARQUEDB_*` environment variables, else defaults.

Apart from the settings themselves, because owners get theirs from clients: they start without the library that reads
the environment.
"""

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from parquedb.errors import ConfigurationError, ErrorCode
from parquedb.settings.database import ENV_DELIMITER, ENV_PREFIX, Settings, env_name
from parquedb.settings.gateway import GATEWAY_ENV_PREFIX, GatewaySettings, gateway_env_name
from parquedb.settings.logs import LogSettings
from parquedb.settings.problems import Wording

S = TypeVar("S", bound=BaseModel)

_CONFIG: Final = SettingsConfigDict(
    env_prefix=ENV_PREFIX,
    env_nested_delimiter=ENV_DELIMITER,
    env_ignore_empty=True,
    # Off, so that a malformed value is a validation error like any other and can be reported without its text.
    enable_decoding=False,
    frozen=True,
    extra="forbid",
    allow_inf_nan=False,
    hide_input_in_errors=True,
)


class _Environment(Settings, BaseSettings):
    model_config = _CONFIG


class _LogEnvironment(LogSettings, BaseSettings):
    model_config = _CONFIG


class _GatewayEnvironment(GatewaySettings, BaseSettings):
    model_config = SettingsConfigDict(**{**_CONFIG, "env_prefix": GATEWAY_ENV_PREFIX})


def load_settings(url: str | os.PathLike[str] | None = None, **arguments: Any) -> Settings:
    """Return the settings of a connection.

    Args:
        url: Where the database is; `PARQUEDB_URL` when None.
        **arguments: Fields of `Settings`; None counts as not given. A group is a dict of some of its fields (the others
            still come from the environment) or a whole object of its class.

    Raises:
        ConfigurationError: an unknown argument, or a value that cannot be used; `setting` is the environment variable
            (for an unknown argument its name) and the message never shows a secret.
    """
    return _loaded(Settings, _Environment, {"url": url, **arguments})


def load_log_settings(**arguments: Any) -> LogSettings:
    """Return the settings of logs alone, for a process without a database; raises like `load_settings`."""
    return _loaded(LogSettings, _LogEnvironment, arguments)


def load_gateway_settings(**arguments: Any) -> GatewaySettings:
    """Return the settings of a gateway; arguments and errors as of `load_settings`."""
    kind = os.environ.get(gateway_env_name("environment")) or None
    return _loaded(GatewaySettings, _GatewayEnvironment, {"environment": kind} | arguments, gateway_env_name)


def _loaded(
    model: type[S], reader: type[BaseSettings], arguments: dict[str, Any], env_name: Callable[..., str] = env_name
) -> S:
    wording = Wording(model, env_name)
    for name in arguments:
        if name not in model.model_fields:
            raise ConfigurationError(f"unknown argument {name!r}{wording.did_you_mean(name)}", setting=name)
    try:
        read = reader(**{name: value for name, value in arguments.items() if value is not None})
    except ValidationError as error:
        problems = error.errors(include_url=False)
    except SettingsError:
        problems = []
    else:
        # Of the plain class, so that whoever unpickles it needs no more than that; checked already.
        values = {name: getattr(read, name) for name in model.model_fields}
        return model.model_construct(read.model_fields_set, **values)
    # Raised out here, so that the library's error, which holds the values, is neither cause nor context of ours.
    if not problems:
        raise ConfigurationError(f"the {ENV_PREFIX}* variables cannot be read", setting=ENV_PREFIX)
    names = [env_name(*(str(part) for part in problem["loc"])) for problem in problems]
    missing = all(problem["type"] == "missing" for problem in problems)
    raise ConfigurationError(
        "; ".join(wording.worded(problem, name) for problem, name in zip(problems, names, strict=True)),
        code=ErrorCode.MISSING_CONFIG if missing else ErrorCode.INVALID_CONFIG,
        setting=names[0],
    )
