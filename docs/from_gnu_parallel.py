# SPDX-License-Identifier: LGPL-3.0-or-later
"""The tables of options on the page for those who come from GNU parallel.

`python docs/from_gnu_parallel.py` writes them into docs/from-gnu-parallel.md. They are made of
pqrun/cli/foreign_options.py; the rest of the page is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from pqrun.cli.foreign_options import CURES, SPELLINGS, VALUE, ForeignOption

DOCUMENT = Path(__file__).with_name("from-gnu-parallel.md")


def _names(option: ForeignOption) -> str:
    names = " ".join(f"`{name}`" for name in option.names)
    return f"{names} {option.metavar}".rstrip().replace("|", "\\|")


def _ours(option: ForeignOption) -> str:
    if option.words is None:
        return f"`{' '.join(option.read('N' if option.names[0] == '-P' else 'TERM,200,KILL'))}`"
    value = option.metavar or "N"
    return f"`{' '.join(option.words).replace(VALUE, value)}`" if option.words else "nothing"


def spellings() -> str:
    """Return the table of the options that `each` takes in other words."""
    rows = [f"| {_names(one)} | {_ours(one)} | {one.about} |" for one in SPELLINGS]
    return "\n".join(["| option | the same as | to know |", "|---|---|---|", *rows])


def cures() -> str:
    """Return the table of the options that `each` lacks."""
    rows = [f"| {_names(one)} | {one.about} |" for one in CURES]
    return "\n".join(["| option | instead |", "|---|---|", *rows])


def markdown() -> str:
    """Return the page with the tables as they are now."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in (("other spellings", spellings()), ("cures", cures())):
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)",
            lambda mark, table=table: mark[1] + table + mark[2],
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(markdown(), encoding="utf-8")
