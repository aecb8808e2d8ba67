"""The architecture as rules: which folder may import which, where each heavy library lives, what shipped code holds."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("parquedb", "observability", "storage", "actors", "cluster")  # Each may import only leftward.
LINKED = LAYERS[1:]
MODULE_LINES_MAX = 400
# Fewer modules than this means that the rules looked at the wrong place and a green run says nothing.
MODULES_MIN = {"parquedb": 15, "observability": 8, "storage": 30, "actors": 12, "cluster": 15}

# Library -> where the modules that may import it begin. Type-checking imports are free.
HOMES = {
    "ray": ("cluster/", "actors/host/namespace_actor.py", "actors/host/health_methods.py", "actors/host/remote.py"),
    "s3fs": ("storage/backends/s3",),
    "aiobotocore": ("storage/backends/s3",),
    "botocore": ("storage/backends/s3",),
    "fsspec": ("storage/backends/s3",),
    "aiohttp": ("storage/backends/s3",),
    # The demo plays an application, which brings its own provider.
    "opentelemetry": ("observability/", "cluster/cli/demo_trace.py"),
    "prometheus_client": ("observability/prometheus/",),
    "rich": ("cluster/cli/",),
    "typer": ("cluster/cli/",),
    "httpx": ("cluster/http/", "cluster/gateway/access/"),
    "fastapi": ("cluster/gateway/",),
    "starlette": ("cluster/gateway/",),
    "uvicorn": ("cluster/gateway/",),
    "jwt": ("cluster/gateway/access/",),
    "cryptography": ("cluster/gateway/access/",),
    "re2": ("parquedb/documents/regex.py",),
    "genai_prices": ("observability/ai/library_prices.py",),
}
# Import names that differ from the distribution's, or that a declared dependency brings and documents as its own.
PROVIDED_BY = {
    "pydantic_settings": "pydantic-settings",
    "pydantic_core": "pydantic",
    "annotated_types": "pydantic",
    "opentelemetry": "opentelemetry-sdk",
    "aiobotocore": "s3fs",
    "aiohttp": "s3fs",
    "grpc": "opentelemetry-exporter-otlp",
    "prometheus_client": "prometheus-client",
    "re2": "google-re2",
    "genai_prices": "genai-prices",
    "starlette": "fastapi",
    "jwt": "pyjwt",
    "cryptography": "pyjwt",
}


def modules() -> list[Path]:
    """List every shipped module by its real place; the links in parquedb/ are not walked."""
    own = [entry for entry in (ROOT / "parquedb").iterdir() if entry.is_dir() and not entry.is_symlink()]
    folders = [*own, *(ROOT / folder for folder in LINKED)]
    return sorted([*(ROOT / "parquedb").glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))])


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


MODULES = {place(path): path for path in modules()}


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield each imported name, `from a import b` as `a.b`, and whether only the type checker sees it."""
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in unseen) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from ((f"{start}.{alias.name}", id(node) in unseen) for alias in node.names)


def layer(name: str) -> int:
    """Rank an import of ours: `parquedb.storage.x` belongs to storage, `parquedb.errors` to parquedb."""
    second = name.split(".")[1]
    return LAYERS.index(second) if second in LINKED else 0


def import_faults(where: str, tree: ast.AST) -> Iterator[str]:
    # The command is a user of the library like any other.
    above = where == "parquedb/__init__.py" or where.startswith("cluster/cli/")
    for name, types_only in imports(tree):
        top = name.split(".")[0]
        if name.startswith("."):
            yield f"{name}: a relative import"
        elif top in LINKED:
            yield f"{name}: import parquedb.{name}"
        elif top == "parquedb" and not above:
            if "." not in name or not is_module(name.split(".")[1]):
                yield f"{name}: goes through the front door"
            elif layer(name) > LAYERS.index(where.split("/", maxsplit=1)[0]):
                yield f"{name}: points upward"
        elif top in HOMES and not types_only and not where.startswith(HOMES[top]):
            yield f"{name}: {top} lives in {' and '.join(HOMES[top])}"
        elif top != "parquedb" and not is_declared(top):
            yield f"{name}: not among the dependencies in pyproject.toml"


@cache
def is_module(name: str) -> bool:
    return (ROOT / "parquedb" / name).is_dir() or (ROOT / "parquedb" / f"{name}.py").is_file()


