"""Print constraints.txt: the versions installed now of everything Bedside needs, with all extras and for its tests.

Run it with the Python of the environment that passed the tests: `make constraints`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(root: str) -> dict[str, str]:
    """Name → installed version of every distribution that the root requirement brings in, itself left out."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(root)]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                found = distribution(name)
            except PackageNotFoundError:
                raise SystemExit(f"{name} is needed and not installed: run tools/setup test first") from None
            # A build tag (+cpu) names this machine's build, not the version that was tested.
            versions[name] = found.version.split("+")[0]
            for line in found.requires or []:
                child = Requirement(line)
                if child.marker is None or child.marker.evaluate({"extra": extra}):
                    waiting.append(child)
    del versions[canonicalize_name(Requirement(root).name)]
    return versions


if __name__ == "__main__":
    print(
        "# What the tests passed with, transitively (`make constraints` writes it); the ranges are in pyproject.toml."
    )
    for name, version in sorted(needed("bedside[test]").items()):
        print(f"{name}=={version}")
