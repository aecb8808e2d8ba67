"""`parquedb health`, `parquedb status` and the check after a deployment."""

import json
from io import StringIO

import pytest
from rich.console import Console

import parquedb
from parquedb.cluster.cli import status
from parquedb.cluster.cli.canary import Canary
from parquedb.cluster.cli.states import ROWS_MAX, health_json, show_owners, verdict
from parquedb.cluster.client.database import Database
from parquedb.cluster.overview.health import DatabaseHealth, OwnerHealth
from parquedb.errors import RpcUnavailableError, StorageWriteError
from parquedb.settings.environment import load_settings
from tests.cluster.cli.conftest import Run
from tests.support.gateway_server import GatewayServer
from tests.support.local_connection import LocalConnection

LAG = {"queued_ops": 1_234, "queue_age_s": 2.5, "commit_pending_s": 3.5, "unflushed_s": 0.25}


def owner(name: str, condition: str = "healthy", **facts: object) -> OwnerHealth:
    report = {"reasons": [], "lag": LAG, "circuits": {f"{name}.read": "closed"}, **facts}
    return OwnerHealth(name, condition, "open", report=report)  # type: ignore[arg-type]


MIXED = DatabaseHealth(
    "unhealthy",
    {
        "a-fine": owner("a-fine"),
        "late": owner("late", "degraded", reasons=["a commit has been pending for 3.5 s"]),
        "gone": OwnerHealth("gone", "unhealthy", "unreachable", error="no answer within 5 s"),
        "cut off": owner("cut off", "degraded", circuits={"cut off.read": "closed", "cut off.write": "open"}),
    },
    {},
)


def shown(health: DatabaseHealth, width: int = 100, **options: object) -> str:
    screen = Console(file=StringIO(), width=width, highlight=False, **options)  # type: ignore[arg-type]
    show_owners(health, screen)
    return screen.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 200])
def test_the_worst_owner_comes_first_and_reasons_stand_below(width: int) -> None:
    lines = shown(MIXED, width).splitlines()
    assert [line.split("  ")[0] for line in lines[1:5]] == ["gone", "cut off", "late", "a-fine"]
    assert "✘ unhealthy  unreachable" in lines[1]
    assert lines[2].split()[-2:] == ["write", "open"]
    assert lines[4].split() == ["a-fine", "✔", "healthy", "open", "1,234", "2.5", "s", "250.0", "ms", "closed"]
    assert set(lines[5:]) == {"late: a commit has been pending for 3.5 s", "gone: no answer within 5 s"}
    assert max(map(len, lines)) <= width


def test_of_many_owners_the_worst_are_shown_and_the_others_counted() -> None:
    owners = {f"n{number:03}": owner(f"n{number:03}") for number in range(ROWS_MAX + 7)}
    owners["zz"] = owner("zz", "degraded")
    text = shown(DatabaseHealth("degraded", owners, {}))
    assert text.splitlines()[1].startswith("zz")
    assert "and 8 owners more" in text


def test_colours_only_on_a_terminal_and_not_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in shown(MIXED)
    terminal = {"force_terminal": True, "color_system": "standard"}
    assert "\x1b[1;31m" in shown(MIXED, **terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in shown(MIXED, **terminal)
    assert verdict("unhealthy").plain == "✘ unhealthy", "it can be told without colours"


def test_a_name_that_a_terminal_would_obey_is_spelled_out() -> None:
    strange = owner("x\x1b[2J", "degraded", reasons=["[bold]\x07"])
    health = DatabaseHealth("degraded", {strange.namespace: strange}, {}, "why\x1b")
    text = shown(health)
    assert "\x1b" not in text
    assert "x\\x1b[2J: [bold]\\x07" in text


def test_health_as_json_has_state_reasons_circuits_and_lag() -> None:
    plain = health_json(MIXED)
    assert plain["status"] == "unhealthy"
    assert plain["owners"]["gone"]["reasons"] == ["no answer within 5 s"]
    assert plain["owners"]["cut off"]["circuits"]["cut off.write"] == "open"
    assert plain["owners"]["late"]["lag"] == LAG
    json.dumps(plain)


def test_the_exit_code_of_health_says_whether_all_is_well(run: Run, gateway: str) -> None:
    ended = run("health", gateway)
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[0] == f"✔ healthy {gateway}: 1 owner"
    assert ended.lines[2].startswith("orders")
    assert json.loads(run("health", gateway, "--json").out)["status"] == "healthy"


MARKS = {"healthy": "✔", "degraded": "!", "unhealthy": "✘"}


@pytest.mark.parametrize(
    ("condition", "codes"), [("healthy", (0, 0, 0)), ("degraded", (0, 1, 0)), ("unhealthy", (1, 1, 1))]
)
def test_a_database_that_is_not_well_exits_with_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, condition: str, codes: tuple[int, ...]
) -> None:
    found = DatabaseHealth(condition, {"late": owner("late", condition)}, {})  # type: ignore[arg-type]
    with GatewayServer("memory://sick") as server:
        monkeypatch.setattr(server.local, "health", lambda timeout_s=None: found)
        asked = (["health", server.url], ["health", server.url, "--strict"], ["status", server.url])
        ended = [run(*words) for words in asked]
        checked = run("status", server.url, "--verify")
    assert tuple(one.code for one in ended) == codes
    assert all(f"{MARKS[condition]} {condition}" in one.out for one in ended)
    last = (0, "verdict     go") if condition == "healthy" else (1, "verdict     roll back")
    assert (checked.code, checked.lines[-1]) == last


