"""`parquedb metrics`: tables of what was counted, the text for Prometheus, and looking again and again."""

import json
from io import StringIO

import pytest
from rich.console import Console

from parquedb.cluster.cli.metrics import ROWS_MAX, MetricsCommand, calls_of, tables
from parquedb.observability.metrics.measures import CacheMetrics, OperationMetrics, OwnerGauges
from parquedb.observability.metrics.sketch import QuantileSketch
from parquedb.observability.metrics.snapshot import MetricsSnapshot, OperationKey
from tests.cluster.cli.conftest import Run


def counted(count: int, **facts: object) -> OperationMetrics:
    sketch = QuantileSketch()
    for _ in range(count):
        sketch.add(0.002)
    return OperationMetrics(count=count, sum_s=count * 0.002, min_s=0.002, max_s=0.002, sketch=sketch, **facts)  # type: ignore[arg-type]


SNAPSHOT = MetricsSnapshot(
    operations={
        OperationKey("query", "find", "orders", "actor"): counted(40, rows=1_234),
        OperationKey("mutation", "create", "orders", "actor"): counted(5, errors={"AlreadyExistsError": 2}),
        OperationKey("mutation", "create", "users", "client"): counted(7),
        OperationKey("storage", "create", "orders", "actor"): counted(9),
    },
    owners={"orders": OwnerGauges(queue_depth=3, commit_lag_s=0.5, backpressure=1, flushes={"age": 4}, compactions=2)},
    cache={"orders": CacheMetrics(hits=3, misses=1)},
    unreachable={"gone\x07": "no answer within 5 s"},
)


def shown(snapshot: MetricsSnapshot, side: str = "actor", width: int = 80) -> list[str]:
    screen = Console(file=StringIO(), width=width, highlight=False)
    screen.print(tables(snapshot, side))
    return screen.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 200])
def test_calls_are_told_by_namespace_and_operation_then_owners_then_who_is_silent(width: int) -> None:
    lines = [line.split() for line in shown(SNAPSHOT, width=width)]
    assert lines[1:3] == [
        ["orders", "find", "40", "0.0", "0", "2.0", "ms", "2.0", "ms", "1,234"],
        ["orders", "create", "5", "0.0", "2", "2.0", "ms", "2.0", "ms", "0"],
    ]
    assert lines[5] == ["orders", "3", "500.0", "ms", "1", "4", "2", "75%"]
    assert lines[6] == ["gone\\x07:", "no", "answer", "within", "5", "s"]
    assert max(map(len, shown(SNAPSHOT, width=width))) <= width


def test_the_two_sides_of_a_call_are_never_added() -> None:
    assert [key.namespace for key, _ in calls_of(SNAPSHOT, "client")] == ["users"]
    assert shown(SNAPSHOT, "client")[1].split()[:3] == ["users", "create", "7"]


def test_of_many_operations_the_busiest_are_shown_and_the_others_counted() -> None:
    operations = {OperationKey("query", "get", f"n{one:03}", "actor"): counted(one) for one in range(1, ROWS_MAX + 4)}
    text = "\n".join(shown(MetricsSnapshot(operations=operations)))
    assert "n003" not in text
    assert "n004" in text
    assert "and 3 operations more" in text


def test_nothing_counted_is_an_answer(run: Run, gateway: str) -> None:
    ended = run("metrics", gateway)
    assert (ended.code, ended.err) == (1, "")
    assert "no call has been counted" in ended.out


def test_prometheus_gets_its_text_and_programs_their_json(run: Run, gateway: str) -> None:
    assert "# TYPE parquedb_operations_total counter" in run("metrics", gateway, "--prometheus").lines
    assert "operations" in json.loads(run("metrics", gateway, "--json").out)
    refused = run("metrics", gateway, "--json", "--prometheus")
    assert refused.code == 2
    assert "choose one" in json.loads(refused.err)["message"]


@pytest.mark.parametrize("terminal", [False, True])
def test_watching_looks_again_until_it_is_interrupted(gateway: str, terminal: bool) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    screen = Console(file=StringIO(), force_terminal=terminal, width=80)
    with pytest.raises(KeyboardInterrupt):
        MetricsCommand(gateway, every_s=0.5, screen=screen, wait=wait).run()
    assert waited == [0.5, 0.5, 0.5]
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("no call has been counted") >= (1 if terminal else 3)
