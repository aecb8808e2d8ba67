"""Documents by the million: shares of the range of hashes, and arrays that leave memory."""

from pathlib import Path

import numpy as np
import pytest
from pyroaring import BitMap

from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.verification import ledger, report
from parquedb.storage.verification.spill import Spill
from tests.support.engines import opened, run
from tests.support.vault import Vault, directory, furnish, verified


async def test_in_shares_the_same_documents_are_counted_and_the_same_damage_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SHARE_ROWS", 4)
    async with directory(tmp_path / "db") as store:
        await furnish(store)
        clean = await verified(store)
        assert (clean.ok, clean.counts.documents, clean.counts.events) == (True, 40, 51)
        vault = Vault(tmp_path / "db")
        file = vault.files[0]
        vault.forge_dead(file, vault.dead(file) | BitMap([7, 9]))
        lost = await verified(store)
    assert sorted(one.message.split(":")[1] for one in lost.findings if one.severity == "error") == [
        " id 'a07'",
        " id 'a09'",
    ]


async def test_of_many_lost_documents_some_are_named_and_all_are_counted(tmp_path: Path) -> None:
    async with directory(tmp_path / "db") as store:
        async with opened(store) as owner:
            await run(owner, "create_many", body=[{"$id": f"d{n:03}"} for n in range(100)])
            await owner.flush()
        vault = Vault(tmp_path / "db")
        [file] = vault.files
        vault.forge_dead(file, vault.dead(file) | BitMap(range(60)))
        found = await verified(store)
    named = [one for one in found.findings if one.code == "DOCUMENT_LOST"]
    assert len(named) == report.FINDINGS_MAX
    assert found.unnamed["DOCUMENT_LOST"] == 60 - report.FINDINGS_MAX


async def test_a_document_that_came_and_went_is_none() -> None:
    store = MemoryBackend()
    async with opened(store) as owner:
        await run(owner, "create", "a", {})
        await run(owner, "delete", "a", hard=True)
        await owner.flush()
        await run(owner, "create", "a", {})
        await owner.flush()
        await run(owner, "delete", "a", hard=True)
    found = await verified(store)
    assert (found.ok, found.counts.documents, found.counts.events) == (True, 0, 4)


def test_arrays_beyond_the_bound_lie_in_files_until_the_end() -> None:
    spill = Spill(memory_max=80)
    first, second = np.arange(10, dtype=np.int64), np.arange(20, dtype=np.int64)
    assert spill.keep(first) is first
    kept = spill.keep(second)
    assert isinstance(kept, np.memmap)
    assert kept.tolist() == second.tolist()
    folder = Path(str(kept.filename)).parent
    assert folder.is_dir()
    spill.close()
    assert not folder.exists()
