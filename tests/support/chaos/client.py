"""A client process: writers and a reader in every namespace, each answer on record before the next step.

    python -m tests.support.chaos.client '{"name": "c0", "life": 0, "records": [...], "setup": true, "settings": {...}}'

A killed client starts again with the records of its earlier lives: what it was not told the outcome of, it first
repeats under the same request ids. It says `ready`, then `progress`; the commands are `stop` and `dump`.
"""

import asyncio
import itertools
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import parquedb
from parquedb.errors import (
    AlreadyExistsError,
    EntityNotFoundError,
    OutcomeUnknownError,
    ParqueDBError,
    VersionConflictError,
)
from tests.support.chaos.processes import own_stdout
from tests.support.chaos.records import Answer, Read, Recorder, Stored, Total, Write, load, now_s, undecided
from tests.support.chaos.schedule import NAMESPACES
from tests.support.workloads import State

ACCOUNTS, COUNTERS, VERSIONED = 6, 4, 4
BALANCE = 100
WRITERS = 3
PAUSE_S = 0.04
PROGRESS_S = 0.25
SNAPSHOT_EACH = 60
"""Reads after which a reader takes a snapshot: it opens files, which costs more than all the others together."""

TIMEOUTS_S = (2.0, 20.0, 20.0)
"""How long callers wait; the impatient ones are left in doubt."""

REPEATS_MAX = 8
SETUP_S, REPEAT_S = 90.0, 20.0
SHARED = {
    **{f"a{number}": {"kind": "account", "n": BALANCE} for number in range(ACCOUNTS)},
    **{f"n{number}": {"kind": "counter", "n": 0} for number in range(COUNTERS)},
    **{f"v{number}": {"kind": "versioned", "n": 0} for number in range(VERSIONED)},
}

_DECISIVE = (AlreadyExistsError, EntityNotFoundError, VersionConflictError)
"""What settles a repetition: the owner has looked for the request id first, and decided on the documents."""


class Client:
    """All that one process does in all namespaces."""

    def __init__(self, database: parquedb.AsyncDatabase, task: dict[str, Any], recorder: Recorder) -> None:
        self._database = database
        self._name = f"{task['name']}.{task.get('life', 0)}"
        self._recorder = recorder
        self._numbers = itertools.count()
        self._stop = False
        self.acknowledged: Counter[str] = Counter()

    def stop(self) -> None:
        """Let everybody finish what they are at."""
        self._stop = True

    # -- writes

    async def set_up(self, namespace: str) -> None:
        """Make the documents everybody changes."""
        for id_ in SHARED:
            write = Write(namespace, self._token(), "create", [id_], now_s(), request=f"set-up-{id_}")
            self._recorder.note(write)
            await self._settle(write, f"set-up-{id_}", SETUP_S)

    async def write(self, namespace: str, writer: int) -> None:
        """Write until `stop`."""
        rng = random.Random(f"{self._name}-{namespace}-{writer}")
        while not self._stop:
            write = await self._choose(namespace, rng)
            if write is not None:
                self._recorder.note(write)
                await self._send(write, write.request, rng.choice(TIMEOUTS_S), again=rng.random() < 0.5)
            await asyncio.sleep(rng.random() * PAUSE_S)

    async def _choose(self, namespace: str, rng: random.Random) -> Write | None:
        choice, token = rng.random(), self._token()
        request = token if rng.random() < 0.5 else None
        if choice < 0.2:
            return Write(namespace, token, "create", [token], now_s(), request)
        if choice < 0.45:
            id_ = f"n{rng.randrange(COUNTERS)}"
            return Write(namespace, token, "add", [id_], now_s(), request, amount=rng.randrange(1, 10))
        if choice < 0.65:
            read = await self._get(namespace, f"v{rng.randrange(VERSIONED)}", f"w{rng.random()}")
            if read is None:
                return None
            return Write(namespace, token, "versioned", [read.id], now_s(), request, expected=read.version)
        target, source = rng.sample(range(ACCOUNTS), 2)
        ids = [f"a{target}", f"a{source}"]
        return Write(namespace, token, "transfer", ids, now_s(), request, amount=rng.randrange(1, 50))

    async def _send(
        self, write: Write, request: str | None, timeout_s: float, *, again: bool = False, repeated: bool = False
    ) -> State:
        """Send a write and note its answer; where that is none, perhaps again under the request id it came with."""
        answer = Answer(write.namespace, write.token, 0.0, State.REFUSED.value, repeated=repeated)
        try:
            documents = await self._call(write, request, timeout_s)
        except ParqueDBError as error:
            answer.error = type(error).__name__
            if isinstance(error, OutcomeUnknownError):
                answer.state, answer.request = State.UNKNOWN.value, error.request_id
            elif repeated and not isinstance(error, _DECISIVE):
                # This try was refused; what became of the first is not said.
                answer.state, answer.request = State.UNKNOWN.value, request
        else:
            answer.state = State.ACKNOWLEDGED.value
            answer.changed = [(document["$id"].partition("/")[2], document["version"]) for document in documents]
            self.acknowledged[write.namespace] += 1
        answer.at_s = now_s()
        self._recorder.note(answer)
        if again and answer.request is not None:
            return await self._send(write, answer.request, REPEAT_S, repeated=True)
        return State(answer.state)

    async def _call(self, write: Write, request: str | None, timeout_s: float) -> list[dict[str, Any]]:
        posts = self._database[write.namespace]
        options: dict[str, Any] = {"request_id": request, "timeout_s": timeout_s}
        mark = {"$set": {"token": write.token}}
        if write.kind == "create":
            body = {"token": write.token, **SHARED.get(write.ids[0], {"kind": "single"})}
            return [await posts.create(body, id=write.ids[0], **options)]
        if write.kind == "add":
            return [await posts.update(write.ids[0], {"$inc": {"n": write.amount}, **mark}, **options)]
        if write.kind == "versioned":
            return [await posts.update(write.ids[0], mark, expected_version=write.expected, **options)]
        amounts = (write.amount, -write.amount)
        operations = [
            {"op": "update", "id": id_, "ops": {"$inc": {"n": amount}, **mark}}
            for id_, amount in zip(write.ids, amounts, strict=True)
        ]
        return await posts.batch(operations, **options)

    async def repeat(self, writes: list[tuple[Write, str]]) -> None:
        """Ask again for what earlier lives of this client were not told the outcome of."""
        await asyncio.gather(*(self._settle(write, request, REPEAT_S) for write, request in writes))

    async def _settle(self, write: Write, request: str, timeout_s: float) -> None:
        for _ in range(REPEATS_MAX):
            if await self._send(write, request, timeout_s, repeated=True) is not State.UNKNOWN:
                return

    # -- reads

    async def read(self, namespace: str) -> None:
        """Read until `stop`."""
        rng = random.Random(f"{self._name}-{namespace}-reader")
        for number in itertools.count(1):
            if self._stop:
                return
            if number % SNAPSHOT_EACH == 0:
                await self._total_of_snapshot(namespace)
            elif number % 4 == 0:
                await self._total_of_find(namespace)
            else:
                await self._get(namespace, rng.choice(list(SHARED)), "reader")
            await asyncio.sleep(rng.random() * PAUSE_S)

    async def _get(self, namespace: str, id_: str, observer: str) -> Read | None:
        started_s = now_s()
        try:
            document = await self._database[namespace].get(id_, timeout_s=TIMEOUTS_S[-1])
        except ParqueDBError:
            return None
        version, token = (0, "") if document is None else (document["version"], document["token"])
        read = Read(namespace, f"{self._name}-{observer}", id_, started_s, now_s(), version, token)
        self._recorder.note(read)
        return read

    async def _total_of_find(self, namespace: str) -> None:
        try:
            page = await self._database[namespace].find({"kind": "account"}, limit=100, timeout_s=TIMEOUTS_S[-1])
        except ParqueDBError:
            return
        self._note_total(namespace, "find", page.items)

    async def _total_of_snapshot(self, namespace: str) -> None:
        def read(snapshot: Any) -> list[dict[str, Any]]:
            with snapshot:
                return list(snapshot.find({"kind": "account"}, limit=100))

        try:
            snapshot = await self._database[namespace].snapshot(timeout_s=TIMEOUTS_S[-1])
            documents = await asyncio.to_thread(read, snapshot)
        except ParqueDBError:
            return
        self._note_total(namespace, "snapshot", documents)

    def _note_total(self, namespace: str, how: str, documents: Any) -> None:
        numbers = [document["n"] for document in documents]
        self._recorder.note(Total(namespace, how, len(numbers), sum(numbers)))

    async def dump(self) -> None:
        """Note every document of every namespace as it is read now."""
        for namespace in NAMESPACES:
            async for document in self._database[namespace].find(limit=500, timeout_s=SETUP_S):
                kept = {name: document.get(name) for name in ("$id", "version", "token", "n")}
                self._recorder.note(Stored(namespace, kept))

    def _token(self) -> str:
        return f"{self._name}-{next(self._numbers)}"


