# ruff: noqa: INP001 - a script of the image, in no package
"""Print the pins of requirements.lock that the service needs, without the test dependencies.

Run it in the folder of Roster's pyproject.toml, with all of requirements.lock installed: it reads
each package's requirements from its metadata.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(requirements: Iterable[str]) -> set[str]:
    """Return the names of these packages and their dependencies on this machine."""
    found: set[tuple[str, str]] = set()
    left = [(Requirement(line), "") for line in requirements]
    while left:
        requirement, extra = left.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for extra_ in ("", *requirement.extras):
            if (name, extra_) not in found:
                found.add((name, extra_))
                left += [(Requirement(line), extra_) for line in requires(name) or ()]
    return {name for name, _ in found}


def pins(lock: str, names: set[str]) -> Iterator[str]:
    """Yield the pins of these names, with their hashes."""
    for pin in re.split(r"\n(?=\S)", lock.strip()):
        if pin.partition("==")[0] in names:
            yield pin


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    lock = Path("requirements.lock").read_text()
    service = [*project["dependencies"], *project["optional-dependencies"]["otel"]]
    sys.stdout.write("\n".join(pins(lock, needed(service))) + "\n")
