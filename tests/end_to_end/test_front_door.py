"""What a user meets first: the import, a Ray that starts by itself, a Ray cluster that runs already."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import parquedb
from tests.support.chain import read_history
from tests.support.collector import free_port

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, cwd: Path, env: dict[str, str] | None = None, *, code_expected: int = 0) -> str:
    """Run a program of its own in `cwd` and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code_expected, done.stderr
    return done.stdout


def wait_for_text(file: Path, text: str, process: "subprocess.Popen[bytes]") -> None:
    """Return once `process` has printed `text`."""
    deadline_s = time.monotonic() + 60
    while text not in file.read_text():
        assert process.poll() is None, file.read_text()
        assert time.monotonic() < deadline_s, file.read_text()
        time.sleep(0.1)


def end_cluster(head: "subprocess.Popen[bytes]", temp: Path) -> None:
    """Kill a cluster: its head, and every process that works in its folder. In order it would take half a minute."""
    head.kill()
    head.wait(10)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{temp}/".encode() in (folder / "cmdline").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)
    shutil.rmtree(temp, ignore_errors=True)


def test_importing_the_package_imports_neither_ray_nor_arrow(tmp_path: Path) -> None:
    assert run("import sys, parquedb; print({'ray', 'pyarrow', 'pydantic'} & set(sys.modules))", tmp_path) == "set()\n"


def test_every_public_name_can_be_had() -> None:
    assert sorted(parquedb.__all__) == list(parquedb.__all__) or set(parquedb.__all__) == set(dir(parquedb))
    assert all(getattr(parquedb, name) is not None for name in parquedb.__all__)


def test_a_name_that_does_not_exist_says_so() -> None:
    assert not hasattr(parquedb, "conect")


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for Ray with a path so short that sockets fit in."""
    folder = Path("/tmp") / f"pq{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_connect_starts_ray_if_none_runs_ends_it_and_leaves_the_data(tmp_path: Path, ray_folder: Path) -> None:
    # What `ray start` leaves behind when it is killed; Ray itself tries for minutes to join that.
    (ray_folder / "ray").mkdir()
    (ray_folder / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{free_port()}")
    printed = run(
        """
        import parquedb, ray
        with parquedb.connect("./data") as db:
            assert ray.is_initialized()
            db.create("posts", {})
            again = parquedb.connect("./data")
        assert ray.is_initialized(), "still in use"
        again.create("posts", {})
        again.close()
        again.close()
        assert not ray.is_initialized()
        print("done")
        """,
        tmp_path,
        {"RAY_TMPDIR": str(ray_folder)},
    )
    assert printed.splitlines()[-1] == "done"
    # An `open`, two writes, and the `close` that spares the next owner a wait.
    assert len(list((tmp_path / "data" / "posts" / "log").iterdir())) == 4


@pytest.mark.parametrize(
    ("awaiting", "signalled"),
    [
        (False, False),
        # The same in other forms, each of which starts a Ray: with the faults, for time.
        pytest.param(False, True, marks=pytest.mark.faults),
        pytest.param(True, False, marks=pytest.mark.faults),
    ],
)
def test_a_program_that_ends_without_closing_hands_its_namespaces_over(
    awaiting: bool, signalled: bool, tmp_path: Path
) -> None:
    code = """
        import asyncio, os, signal, parquedb

        async def main():
            db = await parquedb.connect_async("./data")
            await db.create("posts", {})
            return db
    """
    work = "db = asyncio.run(main())" if awaiting else "db = parquedb.connect('./data'); db.create('posts', {})"
    ending = "os.kill(os.getpid(), signal.SIGTERM)" if signalled else ""
    # Ray's handler in Python turns SIGTERM into an orderly exit with the signal's number.
    run(f"{textwrap.dedent(code)}\n{work}\n{ending}", tmp_path, code_expected=15 if signalled else 0)
    settings = parquedb.load_settings(str(tmp_path / "data"))
    kinds = [entry.header.kind for entry in asyncio.run(read_history(settings, "posts")).entries]
    assert kinds == ["open", "write", "close"]


@pytest.mark.parametrize("awaiting", [False, True])
def test_a_program_ended_by_sigterm_has_as_long_as_it_takes(awaiting: bool, tmp_path: Path, ray_cluster: str) -> None:
    """Ray's own handler would set an alarm that aborts the process after three seconds."""
    handled_by_ray = """
        import atexit, os, signal, parquedb
        db = parquedb.connect("./data")
        atexit.register(lambda: print("seconds left:", signal.alarm(0)))
        os.kill(os.getpid(), signal.SIGTERM)
    """
    handled_by_the_program = """
        import asyncio, os, signal, parquedb

        async def main():
            ended = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
            async with await parquedb.connect_async("./data"):
                os.kill(os.getpid(), signal.SIGTERM)
                await ended.wait()
                print("seconds left:", signal.alarm(0))

        asyncio.run(main())
    """
    code, code_expected = (handled_by_the_program, 0) if awaiting else (handled_by_ray, signal.SIGTERM)
    # 0 is what `alarm` tells when none is set.
    printed = run(code, tmp_path, {"PARQUEDB_RAY_ADDRESS": ray_cluster}, code_expected=code_expected)
    assert printed.splitlines()[-1] == "seconds left: 0"


