"""What a user meets first: the import, a Ray that starts by itself, a Ray cluster that runs already."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import parquedb

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, cwd: Path, env: dict[str, str] | None = None) -> str:
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
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_neither_ray_nor_arrow(tmp_path: Path) -> None:
    assert run("import sys, parquedb; print({'ray', 'pyarrow', 'pydantic'} & set(sys.modules))", tmp_path) == "set()\n"


def test_every_public_name_can_be_had() -> None:
    assert sorted(parquedb.__all__) == list(parquedb.__all__) or set(parquedb.__all__) == set(dir(parquedb))
    assert all(getattr(parquedb, name) is not None for name in parquedb.__all__)


def test_a_name_that_does_not_exist_says_so() -> None:
    assert not hasattr(parquedb, "conect")


def test_connect_starts_ray_if_none_runs_ends_it_and_leaves_the_data(tmp_path: Path) -> None:
    printed = run(
        """
        import parquedb, ray
        for number in range(2):
            with parquedb.connect("./data") as db:
                assert ray.is_initialized()
                db.create("posts", {"number": number})
                count = db.count("posts")
                again = parquedb.connect("./data")
            assert ray.is_initialized(), "still in use"
            again.close()
            again.close()
            assert not ray.is_initialized()
        print(count)
        """,
        tmp_path,
    )
    assert printed.splitlines()[-1] == "2"
    # The second start found the `close` entry of the first.
    assert (tmp_path / "data" / "posts" / "log").is_dir()


def test_connect_joins_a_cluster_that_ray_start_made(tmp_path: Path) -> None:
    # A short path of its own: Ray puts sockets there, and the cluster of the other tests must not be found.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ray_command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--block",
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
        "--num-cpus=2",
        "--include-dashboard=false",
        "--object-store-memory=80000000",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--ray-client-server-port=0",
    ]
    temp = Path("/tmp") / f"pq{os.getpid()}"
    with (tmp_path / "ray.out").open("wb") as output:
        head = subprocess.Popen(
            [*ray_command, f"--temp-dir={temp}"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    code = """
        import json, os, time, parquedb, ray
        from parquedb.errors import RpcUnavailableError
        for _ in range(60):
            try:
                db = parquedb.connect("./data", ray_address="auto")
                break
            except RpcUnavailableError:
                time.sleep(0.5)
        db.create("posts", {"pid": os.getpid()})
        actor = db.stats("posts")["pid"]
        db.close()
        assert ray.is_initialized(), "a cluster that was joined is left alone"
        with parquedb.connect("./data", ray_address="auto") as db:
            print(json.dumps([db.count("posts"), actor == db.stats("posts")["pid"], actor]))
    """
    try:
        env = {"RAY_ADDRESS": f"127.0.0.1:{port}"}
        answers = [json.loads(run(code, tmp_path, env).splitlines()[-1]) for _ in range(2)]
    finally:
        head.terminate()
        head.wait(30)
    assert [answer[:2] for answer in answers] == [[1, True], [2, True]]
    assert answers[0][2] == answers[1][2], "the owner outlives the program that started it"