def join_from(node_ip: str, address: str) -> None:
    """Become a driver of one node of a cluster whose nodes are all on this machine: by default one gets any."""
    import ray  # noqa: PLC0415 - for those who have to say it

    ray.init(
        address=address,
        _node_ip_address=node_ip,
        namespace="parquedb",
        log_to_driver=False,
        configure_logging=False,
    )


async def _connected(settings: dict[str, Any]) -> parquedb.AsyncDatabase:
    """Connect; the store may be down just now."""
    while True:
        try:
            return await parquedb.connect_async(**settings)
        except ParqueDBError:
            await asyncio.sleep(PROGRESS_S)


async def _commands(client: Client, say: Any) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        command = json.loads(line)
        if command["do"] == "dump":
            await client.dump()
        say({"id": command["id"]})
        if command["do"] == "stop":
            return


async def _report(client: Client, say: Any) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        say({"event": "progress", "acknowledged": dict(client.acknowledged)})


async def _main() -> None:
    say, task = own_stdout(), json.loads(sys.argv[1])
    *earlier, path = [Path(each) for each in task["records"]]
    recorder = Recorder(path)
    if node_ip := task.get("node_ip"):
        join_from(node_ip, task["settings"]["ray_address"])
    database = await _connected(task["settings"])
    client = Client(database, task, recorder)
    if task.get("setup"):
        await asyncio.gather(*(client.set_up(namespace) for namespace in NAMESPACES))
    say({"event": "ready"})
    working = []
    if task.get("writes", True):
        working = [client.write(namespace, writer) for namespace in NAMESPACES for writer in range(WRITERS)]
        working += [client.read(namespace) for namespace in NAMESPACES]
        working.append(client.repeat(undecided(load(earlier))))
    tasks = [asyncio.create_task(work) for work in working]
    reporting = asyncio.create_task(_report(client, say))
    await _commands(client, say)
    client.stop()
    await asyncio.gather(*tasks)
    reporting.cancel()
    recorder.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(_main())