@cache
def is_declared(top: str) -> bool:
    # The gateway is an extra, and a room that nobody else enters.
    about = project()["project"]
    lines = [*about["dependencies"], *about["optional-dependencies"]["serve"]]
    declared = {re.split(r"[^\w-]", line, maxsplit=1)[0] for line in lines}
    return top in sys.stdlib_module_names or PROVIDED_BY.get(top, top) in declared


def body_faults(where: str, text: str, tree: ast.Module) -> Iterator[str]:
    if len(text.splitlines()) > MODULE_LINES_MAX:
        yield f"more than {MODULE_LINES_MAX} lines"
    if not ast.get_docstring(tree):
        yield "no docstring: say in one line what this module is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and not where.endswith("/testing.py"):  # Contracts that test suites inherit.
            yield f"line {node.lineno}: a bare assert, which -O removes"
        elif isinstance(node, ast.Name) and node.id == "print" and not where.startswith("cluster/cli/"):
            yield f"line {node.lineno}: print outside cluster/cli"


def faults(where: str, text: str) -> list[str]:
    """Name every house rule that a module at `where` with this text breaks."""
    tree = ast.parse(text)
    return [*import_faults(where, tree), *body_faults(where, text, tree)]


@cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("where", MODULES)
def test_a_module_keeps_the_house_rules(where: str) -> None:
    assert faults(where, MODULES[where].read_text()) == []


SEEDED = {
    "points upward": ("storage/x.py", "from parquedb.actors.engine import NamespaceEngine"),
    "cluster.client.database: points upward": ("actors/x.py", "def f():\n    import parquedb.cluster.client.database"),
    "storage: points upward": ("observability/x.py", "from parquedb import storage"),
    "keys: points upward": ("parquedb/documents/x.py", "from parquedb.storage import keys"),
    "through the front door": ("storage/x.py", "from parquedb import connect"),
    "import parquedb.actors": ("cluster/x.py", "import actors"),
    "a relative import": ("storage/x.py", "from .keys import check_key"),
    "ray lives in": ("actors/engine.py", "import ray"),
    "s3fs lives in": ("storage/backends/layers.py", "from s3fs import S3FileSystem"),
    "opentelemetry lives in": ("cluster/x.py", "from opentelemetry import trace"),
    "rich lives in": ("cluster/client/database.py", "import rich.table"),
    "not among the dependencies": ("storage/x.py", "import pandas"),
    "a bare assert": ("storage/x.py", "assert True"),
    "print outside": ("cluster/client/database.py", "print(1)"),
    "no docstring": ("storage/x.py", ""),
    "more than 400 lines": ("storage/x.py", "'''Long.'''\n" + "x = 1\n" * MODULE_LINES_MAX),
}


@pytest.mark.parametrize("expected", SEEDED)
def test_each_rule_sees_a_seeded_fault(expected: str) -> None:
    where, code = SEEDED[expected]
    text = code if "docstring" in expected else f'"""A module."""\n{code}\n'
    found = faults(where, text)
    assert len(found) == 1
    assert expected in found[0]


def test_what_the_rules_allow_is_allowed() -> None:
    allowed = '"""A module."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray\n'
    assert faults("storage/x.py", allowed + "from parquedb.errors import NotFoundError\n") == []
    assert faults("cluster/cli/x.py", '"""A module."""\nimport parquedb, ray, rich\nprint(1)\n') == []
    assert (
        faults("parquedb/__init__.py", '"""Front door."""\nfrom parquedb.cluster.client.database import Database\n')
        == []
    )


def test_the_rules_looked_at_every_folder() -> None:
    seen = {name: sum(where.startswith(f"{name}/") for where in MODULES) for name in LAYERS}
    assert {name: count for name, count in seen.items() if count < MODULES_MIN[name]} == {}


@pytest.mark.parametrize("name", LINKED)
def test_a_folder_is_linked_into_the_package(name: str) -> None:
    link = ROOT / "parquedb" / name
    assert link.is_symlink(), "a copy here would give every class a double, and mypy would read neither"
    assert link.readlink() == Path("..", name)


def test_pyproject_packages_are_the_folders() -> None:
    packages = project()["tool"]["setuptools"]
    folders = {Path(where).parent.as_posix() for where in MODULES}
    names = {f"parquedb.{name.replace('/', '.')}" if name.split("/")[0] in LINKED else name for name in folders}
    names = {name.replace("/", ".") for name in names}
    assert set(packages["packages"]) == names
    assert {name: packages["package-dir"][name] for name in names} == packages["package-dir"]
    assert set(packages["package-dir"].values()) == folders
    for folder in folders:
        assert (ROOT / folder / "__init__.py").is_file(), f"{folder} has no __init__.py"
