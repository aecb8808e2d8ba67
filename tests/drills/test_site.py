"""Blocks of the page really run, ask the drill for what a site does, and fail when something in them fails."""

from pathlib import Path

import pytest

from tests.drills.site import BlockFailedError, Site


async def test_a_block_calls_the_commands_of_the_site_with_their_words(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    async def restore_object(*words: str) -> None:
        asked.append(words)

    async with Site(tmp_path, {"PLACE": "here"}) as site:
        site.commands["restore_object"] = restore_object
        said = await site.run('for key in a/1 b/2; do\n  restore_object "$key"\ndone\necho "$PLACE"\n')
    assert asked == [("a/1",), ("b/2",)]
    assert said == "here\n"


@pytest.mark.parametrize(
    "block", ["false\ntrue\n", "false | cat\n", "add_node\n", "echo $UNSET\n", "no-such-program\n"]
)
async def test_a_block_fails_with_any_of_its_commands(block: str, tmp_path: Path) -> None:
    async with Site(tmp_path, {}) as site:
        with pytest.raises(BlockFailedError):
            await site.run(block)


async def test_what_a_site_cannot_do_is_told_to_the_shell(tmp_path: Path) -> None:
    async def add_node() -> None:
        raise RuntimeError("no machine left")

    async with Site(tmp_path, {}) as site:
        site.commands["add_node"] = add_node
        with pytest.raises(BlockFailedError, match="add_node"):
            await site.run("add_node\n")


async def test_a_look_at_a_sick_system_may_fail_but_not_for_want_of_a_program(tmp_path: Path) -> None:
    async with Site(tmp_path, {}) as site:
        assert await site.run("false\necho seen\n", strictly=False) == "seen\n"
        with pytest.raises(BlockFailedError):
            await site.run("no-such-program\necho seen\n", strictly=False)


async def test_a_block_without_end_is_ended(tmp_path: Path) -> None:
    async with Site(tmp_path, {}, block_s=0.2) as site:
        with pytest.raises(BlockFailedError, match="no end"):
            await site.run("until false; do sleep 0.05; done\n")


async def test_the_command_of_the_checkout_is_there(tmp_path: Path) -> None:
    async with Site(tmp_path, {}) as site:
        assert (await site.run("parquedb --version\n")).startswith("parquedb ")
