"""A record carries its context and no secrets before any handler sees it."""

import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider

from parquedb.errors import StorageReadError
from parquedb.observability.logs.context import log_context
from parquedb.observability.logs.fields import facts_of
from parquedb.observability.logs.redaction import redactor
from tests.observability.logs.kept import fresh_logger, raised

CANARY = "canary-of-the-record-filter"
redactor.hide(CANARY)


def test_a_record_knows_the_span_it_was_logged_in():
    logger, kept = fresh_logger()
    with TracerProvider().get_tracer("t").start_as_current_span("one") as span:
        logger.info("inside")
    logger.info("outside")
    inside, outside = map(facts_of, kept.records)
    assert inside["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert inside["span_id"] == f"{span.get_span_context().span_id:016x}"
    assert "trace_id" not in outside


def test_a_record_may_name_the_span_it_is_about():
    logger, kept = fresh_logger()
    with TracerProvider().get_tracer("t").start_as_current_span("another"):
        logger.info("late", extra={"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"})
    logger.info("late", extra={"traceparent": "nonsense"})
    assert facts_of(kept.records[0]) == {"trace_id": "1" * 32, "span_id": "2" * 16}
    assert facts_of(kept.records[1]) == {}


def test_bound_fields_are_on_records_inside_the_block_and_inner_ones_win():
    logger, kept = fresh_logger()
    with log_context(request_id="r1", namespace="outer"):
        with log_context(namespace="inner"):
            logger.info("1")
        logger.info("2", extra={"request_id": "own"})
    logger.info("3")
    assert [dict(facts_of(record)) for record in kept.records] == [
        {"namespace": "inner", "request_id": "r1"},
        {"namespace": "outer", "request_id": "own"},
        {},
    ]


def test_secrets_are_gone_from_message_arguments_and_fields():
    logger, kept = fresh_logger()
    logger.warning("%s said %r after %d tries", StorageReadError(CANARY), [CANARY], 3, extra={"url": f"http://u:p@{1}"})
    logger.warning("%(who)s", {"who": CANARY})
    logger.warning(f"already formatted: {CANARY}")
    assert kept.messages == ["*** said ['***'] after 3 tries", "***", "already formatted: ***"]
    assert facts_of(kept.records[0]) == {"url": "http://***@1"}


def test_an_error_becomes_typed_data_with_its_causes():
    logger, kept = fresh_logger()
    error = StorageReadError("no answer", key="posts/log/1", cause=ConnectionError(f"refused {CANARY}"))
    logger.warning("failed", extra={"error": error})
    found = facts_of(kept.records[0])["error"]
    assert (found["name"], found["code"], found["context"]) == (
        "StorageReadError",
        "STORAGE_READ_ERROR",
        {"key": "posts/log/1"},
    )
    assert found["cause"] == {"name": "ConnectionError", "message": "refused ***"}
    assert "stack" not in found


def test_a_foreign_error_with_its_stack_is_data_as_well():
    logger, kept = fresh_logger()
    logger.error("failed", exc_info=raised(KeyError("missing")))
    found = facts_of(kept.records[0])["error"]
    assert (found["name"], found["message"]) == ("KeyError", "'missing'")
    assert "in fail" in found["stack"]
    assert kept.records[0].exc_info is not None


def test_a_stack_that_quotes_a_secret_is_replaced_by_its_redacted_text():
    logger, kept = fresh_logger()
    logger.error("failed", exc_info=raised(ValueError(CANARY)))
    record = kept.records[0]
    assert record.exc_info is None
    shown = logging.Formatter().format(record)
    assert "ValueError: ***" in shown
    assert CANARY not in shown + str(vars(record))


def test_a_record_that_cannot_be_prepared_harms_nobody():
    class Hostile:
        def __str__(self):
            raise RuntimeError(CANARY)

        __repr__ = __str__

    logger, kept = fresh_logger()
    logger.warning("got %s", Hostile(), extra={"hostile": Hostile()})
    assert kept.messages == ["a record could not be prepared: RuntimeError"]
    assert facts_of(kept.records[0]) == {}


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_a_disabled_record_is_never_made(level):
    logger, kept = fresh_logger()
    logger.setLevel(logging.WARNING)
    logger.log(level, "%s", object())
    assert kept.records == []
