"""What a link tells of each operation that is over: to the metrics, and to the log what an operator should know."""

import time

from parquedb.actors.requests.operations import Operation, Outcome, patience_s
from parquedb.cluster.reporting import journal
from parquedb.cluster.reporting.briefs import told_in_brief
from parquedb.cluster.reporting.metering import ClientMeter
from parquedb.cluster.transport.delivery import Delivery
from parquedb.errors import OutcomeUnknownError
from parquedb.observability.metrics.tally import Tally


class Accounts:
    """The accounts of one link.

    Args:
        tally: Where operations are counted; None where nobody wants that.
        namespace: Whom they are for.
        slow_s: Seconds from which one is logged as slow.
    """

    __slots__ = ("_meter", "_namespace", "_slow_s")

    def __init__(self, tally: Tally | None, namespace: str, slow_s: float) -> None:
        self._meter = None if tally is None else ClientMeter(tally, namespace)
        self._namespace = namespace
        self._slow_s = slow_s

    def close(
        self, delivery: Delivery, answer: Outcome | None, error: BaseException | None, counted: Operation | None
    ) -> None:
        """Note what an operation came to, count `counted`, unless that is None, and tell who is told in brief."""
        now_s = time.monotonic()
        took_s = now_s - delivery.began_s
        if isinstance(error, OutcomeUnknownError):
            journal.outcome_unknown(self._namespace, delivery, took_s, error)
        elif took_s >= self._slow_s and took_s - patience_s([delivery.operation]) >= self._slow_s:
            journal.slow_operation(self._namespace, delivery, took_s, error)
        meter = self._meter
        if meter is not None and counted is not None:
            series = meter.single.get(counted.kind)
            if series is not None and answer is not None and answer.value:
                series.finish(delivery.began_s, now_s)
            else:
                meter.settled(counted, answer, error, delivery.began_s)
        if delivery.repeats:
            delivery.attempt_over(now_s, error)
        if delivery.brief is not None:
            told_in_brief(delivery, answer, error, now_s)
