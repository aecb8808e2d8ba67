"""What a shell completes beyond sub-commands and options: namespaces, where looking for them costs next to nothing."""

import os
from pathlib import Path
from typing import Final

import typer

NAMES_MAX: Final = 200


def namespaces(context: typer.Context, incomplete: str) -> list[str]:
    """Return the namespaces in the directory that the command line names; none for what is behind a network."""
    url = context.params.get("url") or os.environ.get("PARQUEDB_URL") or ""
    # A key press waits for this: no store is asked, and no library loaded that reads one.
    if not url or "://" in url:
        return []
    from parquedb.errors import InvalidPathError  # noqa: PLC0415 - other completions do without
    from parquedb.storage.keys import decode_segment  # noqa: PLC0415

    found: list[str] = []
    try:
        folders = sorted(entry.name for entry in os.scandir(Path(url).expanduser()) if entry.is_dir())
    except OSError:
        return []
    for folder in folders:
        try:
            name = decode_segment(folder)
        except InvalidPathError:
            continue  # Our own folders and foreign ones.
        if name.startswith(incomplete):
            found.append(name)
    return found[:NAMES_MAX]
