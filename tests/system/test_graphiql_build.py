"""The build of GraphiQL's page."""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.process import free_port

SOURCE = Path(__file__).parents[2] / "graph" / "graphiql"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("dist", "node_modules", "__pycache__")
    return Path(shutil.copytree(SOURCE, tmp_path / "graphiql", ignore=ignored))


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, folder / "build.py"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): sha256(f.read_bytes()).hexdigest() for f in files}


def test_two_builds_in_different_folders_are_identical(copy: Path) -> None:
    for folder in (copy, second := copy.with_name("second")):
        if folder == second:
            shutil.copytree(copy, folder, ignore=shutil.ignore_patterns("dist"), symlinks=True)
        done = build(folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    built = digests(copy / "dist")
    assert {"index.html", "LICENSES.md"} < built.keys()
    assert built == digests(second / "dist")


def test_build_without_the_registry_fails_with_one_line_that_the_page_shows(
    copy: Path, tmp_path: Path
) -> None:
    registry = f"http://127.0.0.1:{free_port()}"
    cache = str(tmp_path / "empty")
    done = build(copy, npm_config_registry=registry, npm_config_cache=cache)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "GraphiQL cannot be built, its packages cannot be installed from the npm registry: "
    )
    assert done.stderr.count("\n") == 1
    assert "ECONNREFUSED" in done.stderr
    assert (copy / "dist" / "failure.txt").read_text() == done.stderr.strip()
