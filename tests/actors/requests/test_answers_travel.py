"""An answer comes back with what it cost, whatever types of values it holds."""

from decimal import Decimal

import pytest

from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.actors.requests.packing import decode_outcomes, encode_outcomes
from parquedb.storage.query.scan_counts import ScanCost


@pytest.mark.parametrize("value", [1, Decimal("1.5")], ids=["plain", "wrapped"])
def test_a_query_tells_its_cost_beside_any_value(value: object) -> None:
    sent = Outcome({"items": [{"v": value}]}, seq=3, cost=ScanCost(1, 2, 3, 4))
    [received], put_s = decode_outcomes(encode_outcomes([Operation("find")], [sent], 0.5))
    assert (received.value, received.cost, received.seq, put_s) == (sent.value, sent.cost, 3, 0.5)