def test_a_cluster_that_is_not_there_is_soon_a_typed_error_that_says_what_to_do(tmp_path: Path) -> None:
    printed = run(
        f"""
        import time, parquedb
        from parquedb.errors import ConfigurationError, RpcUnavailableError
        for address in ("127.0.0.1:{free_port()}", "ray://127.0.0.1:{free_port()}", "nonsense", "127.0.0.1:65536"):
            started_s = time.monotonic()
            try:
                parquedb.connect("./data", ray_address=address)
            except (ConfigurationError, RpcUnavailableError) as error:
                print(type(error).__name__, error)
            assert time.monotonic() - started_s < 10
        """,
        tmp_path,
    )
    gone, gone_client, nonsense, no_port = printed.splitlines()
    for line in (gone, gone_client):
        assert line.startswith("RpcUnavailableError no Ray cluster could be reached at ray_address '")
        assert "Connection refused" in line
        assert "`ray start --head`" in line
    for line in (nonsense, no_port):
        assert line.startswith("ConfigurationError ray_address '")
        assert "expected 'host:port'" in line


def test_a_cluster_that_ray_s_own_variable_names_is_told_of_by_that_name(tmp_path: Path) -> None:
    printed = run(
        f"""
        import os, parquedb
        from parquedb.errors import ConfigurationError, RpcUnavailableError
        for address in ("127.0.0.1:{free_port()}", "127.0.0.1:65536"):
            os.environ["RAY_ADDRESS"] = address
            try:
                parquedb.connect("./data")
            except (ConfigurationError, RpcUnavailableError) as error:
                print(type(error).__name__, error)
        """,
        tmp_path,
    )
    gone, no_port = printed.splitlines()
    assert gone.startswith("RpcUnavailableError no Ray cluster could be reached at RAY_ADDRESS '127.0.0.1:")
    assert "Connection refused" in gone
    assert no_port.startswith("ConfigurationError RAY_ADDRESS '127.0.0.1:65536': expected 'host:port'")


@pytest.mark.faults
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the cluster's processes in /proc")
def test_connect_joins_a_cluster_that_ray_start_made(tmp_path: Path, ray_folder: Path) -> None:
    # A folder of its own: the cluster of the other tests must not be found.
    port, client_port = free_port(), free_port()
    ray_command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--block",
        f"--port={port}",
        "--num-cpus=2",
        "--include-dashboard=false",
        "--object-store-memory=80000000",
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--ray-client-server-port={client_port}",
    ]
    with (tmp_path / "ray.out").open("wb") as output:
        head = subprocess.Popen(
            ray_command,
            env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(ray_folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    code = """
        import json, os, parquedb, ray
        db = parquedb.connect("./data", ray_address="auto")
        db.create("posts", {"pid": os.getpid()})
        actor = db.stats("posts")["pid"]
        db.close()
        assert ray.is_initialized(), "a cluster that was joined is left alone"
        with parquedb.connect("./data", ray_address="auto") as db:
            print(json.dumps([db.count("posts"), actor == db.stats("posts")["pid"], actor]))
    """
    try:
        wait_for_text(tmp_path / "ray.out", "Ray runtime started", head)
        answers = [json.loads(run(code, tmp_path, {"RAY_TMPDIR": str(ray_folder)}).splitlines()[-1]) for _ in range(2)]
    finally:
        end_cluster(head, ray_folder)
    assert [answer[:2] for answer in answers] == [[1, True], [2, True]]
    assert answers[0][2] == answers[1][2], "the owner outlives the program that started it"
