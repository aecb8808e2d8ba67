"""The pages of the gateway, console and API, and their files, as they lie in the package: nothing is built or fetched.

They are open to everybody, for they hold nothing; what they show comes from routes that ask who is calling.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from starlette.responses import Response

from parquedb.cluster.gateway import routes
from parquedb.cluster.gateway.call import Call
from parquedb.errors import NotFoundError

_PAGES: Final = {routes.CONSOLE: "index.html", routes.DOCS: "docs.html"}
"""What is served under an address of its own; all else below that of the console."""

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    # Scripts and styles from files of this gateway alone: text that gets into the page where it should not stays text.
    # Trusted types make the browser refuse the assignments by which it would not.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    # Asked for each time, answered with 304: after an upgrade no old file meets a new one.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media_type: str
    tag: str


def _loaded() -> dict[str, _File]:
    found = {}
    for path in (files(__package__) / "static").iterdir():
        media_type = _TYPES.get("." + path.name.rpartition(".")[2])
        if media_type is not None:
            body = path.read_bytes()
            found[path.name] = _File(body, media_type, hashlib.blake2b(body, digest_size=12).hexdigest())
    return found


class Pages:
    """Answers with the pages and their files, from memory.

    Args:
        shown: Addresses of those that are shown.
    """

    def __init__(self, shown: Iterable[str]) -> None:
        self._shown = frozenset(shown)
        self._files = _loaded()

    @property
    def paths(self) -> frozenset[str]:
        """Where they are: what everybody may ask for."""
        names = self._files.keys() - set(_PAGES.values())
        return self._shown | {routes.CONSOLE_FILE.format(file=name) for name in names} if self._shown else frozenset()

    async def page(self, call: Call) -> Response:
        """Answer with a page itself."""
        path = routes.route_of(call.scope["path"].removeprefix(call.scope.get("root_path", "")))
        call.operation = path.removeprefix("/")
        return self._answer(call, _PAGES[path])

    async def file(self, call: Call) -> Response:
        """Answer with what a page loads.

        Raises:
            NotFoundError: there is no such file.
        """
        call.operation = "console"
        name: str = call.scope["path_params"]["file"]
        if name not in self._files or name in _PAGES.values():
            raise NotFoundError(f"the console has no file {name[:80]!r}")
        return self._answer(call, name)

    def _answer(self, call: Call, name: str) -> Response:
        found = self._files[name]
        headers = {**_HEADERS, "ETag": f'"{found.tag}"'}
        if found.tag in call.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        headers["Content-Length"] = str(len(found.body))
        return Response(b"" if call.is_head else found.body, 200, headers, found.media_type)
