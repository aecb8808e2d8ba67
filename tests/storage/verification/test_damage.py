"""Every kind of damage is found, at the object that has it, and nothing else is blamed."""

import asyncio
import shutil
from pathlib import Path

import pytest

from parquedb.storage.verification.report import Finding, Level, VerificationReport
from parquedb.storage.verification.rules import Rule, Severity
from tests.storage.verification.damages import DAMAGES, Damage
from tests.support.vault import PREFIX, Vault, directory, furnish, verified

ELSEWHERE = {Rule.LOG_ENTRY_LEFT, Rule.TEMPORARY_FILE, Rule.UPLOAD_UNFINISHED}
"""Not about damage: `test_leftovers.py`."""

PLACED = [pytest.param(one, id=f"{one.rule.name}-{one.title.replace(' ', '-')}") for one in DAMAGES]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one namespace, to be copied."""

    async def make(folder: Path) -> None:
        async with directory(folder) as store:
            await furnish(store)

    folder = tmp_path_factory.mktemp("furnished") / "db"
    asyncio.run(make(folder))
    return folder


@pytest.fixture
def vault(furnished: Path, tmp_path: Path) -> Vault:
    shutil.copytree(furnished, tmp_path / "db")
    return Vault(tmp_path / "db")


async def look(vault: Vault, level: Level) -> VerificationReport:
    """Verify, and see that this changed nothing."""
    async with directory(vault.folder) as store:
        before = vault.digest()
        report = await verified(store, level)
        assert vault.digest() == before
    return report


def wrong(report: VerificationReport, rule: Rule | None) -> set[tuple[str, str]]:
    """Return code and object of everything that is worth a warning, and of the rule in question."""
    told: tuple[Finding, ...] = report.findings
    graves = [one for one in told if one.severity is not Severity.INFORMATION]
    named = [one for one in told if rule is not None and one.code == rule.name]
    return {(one.code, one.key) for one in (graves or named)}


@pytest.mark.parametrize("level", Level)
async def test_a_namespace_without_damage_has_no_findings_beyond_information(vault: Vault, level: Level) -> None:
    report = await look(vault, level)
    assert report.ok
    assert wrong(report, None) == set()
    assert report.counts.documents == (40 if level is Level.FULL else None)
    assert report.seq == 51


@pytest.mark.parametrize("damage", PLACED)
async def test_damage_is_found_where_it_is_and_nowhere_else(vault: Vault, damage: Damage) -> None:
    planted = damage.plant(vault)
    keys = (planted,) if isinstance(planted, str) else planted
    report = await look(vault, Level.FULL)
    found = wrong(report, damage.rule)
    if damage.rule is Rule.OBJECT_LEFT:
        assert (damage.rule.name, PREFIX + keys[0]) in found
    else:
        assert found == {(damage.rule.name, PREFIX + key) for key in keys}, report.findings
    assert report.ok == (damage.rule.severity is not Severity.ERROR)


@pytest.mark.parametrize("damage", PLACED)
async def test_a_quick_look_finds_what_names_and_sizes_and_footers_tell(vault: Vault, damage: Damage) -> None:
    planted = damage.plant(vault)
    keys = (planted,) if isinstance(planted, str) else planted
    report = await look(vault, Level.QUICK)
    found = wrong(report, damage.quick)
    if damage.quick is Rule.OBJECT_LEFT:
        assert (damage.quick.name, PREFIX + keys[0]) in found
    else:
        assert found == ({(damage.quick.name, PREFIX + key) for key in keys} if damage.quick else set())


def test_every_rule_has_a_damage_that_breaks_it() -> None:
    assert {damage.rule for damage in DAMAGES} | {damage.quick for damage in DAMAGES} >= set(Rule) - ELSEWHERE


def test_the_documentation_shows_each_damage_with_what_is_said_of_it_and_each_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "verify.md").read_text()
    for one in DAMAGES:
        quick = "" if one.quick is None else "the same" if one.quick is one.rule else f"`{one.quick.name}`"
        assert f"| {one.title} | `{one.rule.name}` | {quick} |" in page
    for rule in Rule:
        assert f"| `{rule.name}` | {rule.title} | {rule.severity} |" in page
