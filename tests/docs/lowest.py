# SPDX-License-Identifier: LGPL-3.0-or-later
"""The lowest versions that pyproject.toml allows: `python tests/docs/lowest.py [EXTRA…]` prints them for pip."""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest(*extras):
    """As `name==version`, those of the program itself and of these extras."""
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    return [re.sub(r"^([\w.-]+)>=([\d.]+).*", r"\1==\2", requirement) for requirement in wanted]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest(*sys.argv[1:])) + "\n")
