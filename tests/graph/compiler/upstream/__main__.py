"""Runs graphql-core's own executor tests with the compiler (`make conformance`).

They are in graphql-core's source distribution, which is downloaded for the installed version.
"""

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS = [
    "tests/execution",
    "tests/test_graphql.py",
    "tests/test_star_wars_introspection.py",
    "tests/test_star_wars_query.py",
    "tests/test_user_registry.py",
    "tests/utilities/test_introspection_from_schema.py",
]


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)  # noqa: S603 - our own


def download(folder: Path) -> Path:
    """Return the unpacked source distribution."""
    wanted = f"graphql-core=={version('graphql-core')}"
    pip("download", "--no-deps", "--no-binary=graphql-core", f"--dest={folder}", wanted)
    pip("install", "--no-deps", f"--target={folder / 'plugins'}", "pytest-describe>=3,<4")
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def run(sources: Path, *, fast_path: bool) -> int:
    """Run the tests, with fast paths from the first value if `fast_path`."""
    plugins = [sources.parent / "plugins", Path(__file__).parent]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, plugins)),
        "FAST_PATH": "1" if fast_path else "",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir=."]
    command += ["-p", "no:cacheprovider", "-p", "graphql_core_plugin", "-W", "ignore"]
    return subprocess.run([*command, *TESTS], cwd=sources, env=environment, check=False).returncode  # noqa: S603 - as above


def main() -> int:
    with TemporaryDirectory() as folder:
        sources = download(Path(folder))
        return max(run(sources, fast_path=False), run(sources, fast_path=True))


if __name__ == "__main__":
    sys.exit(main())
