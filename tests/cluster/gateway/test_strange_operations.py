"""Operations made at random from the words of the language: answered or refused, none of them a fault of ours."""

import json
from pathlib import Path

import pytest

from parquedb.errors import ErrorCode
from tests.support.hostile import Stage, staged
from tests.support.strange_operations import Strange

OPERATIONS = 40
OURS = {
    code.value
    for code in ErrorCode
    if code.http_status >= 500 and code not in {ErrorCode.CANCELLED, ErrorCode.QUOTA_EXCEEDED, ErrorCode.QUERY_TIMEOUT}
}
"""What only we can be blamed for; a batch is cancelled, and a limit is a limit."""


async def faults(stage: Stage, seed: int, requests: int) -> list[str]:
    """Send so many requests full of operations; return what we are to blame for."""
    strange, found = Strange(seed), []
    for number in range(requests):
        if number % 10 == 5:
            await stage.database.flush("posts")  # From here on some documents lie in files.
        operations = [strange.operation() for _ in range(OPERATIONS)]
        body = json.dumps({"operations": operations}).encode()
        answer = await stage.ask("POST", "/v1/posts/operations", body)
        found += stage.faults_of(answer, (seed, number), statuses=[200])
        results = json.loads(answer.body).get("results", [])
        for operation, result in zip(operations, results, strict=True):
            if not result["ok"] and result["error"]["code"] in OURS:
                found.append(f"{json.dumps(operation)} -> {result['error']}")
    return found


async def run(folder: Path, seed: int, requests: int) -> None:
    async with staged(folder) as stage:
        posts = stage.database["posts"]
        await posts.create({"a": {"b": [1, {"c": 2}]}, "tags": ["x", "y"], "n": 5, "name": "t"}, id="one")
        await posts.create({"a": [1, 2, 3], "b": "s", "n": 1.5}, id="two")
        await stage.check(await faults(stage, seed, requests))


@pytest.mark.parametrize("seed", [1, 2, 11])  # The last one has found something before.
async def test_no_operation_is_answered_with_a_fault_of_ours(tmp_path: Path, seed: int) -> None:
    await run(tmp_path, seed, 30)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 140))
async def test_no_operation_of_very_many_is_answered_with_a_fault_of_ours(tmp_path: Path, seed: int) -> None:
    await run(tmp_path, seed, 300)
