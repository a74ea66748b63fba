"""A short run of `make fuzz` with the same 300 cases each time."""

from pathlib import Path

from tests.fuzz.run import run


async def test_fuzzed_requests_cause_no_unexpected_response(tmp_path: Path) -> None:
    report = await run(count=300, seed=20, folder=tmp_path)
    assert len(report.outcomes) == 300
    wrong = "\n".join(report.lines())
    assert not wrong
