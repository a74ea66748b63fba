"""A short run of `make fuzz` with the same cases each time: 300, or 60 in the profile `fast`."""

from pathlib import Path

import pytest

from tests.fuzz.run import run
from tests.support.examples import examples

# Random or exhaustive cases: others cover the code, and coverage doubles their time.
pytestmark = pytest.mark.no_cover


async def test_fuzzed_requests_cause_no_unexpected_response(tmp_path: Path) -> None:
    report = await run(count=examples(300), seed=20, folder=tmp_path)
    assert len(report.outcomes) == examples(300)
    wrong = "\n".join(report.lines())
    assert not wrong
