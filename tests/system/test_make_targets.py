"""Every make target and every benchmark runs, in a small configuration."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Excluded: targets that serve until they are stopped, change the environment of this test, need an
# advisory database or a package index, or run this test.
EXCLUDED = {
    "conformance",
    "run",
    "clean",
    "lock",
    "audit-deps",
    "install",
    "graphiql",  # built before the tests; test_wheel builds it, too
    "test",
    "coverage",
    "test-fast",
    "test-long",
    "test-clients",
    "stage",
    "test-follow",
    "check",
}
BENCH = "--only roster,floor,user --seconds 1 --rounds 1"
needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk"
)


def make(target: str, *variables: str, **environment: str) -> str:
    result = subprocess.run(  # noqa: S603 - our own arguments
        ["make", "--no-print-directory", target, *variables],  # noqa: S607 - of the path
        cwd=ROOT,
        env=dict(os.environ) | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_each_target_is_run_by_a_test_or_excluded() -> None:
    declared = re.findall(r"(?m)^\.PHONY: (.*)$", (ROOT / "Makefile").read_text())
    targets = {target for line in declared for target in line.split()}
    tested = set(re.findall(r'make\(\s*"([a-z-]+)"', Path(__file__).read_text()))
    assert tested | EXCLUDED == targets


def test_schema_prints_the_schema_that_is_committed() -> None:
    before = (ROOT / "schema.graphql").read_text()
    make("schema")
    assert (ROOT / "schema.graphql").read_text() == before


def test_docs_writes_the_table_that_is_committed() -> None:
    before = (ROOT / "docs" / "operations.md").read_text()
    make("docs")
    assert (ROOT / "docs" / "operations.md").read_text() == before


def test_format_finds_nothing_to_change() -> None:
    assert "files left unchanged" in make("format")


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_fuzzer_finds_no_problem_in_a_small_run(database: str) -> None:
    small = "FUZZ=--count 60"
    output = make("fuzz", small) if database == "SQLite" else make("fuzz-postgres", small)
    assert "The server stood it." in output


@needs_wrk
def test_benchmark_results_can_be_published(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    make("bench", f"BENCH={BENCH} --json {results}", BENCH_SHARE="0.01")
    shutil.copy(ROOT / "docs" / "performance.md", tmp_path)
    make("bench-docs", f"RESULTS={results} {tmp_path}")
    assert "requests a second" in (tmp_path / "performance.svg").read_text()


@pytest.mark.long
@needs_wrk
def test_benchmark_compares_two_trees() -> None:
    """Compares this tree with itself."""
    bench = "--only roster,before,user --against . --seconds 1 --rounds 1"
    output = make("bench", f"BENCH={bench}", BENCH_SHARE="0.01")
    assert "Requests a second, divided by those of" in output
    assert output.count("Roster, development, before") >= 2


@pytest.mark.long
@needs_wrk
def test_telemetry_benchmark_compares_servers() -> None:
    bench = "BENCH=--only user --seconds 1 --rounds 1"
    output = make("bench-telemetry", bench, BENCH_SHARE="0.01")
    for server in ("without", "files", "traces", "everything"):
        assert f"│ {server} " in output


@pytest.mark.long
def test_scale_benchmark_measures_each_read() -> None:
    output = make("bench-scale", BENCH_SHARE="0.001")
    assert "userEvents, first page" in output
    assert "Ranked searches" in output
    assert "SQLite" in output


def test_bulk_benchmark_measures_both_databases() -> None:
    output = make("bench-bulk", BENCH_SHARE="0.02")
    assert "PostgreSQL" in output
    assert "SQLite" in output


@pytest.mark.long
def test_exchange_benchmark_measures_both_databases() -> None:
    output = make("bench-exchange", BENCH_SHARE="0.001")
    for what in ("validation", "writing", "export to a file", "events", "export by HTTP"):
        assert output.count(what) >= 2, what


@pytest.mark.long
def test_feed_benchmark_measures_both_databases() -> None:
    output = make("bench-feed", BENCH_SHARE="0.02")
    assert output.count("idle subscribers") == 2
