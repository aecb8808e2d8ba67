"""`ray up` with the file for machines of one's own, onto this machine: by SSH, as it would be onto others.

Three things are not as in the file: packages are here already, ports are free ones, and `ray stop` is left out, for it
would end every Ray on this machine, whoever's it is.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.collector import free_port

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(420),
    pytest.mark.skipif(SSHD is None or shutil.which("rsync") is None, reason="needs sshd and rsync (Debian: apt)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="an SSH server lets a user in who is not its own only as root"),
]

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENT = ROOT / "cluster" / "deployment"
# What ssh runs to reach the server: it knows no other way to another port that the launcher would take.
RELAY = """
import os, socket, sys, threading
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def up():
    while data := os.read(0, 65536):
        link.sendall(data)
    link.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := link.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""


class Machine:
    """This machine as another one: with an SSH server and an empty home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.port = free_port()
        (self.home / ".ray").mkdir(parents=True)
        (self.home / ".bashrc").write_text("")
        # The environment that the setup commands would make.
        (self.home / "parquedb").symlink_to(sys.prefix)
        (folder / "relay.py").write_text(RELAY)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            f"PidFile {folder}/sshd.pid\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSetEnv HOME={self.home}\n"
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        assert SSHD is not None
        Path("/run/sshd").mkdir(exist_ok=True)
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            said = next((line for line in server.stderr if "listening" in line), None)
            assert said is not None, "the SSH server did not start"
            try:
                yield
            finally:
                server.terminate()

    def auth(self) -> dict[str, str]:
        relay = f"{sys.executable} {self.folder}/relay.py {self.port}"
        return {"ssh_user": "root", "ssh_private_key": str(self.folder / "user"), "ssh_proxy_command": relay}


def own_address() -> str:
    """Return an address of this machine that is not the loopback's, as Ray finds it."""
    import ray  # noqa: PLC0415 - seconds

    return str(ray.util.get_node_ip_address())


def altered(machine: Machine, ports: dict[str, int]) -> dict[str, Any]:
    """Return the file's content for this machine."""
    config: dict[str, Any] = yaml.safe_load((DEPLOYMENT / "ray_up" / "on_premise.yaml").read_text())
    config["cluster_name"] = f"parquedb-{machine.port}"
    config["provider"] |= {"head_ip": own_address(), "worker_ips": []}
    config["auth"] = machine.auth()
    config["file_mounts"]["~/serve.yaml"] = str(machine.folder / "serve.yaml")
    config["setup_commands"] = [one for one in config["setup_commands"] if "pip install" not in one]
    config["head_start_ray_commands"] = [
        one.replace("6379", str(ports["gcs"]))
        .replace("--object-manager-port=8076", "--object-manager-port=0")
        # Nobody else is there to run the gateway.
        .replace("--num-cpus=0", "--num-cpus=1")
        .replace("--dashboard-host=127.0.0.1", f"--dashboard-host=127.0.0.1 --dashboard-port={ports['dashboard']}")
        for one in config["head_start_ray_commands"]
        if one != "ray stop"
    ]
    return config


def write_files(machine: Machine, ports: dict[str, int]) -> Path:
    folder = machine.folder
    (folder / "parquedb.env").write_text(
        f"PARQUEDB_URL={folder}/db\nPARQUEDB_ACCESS__REQUIRED=true\nPARQUEDB_ACCESS__KEYS={'k' * 40}\n"
        f"PYTHONPATH={ROOT}\nRAY_TMPDIR={folder}/ray\n"
        f"RAY_DASHBOARD_ADDRESS=http://127.0.0.1:{ports['dashboard']}\n"
    )
    (folder / "auth_token").write_text("t" * 64)
    serve = yaml.safe_load((DEPLOYMENT / "serve.yaml").read_text())
    serve["http_options"] |= {"host": "127.0.0.1", "port": ports["serve"]}
    serve["applications"][0]["deployments"][0]["autoscaling_config"] |= {"min_replicas": 1, "max_replicas": 1}
    (folder / "serve.yaml").write_text(yaml.safe_dump(serve))
    (folder / "cluster.yaml").write_text(yaml.safe_dump(altered(machine, ports)))
    return folder / "cluster.yaml"


def launcher(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PARQUEDB_"))}
    done = subprocess.run(
        [Path(sys.executable).with_name("ray"), *arguments],
        env=env | {"RAY_TMPDIR": str(machine.folder / "launcher"), "RAY_AUTH_MODE": "disabled"},
        cwd=machine.folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return done


def end_of(folder: Path) -> None:
    """End what was started below a folder, by the processes that name it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"{folder}/ray".encode() in told:
                os.kill(int(entry.name), signal.SIGKILL)


def test_the_launcher_starts_a_cluster_that_asks_for_a_token_and_serves() -> None:
    ports = {name: free_port() for name in ("gcs", "dashboard", "serve")}
    # Sockets below it must not have long names.
    folder = Path(tempfile.mkdtemp(prefix="up-", dir="/tmp"))
    machine = Machine(folder)
    try:
        with machine.running():
            file = str(write_files(machine, ports))
            launcher(machine, "up", "-y", "--no-config-cache", file)
            with closing(socket.create_connection(("127.0.0.1", ports["dashboard"]), timeout=10)):
                pass
            assert httpx.get(f"http://127.0.0.1:{ports['dashboard']}/api/version", timeout=10).status_code == 401
            deploy = "set -a; . ~/parquedb.env; export RAY_AUTH_MODE=token; serve deploy ~/serve.yaml"
            launcher(machine, "exec", "--no-config-cache", file, deploy)
            waiting = "for n in $(seq 60); do serve status | grep -q RUNNING && exit 0; sleep 1; done; exit 1"
            launcher(machine, "exec", "--no-config-cache", file, deploy.replace("serve deploy ~/serve.yaml", waiting))
            made = httpx.post(f"http://127.0.0.1:{ports['serve']}/v1/posts?id=a", json={"up": True}, timeout=60)
            assert made.status_code == 201, made.text
            assert (folder / "db" / "posts" / "log").is_dir()
            assert json.loads(httpx.get(f"http://127.0.0.1:{ports['serve']}/ready", timeout=30).text)["owners"]
    finally:
        end_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
