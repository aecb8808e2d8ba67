"""Databases that earlier versions wrote: kept in the repository, opened by every later version.

`tests.support.versions.make_fixture` made them, once for each format.
"""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from parquedb.actors.requests.operations import SessionRequest
from parquedb.clock import SystemClock
from parquedb.documents.codec import decode
from parquedb.errors import OutcomeUnknownError, ValidationError
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.verification.report import Level, VerificationReport
from parquedb.storage.verification.verifier import Verifier
from tests.support.engines import NAMESPACE, opened, outcome, run, settings
from tests.support.versions.make_fixture import EXPECTED, MADE_AT, SESSION, VALUES, MovedClock

ARCHIVES = sorted((Path(__file__).parent / "fixtures").glob("format-*.zip"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.stem)
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LocalBackend, dict[str, Any]]:
    """A database as it was written, and what is to be found in it."""
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path)
    return LocalBackend(str(tmp_path / "database")), decode((tmp_path / EXPECTED).read_bytes())


async def verified(storage: LocalBackend) -> VerificationReport:
    return await Verifier(storage, NAMESPACE, settings(), clock=SystemClock(), level=Level.FULL).verify()


async def documents(owner: Any) -> dict[str, Any]:
    page = await run(owner, "find", limit=1000, include_deleted=True)
    return {document["$id"].partition("/")[2]: document for document in page["items"]}


async def test_it_is_whole_and_every_document_comes_back_as_it_was(earlier: tuple[LocalBackend, Any]) -> None:
    storage, expected = earlier
    assert (await verified(storage)).ok
    async with opened(storage, clock=MovedClock(MADE_AT)) as owner:
        found = await documents(owner)
        assert found == expected["documents"]
        own = {name: found["all-types"][name] for name in VALUES}
        assert own == VALUES
        assert [type(value) for value in own.values()] == [type(value) for value in VALUES.values()]
        assert len((await run(owner, "changes", after=0, limit=1000, wait_s=0.0))["changes"]) == expected["changes"]


async def test_a_request_that_an_earlier_version_applied_is_answered_and_not_applied_again(
    earlier: tuple[LocalBackend, Any],
) -> None:
    storage, expected = earlier
    async with opened(storage, clock=MovedClock(MADE_AT)) as owner:
        for number, answer in expected["answers"].items():
            if number == "given":
                again = await outcome(owner, "update", "d03", {"$inc": {"n": 1}}, request="given-by-a-caller")
            else:
                request = SessionRequest(SESSION, int(number), 1, owner.tail)
                again = await outcome(owner, "create", f"s{number}", {"n": 0}, request=request)
            assert again.duplicate
            assert again.result() == answer
        assert await documents(owner) == expected["documents"]


async def test_a_request_of_long_ago_is_in_doubt_rather_than_applied_twice(earlier: tuple[LocalBackend, Any]) -> None:
    storage, expected = earlier
    async with opened(storage) as owner:
        # Log time has passed the window: what is left of it is the floor.
        await run(owner, "create", "today", {"n": 1})
        old = await outcome(owner, "update", "d03", {"$inc": {"n": 1}}, request="given-by-a-caller", age_s=10.0**9)
        assert isinstance(old.error, OutcomeUnknownError) or old.duplicate
        assert (await documents(owner))["d03"] == expected["documents"]["d03"]


async def test_its_schema_still_binds(earlier: tuple[LocalBackend, Any]) -> None:
    storage, _ = earlier
    async with opened(storage) as owner:
        assert (await run(owner, "schema"))["version"] == 2
        with pytest.raises(ValidationError, match="mail"):
            await run(owner, "create", "new", {"mail": 7})


async def test_it_goes_on_from_there_and_stays_whole(earlier: tuple[LocalBackend, Any]) -> None:
    storage, expected = earlier
    async with opened(storage) as owner:
        await run(owner, "update", "d04", {"$set": {"name": "by a later version"}})
        await run(owner, "delete", "bulk3", hard=True)
        await owner.flush()
        await owner.compact()
        history = await run(owner, "history", "d00", after=0, limit=100)
    assert len(history["changes"]) >= 2
    async with opened(storage) as owner:
        found = await documents(owner)
    changed = {
        id_ for id_ in found.keys() | expected["documents"].keys() if found.get(id_) != expected["documents"].get(id_)
    }
    assert changed == {"d04", "bulk3"}
    assert (await verified(storage)).ok
