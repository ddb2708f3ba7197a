# SPDX-License-Identifier: LGPL-3.0-or-later
"""`python -m pqrun`."""

from pqrun.cli.main import entry

if __name__ == "__main__":
    entry()
