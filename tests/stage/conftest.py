"""Prints the figures of the stage at its end."""

import pytest

from tests.stage.figures import tables


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, lines in tables().items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
