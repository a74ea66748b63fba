"""A short run of `make fuzz`: the same three hundred cases each time."""

from pathlib import Path

from tests.fuzz.run import run


async def test_nothing_that_is_sent_to_the_server_breaks_it(tmp_path: Path) -> None:
    report = await run(count=300, seed=20, folder=tmp_path)
    assert len(report.outcomes) == 300
    wrong = "\n".join(report.lines())
    assert not wrong
