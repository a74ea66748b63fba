"""The wheel, installed outside the repository."""

import asyncio
import os
import re
import shutil
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.process import free_port, http_client

ROOT = Path(__file__).parents[2]


async def run(*command: object, cwd: Path) -> str:
    """Run a command without any of Roster's settings, and return its output."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ROSTER_", "COVERAGE"))}
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 600)
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "node_modules", "__pycache__", "*.db*")
    shutil.copytree(ROOT, source, ignore=ignored)
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder)
    await run(sys.executable, *build, ".", cwd=source)
    [built] = [name for name in os.listdir(folder) if name.endswith(".whl")]  # noqa: PTH208 - not async
    return folder / built


@pytest.fixture
async def roster(wheel: Path, tmp_path: Path) -> Path:
    """Install the wheel into an environment of its own, and return the command.

    Dependencies are those of this environment: its folder is on the path of the other one, which
    does not process the file there that makes this repository importable.
    """
    venv.create(tmp_path / "venv", with_pip=False)
    paths = sysconfig.get_paths(vars={"base": str(tmp_path / "venv"), "platbase": ""})
    here = sysconfig.get_paths()["purelib"]
    (Path(paths["purelib"]) / "dependencies.pth").write_text(here)
    python = tmp_path / "venv" / "bin" / "python"
    install = ("--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    await run(sys.executable, "-m", "pip", *install, cwd=tmp_path)
    return tmp_path / "venv" / "bin" / "roster"


async def test_wheel_contains_the_packages_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    assert {name for name in folders if not name.endswith(".dist-info")} == {
        "db",
        "feed",
        "graph",
        "migrations",
        "users",
    }
    assert [name for name in names if name.endswith("/licenses/LICENSE")] != []
    page = [name for name in names if name.startswith("graph/graphiql/")]
    assert "graph/graphiql/dist/index.html" in page
    assert {name.split("/")[2] for name in page} == {"dist"}
    assert {name for name in names if name.endswith("py.typed")} == {
        f"{folder}/py.typed" for folder in ("db", "feed", "graph", "migrations", "users")
    }


async def test_installed_wheel_migrates_and_serves_graphiql(roster: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    code = "import graph; print(graph.__file__)"
    imported = await run(roster.with_name("python"), "-c", code, cwd=folder)
    assert imported.startswith(str(tmp_path))
    await run(roster, "migrate", cwd=folder)
    assert (folder / "roster.db").exists()
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ROSTER_", "COVERAGE"))}
    process = await asyncio.create_subprocess_exec(
        roster,
        "serve",
        cwd=folder,
        env=environment | {"ROSTER_PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout
        while b"mode" not in (line := await asyncio.wait_for(process.stdout.readline(), 60)):
            assert line
        async with http_client(f"http://127.0.0.1:{port}") as client:
            page = await client.get("/graphql", headers={"accept": "text/html"})
            assert page.status_code == 200
            assets = re.findall(r'(?:src|href)="(/graphiql/[^"]+)"', page.text)
            assert assets
            for asset in assets:
                assert (await client.get(asset)).status_code == 200
            answer = await client.post("/graphql", json={"query": "{ users { totalCount } }"})
            assert answer.json() == {"data": {"users": {"totalCount": 0}}}
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 60)
