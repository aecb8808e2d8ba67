"""One life of an owner, of whatever version of the package the path leads to. Uses nothing but the public API.

    PYTHONPATH=<a checkout> python tests/support/versions/life.py '{"url": "/db", "number": 2, "end": "kill", ...}'

It looks at what earlier lives wrote, writes its own, changes and deletes some of theirs, and ends in order (`close`) or
with the owner killed (`kill`). With `owner_path` the owner runs another version than this process does. The last line
of stdout is what it saw, as JSON.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

NAMESPACE = "posts"
DOCUMENTS = 40
"""Of each life; the second half is written after a flush."""

REQUEST = "the-same-in-every-life"


def document(number: int, at: int) -> dict[str, Any]:
    """Return what a life writes: every type of value that all versions know."""
    return {
        "life": number,
        "n": at,
        "text": f"ä {number}-{at}",
        "price": Decimal(at) / 4,
        "when": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number, microseconds=at),
        "day": date(2026, 1, 1 + at % 28),
        "raw": bytes([number, at]),
        "key": uuid.UUID(int=number * 1000 + at),
        "flag": at % 2 == 0,
        "nothing": None,
        "rate": at / 3,
        "list": [at, "x", {"deep": [at]}],
        "mixed": at if at % 3 else str(at),
    }


def expected(lives: int) -> dict[str, dict[str, Any]]:
    """Return what is there after so many lives, by id."""
    found = {}
    for number in range(1, lives + 1):
        for at in range(DOCUMENTS):
            found[f"l{number}-{at}"] = document(number, at)
        if number > 1:
            # Of the life before, one document of each half is changed, and one of each goes.
            for at in (0, DOCUMENTS - 1):
                found[f"l{number - 1}-{at}"]["changed"] = number
            for at in (1, DOCUMENTS - 2):
                del found[f"l{number - 1}-{at}"]
    return found


def live(posts: Any, number: int) -> dict[str, Any]:
    """Look, write, look again; return what is wrong."""
    wrong: list[str] = []
    compare(posts, expected(number - 1), f"what {number - 1} lives have left", wrong)
    for at in range(DOCUMENTS):
        if at == DOCUMENTS // 2:
            posts.flush()
        posts.create(document(number, at), id=f"l{number}-{at}")
    if number > 1:
        for at in (0, DOCUMENTS - 1):
            posts.update(f"l{number - 1}-{at}", {"$set": {"changed": number}})
        for at in (1, DOCUMENTS - 2):
            posts.delete(f"l{number - 1}-{at}", hard=True)
    counted = posts.update("counter", {"$inc": {"n": 1}}, upsert=True)["n"]
    if counted != number:
        wrong.append(f"the counter stands at {counted} in life {number}")
    repeated = posts.update("once", {"$inc": {"n": 1}}, upsert=True, request_id=REQUEST)["n"]
    if repeated != 1:
        wrong.append(f"a request was applied {repeated} times")
    compare(posts, expected(number), f"what {number} lives come to", wrong)
    return {"wrong": wrong}


def compare(posts: Any, wanted: dict[str, dict[str, Any]], what: str, wrong: list[str]) -> None:
    """Note where the documents of all lives are not these."""
    found = {}
    for each in posts.find({"life": {"$exists": True}}, limit=1000).items:
        own = {name: value for name, value in each.items() if name in DOCUMENT_FIELDS}
        found[each["$id"].partition("/")[2]] = own
    if found != wanted:
        ids = sorted(id_ for id_ in found.keys() | wanted.keys() if found.get(id_) != wanted.get(id_))
        wrong.append(f"{what}: {len(ids)} documents differ, such as {ids[0]}: {found.get(ids[0])}")


DOCUMENT_FIELDS = frozenset([*document(1, 1), "changed"])


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Live it."""
    import ray  # noqa: PLC0415 - of the environment

    import parquedb  # noqa: PLC0415 - of the path

    folder = tempfile.mkdtemp(prefix="pqv")
    environment = {"env_vars": {"PYTHONPATH": task["owner_path"]}} if task.get("owner_path") else None
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=80 << 20,
        namespace="parquedb",
        runtime_env=environment,
        _temp_dir=folder,
    )
    try:
        db = parquedb.connect(task["url"])
        posts = db[NAMESPACE]
        seen: dict[str, Any] = {"path": os.path.dirname(os.path.dirname(parquedb.__file__))}
        try:
            seen |= live(posts, task["number"])
            owner = ray.get(posts.actor.stats.remote())
        except parquedb.errors.ParqueDBError as error:
            return seen | {"refused": type(error).__name__, "message": str(error)}
        if task.get("owner_path"):
            seen["owner_version"] = ray.get(posts.actor.health.remote()).get("version")
        if task["end"] == "kill":
            ray.kill(posts.actor, no_restart=True)
            os.kill(owner["pid"], signal.SIGKILL)
        else:
            ray.get(posts.actor.close.remote())
        return seen | {"owner_pid": owner["pid"]}
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    said = main(json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(said) + "\n")
