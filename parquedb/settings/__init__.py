"""What a user may turn: `Settings` of a database, and beside it those of its gateway.

`database.py` is where to begin; each group of settings has a module, and `environment.py` reads all of them.
"""

from parquedb.settings.database import (
    GIB,
    KIB,
    MIB,
    BackupSettings,
    ClientSettings,
    EngineSettings,
    GrantSettings,
    HttpSettings,
    Settings,
    StorageSettings,
    env_name,
)

__all__ = [
    "GIB",
    "KIB",
    "MIB",
    "BackupSettings",
    "ClientSettings",
    "EngineSettings",
    "GrantSettings",
    "HttpSettings",
    "Settings",
    "StorageSettings",
    "env_name",
]
