"""The examples of docs/gateway.md, run against a gateway as they stand there."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.cluster.gateway.conftest import listening
from tests.support.engine_database import EngineDatabase

PAGE = Path(__file__).resolve().parents[3] / "docs" / "gateway.md"
# A script whose answer stands right behind it; one without is not run.
EXAMPLES = re.findall(r"^```sh\n((?:(?!```).*\n)+)```\n```text\n((?:(?!```).*\n)+)```", PAGE.read_text(), re.MULTILINE)

pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is missing")


async def test_every_example_answers_what_the_page_says(database: EngineDatabase, tmp_path: Path) -> None:
    assert len(EXAMPLES) >= 7
    async with listening(database) as (_, url):
        for script, expected in EXAMPLES:
            environment = {**os.environ, "GATEWAY": url, "no_proxy": "127.0.0.1"}
            running = await asyncio.create_subprocess_exec(
                *("bash", "-euo", "pipefail", "-c", script),
                cwd=tmp_path,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            told, complaints = await running.communicate()
            assert (told.decode(), running.returncode) == (expected, 0), f"{script}\n{complaints.decode()}"


def test_every_endpoint_has_an_example_or_a_row() -> None:
    from parquedb.cluster.gateway import routes  # noqa: PLC0415

    page = PAGE.read_text().replace("{ns}", "{namespace}")
    for name, path in vars(routes).items():
        if name.isupper() and isinstance(path, str):
            spelt = path.replace("{namespace}", "posts").replace("{id}", "hello")
            known = (path, spelt, path.replace("{namespace}", "cities"), spelt.replace("posts", "copies"))
            assert any(one in page for one in known), path
