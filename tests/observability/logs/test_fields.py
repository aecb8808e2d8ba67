"""What a record carries besides its message is found by name."""

import logging

from parquedb.observability.logs.fields import FIELDS, facts_of


def record(**extra: object) -> logging.LogRecord:
    return logging.getLogger("parquedb.test").makeRecord(
        "parquedb.test", logging.INFO, __file__, 1, "opened %s", ("posts",), None, extra=extra
    )


def test_a_record_without_extra_has_no_facts():
    plain = record()
    logging.Formatter("%(asctime)s %(message)s").format(plain)  # Leaves attributes of its own behind.
    assert facts_of(plain) == {}


def test_the_known_fields_come_first_and_in_their_order():
    facts = facts_of(record(rows=3, duration=0.5, namespace="posts", event="flush.done", epoch=7))
    assert list(facts) == ["event", "namespace", "duration", "rows", "epoch"]
    assert [name for name in facts if name in FIELDS] == ["event", "namespace", "duration"]


def test_what_is_not_known_is_absent():
    assert facts_of(record(namespace=None, rows=0)) == {"rows": 0}
