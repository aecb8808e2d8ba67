"""The figures that fault tests measure: with each test's report, and together at the end of the run."""

from collections.abc import Callable
from typing import Any

import pytest

_lines: list[str] = []


@pytest.fixture
def figures(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Call with what was measured, as `name=value`."""

    def note(**measured: Any) -> None:
        for name, value in measured.items():
            record_property(name, value)
        text = "  ".join(
            f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in measured.items()
        )
        _lines.append(f"{request.node.name}\n    {text}")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print all figures."""
    if _lines:
        terminalreporter.section("figures of the fault tests")
        for line in _lines:
            terminalreporter.write_line(line)
