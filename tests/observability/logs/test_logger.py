"""ParqueDB logs below `parquedb`, and stays silent until somebody listens."""

import logging
import subprocess
import sys

import pytest

from parquedb.observability.logs import get_logger, set_logger


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.name}: {record.getMessage()}")


@pytest.mark.parametrize("name", ["storage.retry", "parquedb.storage.retry"])
def test_a_logger_is_found_by_short_and_by_full_name(name):
    assert get_logger(name).name == "parquedb.storage.retry"


def test_the_root_of_the_tree_is_found_by_no_name():
    assert get_logger() is get_logger("parquedb") is logging.getLogger("parquedb")


def test_nothing_is_printed_until_the_application_sets_up_logging():
    program = "from parquedb.observability.logs import get_logger; get_logger('x').error('hello')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_another_logger_receives_everything_and_gives_it_back():
    target, kept, above = logging.Logger("shop.database", logging.WARNING), Kept(), Kept()
    target.addHandler(kept)
    logging.getLogger().addHandler(above)
    try:
        set_logger(target)
        set_logger(target)
        get_logger("storage").warning("slow")
        get_logger("storage").info("below the target's level")
        set_logger(None)
        get_logger("storage").warning("back")
    finally:
        set_logger(None)
        logging.getLogger().removeHandler(above)
    assert kept.messages == ["parquedb.storage: slow"]
    assert above.messages == ["parquedb.storage: back"]


@pytest.mark.parametrize("name", ["parquedb", "parquedb.storage"])
def test_the_tree_cannot_be_sent_to_itself(name):
    with pytest.raises(ValueError, match=f"expected a logger outside the 'parquedb' tree, got '{name}'"):
        set_logger(logging.getLogger(name))
