# SPDX-License-Identifier: LGPL-3.0-or-later
"""What jobs print and are called, as text that no reader of a report stumbles over."""

from __future__ import annotations

import re

from pqrun.display.safe import plain
from pqrun.ledger import Row
from pqrun.model import JobSpec, Lost, shown_command
from pqrun.words import how_it_ended

LONGEST_NAME = 120
_ESCAPES = re.compile(
    r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[ -/]{0,4}[0-~]"
)
# Of what Unicode has, XML 1.0 can't hold these; DEL and its followers it can, but no screen should.
_NOT_TEXT = re.compile("[^\t\n -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HARMLESS = re.compile(r"[^`|\\]+")


def printed(data: bytes) -> str:
    """Output as text: without colours and control characters, lines ending in a newline."""
    text = _ESCAPES.sub("", data.decode("utf-8", "replace"))
    return _NOT_TEXT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def last_lines(data: bytes, most: int, longest: int = 1000) -> list[str]:
    """The last lines that are not blank at the end, each cut to so many characters."""
    lines = printed(data).rstrip().split("\n")[-most:]
    return [line[:longest] for line in lines] if any(lines) else []


def one_line(text: str, longest: int = 500) -> str:
    """Any text on one line, without what steers; cut to so many characters."""
    text = _NOT_TEXT.sub("\ufffd", plain(" ".join(text[: 4 * longest].split())))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def name_of(row: Row) -> str:
    """What to call a job: its id, or its command if it has none of its own."""
    return name_for(row.spec)


def name_for(spec: JobSpec) -> str:
    """The same, of one that has not begun."""
    name = spec.id if spec.named else shown_command(spec.work)
    return one_line(name, LONGEST_NAME if not spec.named else 1000) or spec.id


def how(row: Row) -> str:
    """How it ended, in a few words; `lost` tells why."""
    if isinstance(row.exit, Lost) and row.asked is None:
        return f"lost: {one_line(row.exit.why)}"
    return how_it_ended(row.exit, row.asked, row.spec.timeout)


def code_span(text: str) -> str:
    """For one cell of a Markdown table: shown as it is, whatever is in it."""
    text = one_line(text, 200) or " "
    if _HARMLESS.fullmatch(text) and text == text.strip():
        return f"`{text}`"
    # Readers disagree about backslashes and bars in cells, but not about these.
    return f"<code>{''.join(c if c.isalnum() or c == ' ' else f'&#{ord(c)};' for c in text)}</code>"


def code_block(text: str) -> str:
    """Markdown that shows text as it is."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
