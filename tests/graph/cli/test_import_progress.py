"""The report of an import: its errors, and what it lacks after an interruption."""

from pathlib import Path

import pytest

from graph.cli.database import CliError
from graph.cli.import_progress import Progress, Report
from graph.exchange.reading import Rejection

_LACKING = "does not contain the 2 rows that were rejected up to line 500.\n"


def test_report_that_cannot_be_written_is_named() -> None:
    report = Report(Path("/dev/full"))
    with pytest.raises(CliError) as failed:
        report.add([Rejection(1, "email", "wrong")])
    assert str(failed.value) == "/dev/full: No space left on device"


@pytest.mark.parametrize(
    ("before", "progress", "announced"),
    [
        ("", Progress(line=500), ""),
        ("123456", Progress(line=500, rejected=2, reported=4), ""),
        ("", Progress(line=500, rejected=2), _LACKING),
        ("other", Progress(line=500, rejected=2), _LACKING),
        ("12", Progress(line=500, rejected=2, reported=4), _LACKING),
    ],
)
def test_report_that_lacks_earlier_rejections_is_announced(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: str,
    progress: Progress,
    announced: str,
) -> None:
    file = tmp_path / "report.ndjson"
    file.write_text(before)
    Report(file).begin(progress)
    assert capsys.readouterr().err == (announced and f"{file} {announced}")
    assert file.read_text() == before[: progress.reported]
