"""The help of every command, on a terminal of 80 columns."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from graph.cli.main import app

COLUMNS = 80


def commands(command: object, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, *path, name)


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fills_its_lines(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": str(COLUMNS)})
    assert shown.exit_code == 0
    text, *_ = Text.from_ansi(shown.output).plain.split("╭")
    lines = [line.strip() for line in text.splitlines()]
    assert lines[1].startswith(f"Usage: root {' '.join(command)}".rstrip())
    for line, following in pairwise(lines):
        if line and following:
            word = following.split()[0]
            assert len(f" {line} {word} ") > COLUMNS, (line, following)
