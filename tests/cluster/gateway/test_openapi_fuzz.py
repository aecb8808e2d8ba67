"""The gateway against its own OpenAPI document: requests made up from it, right and wrong ones, by schemathesis.

Each answer must be one that the document announces for that request, and none may blame the gateway.
"""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from parquedb.access.permissions import ALL
from parquedb.settings.access import AccessSettings
from tests.support.hostile import HONEST, LEAKS, Stage, staged
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, token

NAMESPACE = "posts"
QUICK = settings(max_examples=5, derandomize=True, phases=[Phase.generate])
THOROUGH = settings(max_examples=1_000)
ACCESS = AccessSettings(
    jwt_secrets=(SecretStr(SECRET),), jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,), failures_max=1_000_000
)
# The document says what a request looks like. Which ids, filters and updates mean something, JSON Schema cannot say.
# Who asks for an answer within a nanosecond is told that it took longer.
NOT_HELD = [positive_data_acceptance, not_a_server_error]
# Of many operations those that are wrong are refused by themselves; a key is looked at when a write is about to begin.
REFUSED_LATER = [*NOT_HELD, negative_data_rejection]
NO_HTTP = b"Invalid HTTP request received."
"""What uvicorn says of a request that no application ever sees."""
COMMON: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    on_stage = staged(tmp_path_factory.mktemp("stage"), access=ACCESS)
    made: Stage = run(on_stage.__aenter__())
    yield made
    run(made.check([]))
    run(on_stage.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_every_answer_is_as_the_document_says(stage: Stage) -> None:
    check_all(stage, QUICK)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_answer_to_many_requests_is_as_the_document_says(stage: Stage) -> None:
    check_all(stage, THOROUGH)


def check_all(stage: Stage, how: settings) -> None:
    """Try all operations of the document with data of both kinds; fail for all that went wrong together."""
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{stage.port}/openapi.json", headers=caller())
    # The proof of who calls is the same for all.
    document.config.generation.update(with_security_parameters=False)
    faults, tried = [], 0
    for found in document.get_all_operations():
        operation = found.ok()
        tried += 1
        for mode in GenerationMode:
            try:
                check(operation, mode, stage, how)
            except Unsatisfiable:
                continue  # It takes nothing that could be wrong.
            except BaseException as error:  # noqa: BLE001 - an ExceptionGroup, too
                faults.append(f"{mode.value} {operation.label}: {told(error)}")
    assert tried > 10
    assert not faults, "\n\n".join([f"{len(faults)} faults", *faults])


def caller() -> dict[str, str]:
    """Return the headers of somebody who may do everything."""
    return {"Authorization": f"Bearer {token(permissions=[ALL])}"}


def told(error: BaseException) -> str:
    """Return an error's text, with those that it is made of."""
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return "\n".join([f"{type(error).__name__}: {error}", *(told(one) for one in inner)])


def check(operation: Any, mode: GenerationMode, stage: Stage, how: settings) -> None:
    """Try one operation."""
    many = operation.path.endswith("/operations")

    @settings(how, **COMMON)
    @given(case=operation.as_strategy(mode))
    def answered(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and "namespace" in (case.path_parameters or {}):
            # Names that nobody else thinks of would leave every document alone.
            case.path_parameters["namespace"] = NAMESPACE
        sent = {"headers": caller(), "timeout": 20}
        answer = case.call(**sent)
        if answer.content == NO_HTTP:
            return
        assert answer.status_code < 500 or answer.status_code in HONEST, answer.content
        text = f"{answer.headers}{answer.content.decode(errors='replace')}"
        # What metrics are called is for everybody to read.
        assert operation.path == "/metrics" or not LEAKS.search(text), text
        assert str(stage.folder) not in text
        later = many or "Idempotency-Key" in (case.headers or {})
        excluded = REFUSED_LATER if later else NOT_HELD
        case.validate_response(answer, excluded_checks=excluded, headers=sent["headers"], transport_kwargs=sent)

    answered()
