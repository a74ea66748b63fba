"""The build of GraphiQL's page."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from graph.http.graphiql import add_graphiql, graphiql
from tests.support.process import free_port

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "graph" / "graphiql"


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


@pytest.mark.long
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


def write_page(folder: Path, build: str) -> Path:
    """Writes files like those of vite. Two builds have one asset in common."""
    assets = {f"{build}.js": build, f"{build}.css": build, "common.js": "common"}
    (folder / "assets").mkdir(parents=True)
    for name, text in assets.items():
        (folder / "assets" / name).write_text(text)
    tags = "".join(f'<script src="./assets/{name}"></script>' for name in assets)
    (folder / "index.html").write_text(f"{build}{tags}")
    return folder


def after_each_change(monkeypatch: pytest.MonkeyPatch, check: Callable[[], None]) -> None:
    def checked(function: Callable[..., Any]) -> Callable[..., None]:
        def change(*arguments: Any, **options: Any) -> None:
            function(*arguments, **options)
            check()

        return change

    monkeypatch.setattr(os, "replace", checked(os.replace))
    monkeypatch.setattr(Path, "unlink", checked(Path.unlink))


def test_server_answers_a_complete_page_at_each_step_of_a_rebuild(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served, built = write_page(tmp_path / "dist", "old"), write_page(tmp_path / "built", "new")
    (served / "failure.txt").write_text("vite failed")
    app = FastAPI()
    add_graphiql(app, "/graphql", served)
    pages: list[str] = []
    with TestClient(app) as client:

        def load() -> None:
            page = bytes(graphiql({}, served).body).decode()
            pages.append(page[:3])
            addresses = re.findall(r'src="([^"]+)"', page)
            assert len(addresses) == 3
            assert {client.get(address).status_code for address in addresses} == {200}

        after_each_change(monkeypatch, load)
        runpy.run_path(str(SOURCE / "build.py"))["publish"](built, served)
    assert pages == ["old"] * 3 + ["new"] * 4
    names = {str(path.relative_to(served)) for path in served.rglob("*") if path.is_file()}
    assert names == {"index.html", "assets/new.js", "assets/new.css", "assets/common.js"}


def test_make_builds_only_after_a_change_of_the_source(copy: Path, tmp_path: Path) -> None:
    """Asks make in a tree in which everything is installed and built."""

    def is_up_to_date(*options: str) -> bool:
        done = subprocess.run(  # noqa: S603 - our own arguments
            ["make", "--question", f"PAGE={copy.name}", *options, "graphiql"],  # noqa: S607 - of the path
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode < 2
        return done.returncode == 0

    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").touch()
    assert not is_up_to_date()
    (copy / "dist").mkdir()
    (copy / "dist" / "index.html").touch()
    assert is_up_to_date()
    sources = [path.name for path in copy.iterdir() if path.is_file()]
    assert {"main.js", "package-lock.json", "build.py", "index.html", "style.css"} < set(sources)
    for name in sources:
        assert not is_up_to_date(f"--what-if={copy.name}/{name}"), name


def test_two_builds_at_the_same_time_run_one_after_the_other(copy: Path) -> None:
    build: Callable[[], None] = runpy.run_path(str(copy / "build.py"))["build"]
    both, running, most = Barrier(2), 0, 0

    def program(*_: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        with suppress(BrokenBarrierError):
            both.wait(0.2)  # the other build can enter
        running -= 1

    build.__globals__["_run"] = program
    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(build) for _ in range(2)]:
            done.result()
    assert most == 1


def test_failed_rebuild_keeps_the_page(copy: Path) -> None:
    shutil.copytree(SOURCE / "dist", copy / "dist")
    before = digests(copy / "dist")
    npm = {"npm_config_registry": f"http://127.0.0.1:{free_port()}"}
    assert build(copy, **npm, npm_config_cache=str(copy / "empty")).returncode == 1
    assert before.items() < digests(copy / "dist").items()
    assert [path.name for path in copy.glob(".dist-*")] == []
