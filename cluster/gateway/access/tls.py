"""TLS with callers: options for the server that listens, and files that are looked at before it does.

Ray Serve's proxies speak TLS with a certificate of theirs, but ask callers for none, whatever authorities they are
given. Where client certificates are demanded, the gateway runs on uvicorn alone, or behind a proxy that demands them.
"""

import ssl
from typing import Any, Final

from parquedb.errors import ConfigurationError
from parquedb.settings.access import AccessSettings

_SETTING: Final = "PARQUEDB_GATEWAY__ACCESS__TLS_"


def serve_tls_options(settings: AccessSettings) -> dict[str, Any]:
    """Return what `ray.serve.config.HTTPOptions` takes; nothing where TLS is not asked for.

    Raises:
        ConfigurationError: client certificates are demanded, or a file cannot be used.
    """
    if settings.tls_client_ca is not None:
        raise ConfigurationError(
            "Ray Serve asks callers for no certificate: run one gateway on uvicorn, or put a proxy in front that does",
            setting=f"{_SETTING}CLIENT_CA",
        )
    return uvicorn_tls_options(settings)


def uvicorn_tls_options(settings: AccessSettings) -> dict[str, Any]:
    """Return what `uvicorn.Config` takes; nothing where TLS is not asked for. Older versions than 1.2 are refused.

    Raises:
        ConfigurationError: a file cannot be used; the message names the setting, and says nothing of what is in it.
    """
    if settings.tls_certificate is None:
        return {}
    password = None if settings.tls_key_password is None else settings.tls_key_password.get_secret_value()
    _check_files(settings, password)
    options = {"ssl_certfile": settings.tls_certificate, "ssl_keyfile": settings.tls_key}
    if password is not None:
        options["ssl_keyfile_password"] = password
    if settings.tls_client_ca is None:
        return options
    return {**options, "ssl_ca_certs": settings.tls_client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}


def _check_files(settings: AccessSettings, password: str | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    problem = None
    try:
        # An empty password stands for none: without one, OpenSSL would ask at the terminal.
        context.load_cert_chain(settings.tls_certificate or "", settings.tls_key, password or "")
    except (OSError, ValueError) as error:
        problem = ("CERTIFICATE", _worded(error))
    if problem is None and settings.tls_client_ca is not None:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except (OSError, ValueError) as error:
            problem = ("CLIENT_CA", _worded(error))
    if problem is not None:
        raise ConfigurationError(f"{_SETTING}{problem[0]}: {problem[1]}", setting=_SETTING + problem[0])


def _worded(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"certificate and key do not fit, or are not PEM ({error.reason or 'unreadable'})"
    return getattr(error, "strerror", None) or "the file cannot be read"
