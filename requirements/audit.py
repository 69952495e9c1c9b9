"""Known holes in what is installed: ``python -m requirements.audit`` asks pip-audit, where an index of them answers.

An index that does not know a package lets pip-audit pass it, so that nothing was looked at and nothing is said. So one
package is asked for first, and where that one is unknown the whole is skipped, aloud and with status 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

KNOWN = "jinja2"  # which every index of holes knows


def main() -> None:
    """Print the holes, a line each, and end with status 1 where there are any."""
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one.txt"
        one.write_text(f"{KNOWN}=={version(KNOWN)}\n", encoding="utf-8")
        if not any("vulns" in package for package in asked("--no-deps", "--disable-pip", "--requirement", str(one))):
            print("audit: skipped, for no index of known holes answers here")
            return
    lines, left_out = told(asked("--local", "--skip-editable"))
    print("\n".join([*lines, f"audit: {len(lines)} known holes; not to be found in the index: {left_out or 'none'}"]))
    sys.exit(bool(lines))


def asked(*words: str) -> list[dict[str, Any]]:
    """Return what pip-audit says of each package, nothing where it comes to no answer."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", *words]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(found.stdout)["dependencies"]
    except ValueError:
        return []
    return packages


def told(packages: list[dict[str, Any]]) -> tuple[list[str], str]:
    """Return a line for each hole, and the names of the packages of which nothing is known."""
    lines = [
        f"{package['name']} {package['version']}: {hole['id']}, mended in "
        + (", ".join(hole["fix_versions"]) or "nothing yet")
        for package in packages
        for hole in package.get("vulns", ())
    ]
    return lines, ", ".join(package["name"] for package in packages if "vulns" not in package)


if __name__ == "__main__":
    main()