def test_a_gateway_that_is_not_there_exits_with_2(run: Run) -> None:
    for name in ("health", "status", "metrics", "namespaces"):
        ended = run(name, "http://127.0.0.1:9")
        assert ended.code == 2
        assert "RPC_UNAVAILABLE: the gateway at http://127.0.0.1:9 cannot be reached" in ended.err


def test_status_is_one_look_at_everything(run: Run, gateway: str) -> None:
    ended = run("status", gateway)
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[0] == f"{gateway}  ✔ healthy"
    assert ended.lines[1] == "namespaces  1: orders"
    assert ended.lines[2] == "owners      1: 1 healthy"
    plain = json.loads(run("status", gateway, "--json").out)
    assert (plain["namespaces"], plain["health"]["status"]) == (["orders"], "healthy")


def test_the_sums_of_status_are_of_all_owners() -> None:
    assert status._owners(MIXED) == "4: 1 healthy, 2 degraded, 1 unhealthy"
    assert status._circuits(MIXED) == "1 of 4 are not closed"
    assert status._lag(MIXED) == "3,702 writes wait, the oldest for 3.5 s; in the log alone for 250.0 ms"
    assert status._lag(DatabaseHealth("healthy", {}, {})) == "nothing waits"


def test_the_check_after_a_deployment_goes_through_its_steps_and_says_go(run: Run, gateway: str) -> None:
    ended = run("status", gateway, "--verify", "--canary", "canary")
    assert ended.code == 0
    marks = {line[2:18].strip(): line[0] for line in ended.lines if line[:1] in {"✔", "✘", "-"}}
    assert marks == {
        "write": "✔",
        "read back": "✔",
        "change": "✔",
        "delete": "✔",
        "health": "✔",
        "verify --quick": "-",
    }
    assert ended.lines[-1] == "verdict     go"
    plain = json.loads(run("status", gateway, "--verify", "--json").out)
    assert plain["go"] is True
    assert plain["check"][-1]["good"] is None
    with parquedb.connect(gateway) as database:
        assert database["canary"].count(include_deleted=True) == 0, "nothing of it is left"


@pytest.mark.parametrize(
    ("error", "step"),
    [(StorageWriteError("the disk is full"), "write"), (RpcUnavailableError("nobody there"), "write")],
)
def test_a_database_that_cannot_be_used_is_rolled_back(error: Exception, step: str) -> None:
    connection = LocalConnection(load_settings("memory://canary"))
    connection.refuse = [error]
    steps = {one.name: one for one in Canary(Database(connection)).steps()}
    assert steps[step].good is False
    assert str(error) in steps[step].said
    assert "read back" not in steps, "what was not written is not looked for"
    assert steps["delete"].good is True, "whatever came of the write"
    connection.leave()


def test_a_database_that_answers_wrongly_is_found_out() -> None:
    class Forgetful(LocalConnection):
        async def execute(self, namespace, operation, timeout_s):  # type: ignore[no-untyped-def]
            outcome = await super().execute(namespace, operation, timeout_s)
            return type(outcome)(None) if operation.kind == "get" else outcome

    connection = Forgetful(load_settings("memory://canary"))
    steps = {one.name: one for one in Canary(Database(connection)).steps()}
    assert steps["read back"].good is False
    assert "expected what was written, got None" in steps["read back"].said
    connection.leave()
