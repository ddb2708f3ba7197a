# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draw docs/run.svg, the moving picture in the README: a real run in a real pseudo-terminal.

A shell gets the command as if typed. Its terminal is drawn by pyte, and each frame that differs from
the one before is kept. In the SVG, equal lines of all frames are there once, and one CSS animation
moves the frames past a window, as on a film. Needs pyte.

The times of a real run differ each time. So the file is written only if this script has changed or the
program shows something else than times. Remove the file to draw it in any case.

python docs/run_svg.py
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import NamedTuple

import pyte

PICTURE = Path(__file__).with_name("run.svg")
COLUMNS, ROWS = 80, 24
COMMAND = "pqrun run release.yaml -j3"
KEY_SECONDS, FRAME_SECONDS, LAST_FRAME_SECONDS, MAX_SECONDS = 0.07, 0.125, 6.0, 60.0
SHELL = ["bash", "--norc", "--noprofile", "--noediting"]
PROMPT = "$ "
FILES = {
    "release.yaml": """\
jobs:
  - {id: fetch, run: ./fetch.sh, priority: high}
  - {id: lint, run: sleep 1.5; echo "All checks passed!"}
  - id: test
    needs: [fetch]
    matrix: {PY: ["3.11", "3.12", "3.13"]}
    timeout: 1m
    run: ./test.sh $PY
  - {id: upload, run: ./upload.sh, priority: high, retries: {max: 2, delay: 3s, jitter: 0}}
  - {id: docs, run: ./docs.sh}
  - {id: announce, needs: [test], run: echo announced}
""",
    "fetch.sh": """\
for n in 1 2 3 4; do echo "fetched part $n of 4"; sleep 0.5; done
""",
    "test.sh": """\
for n in 1 2 3 4 5 6 7 8; do
  echo "progress=0.$n" > "$PQRUN_REPORT"
  echo "tests/test_$n.py ......."
  sleep 0.$((n % 3 + 3))
done
[ $1 != 3.12 ] || { echo "E  AssertionError: expected 3 workers, got 4" >&2; exit 1; }
""",
    "upload.sh": """\
sleep 1
[ $PQRUN_ATTEMPT = 2 ] || { echo "curl: (7) Failed to connect to files.example" >&2; exit 7; }
echo "uploaded 12 files"
""",
    "docs.sh": """\
for n in 1 2 3 4 5 6 7 8 9; do echo "writing page $n of 9"; sleep 0.6; done
""",
    "bin/pqrun": f"""\
exec {sys.executable} -m pqrun "$@"
""",
}

CELL, LINE, BASELINE = 8.4, 18, 13
MARGIN, BAR = 12, 30
COLOURS = {
    "default": "#d7dae0", "black": "#15181c", "red": "#f4606c", "green": "#7ec87e", "brown": "#e0b050",
    "blue": "#6cb0f0", "magenta": "#c896e8", "cyan": "#62c8c8", "white": "#d7dae0", "brightblack": "#868c96",
    "brightred": "#ff7b86", "brightgreen": "#98e098", "brightbrown": "#f4cc70", "brightyellow": "#f4cc70",
    "brightblue": "#8cc4ff", "brightmagenta": "#dcb4f4", "brightcyan": "#80e0e0", "brightwhite": "#ffffff",
}  # fmt: skip
BACKGROUND = "#15181c"


class Look(NamedTuple):
    """How a text looks. Colours are those of CSS; `back` is empty for the colour of the window."""

    colour: str
    back: str = ""
    bold: bool = False
    underlined: bool = False


class TextRun(NamedTuple):
    """A part of a line that looks the same all over, from this column on."""

    column: int
    text: str
    look: Look


Line = tuple[TextRun, ...]


class Frame(NamedTuple):
    """What the terminal shows from `at` on, in seconds."""

    at: float
    lines: tuple[Line, ...]


class DimScreen(pyte.Screen):
    """A screen that shows dim text in grey, which pyte alone shows as usual text."""

    def select_graphic_rendition(self, *attributes: int) -> None:
        """Set how the next characters look."""
        if not {38, 48} & set(attributes):  # in these, a 2 is a part of a colour
            attributes = tuple(90 if code == 2 else code for code in attributes)
        super().select_graphic_rendition(*attributes)


def record(command: str, directory: Path, environment: dict[str, str]) -> Iterator[Frame]:
    """Type the command into a shell, and yield the frames until the shell waits for the next one."""
    screen = DimScreen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.chdir(directory)
        os.execvpe(SHELL[0], SHELL, environment)
    began = time.monotonic()
    typed, shown_at, last = 0, 0.0, ()
    try:
        while True:
            now = time.monotonic() - began
            if now > MAX_SECONDS:
                raise TimeoutError("\n".join(screen.display))
            if select.select([terminal], [], [], KEY_SECONDS)[0]:
                stream.feed(os.read(terminal, 65536))
            lines = [line.rstrip() for line in screen.display]
            begun = any(line == PROMPT.rstrip() for line in lines) or typed
            if begun and typed <= len(command) and now >= 0.5 + typed * KEY_SECONDS:
                os.write(terminal, (command + "\n")[typed].encode())
                typed += 1
            over = typed > len(command) and lines[screen.cursor.y] == PROMPT.rstrip() and screen.cursor.y > 1
            if (over or now - shown_at >= FRAME_SECONDS) and (drawn := lines_of(screen)) != last:
                shown_at, last = now, drawn
                yield Frame(now, drawn)
            if over:
                return
    finally:
        os.close(terminal)  # the shell ends
        os.waitpid(pid, 0)


def lines_of(screen: pyte.Screen) -> tuple[Line, ...]:
    """Return the lines of the screen, without blanks that nobody sees."""
    return tuple(tuple(_runs(screen.buffer[row])) for row in range(screen.lines))


def _runs(cells: Sequence[pyte.screens.Char]) -> Iterator[TextRun]:
    column, text, look = 0, "", None
    for at in range(COLUMNS):
        cell = cells[at]
        fore, back = _colour(cell.fg), "" if cell.bg == "default" else _colour(cell.bg)
        if cell.reverse:
            fore, back = back or BACKGROUND, fore
        here = Look(fore, back, cell.bold, cell.underscore)
        if here != look:
            if look is not None and (text.strip() or look.back or look.underlined):
                yield TextRun(column, text, look)
            column, text, look = at, "", here
        text += cell.data
    if look is not None and (text.strip() or look.back or look.underlined):
        yield TextRun(column, text if look.back or look.underlined else text.rstrip(), look)


def _colour(name: str) -> str:
    return COLOURS.get(name) or f"#{name}"


def digest(frames: Sequence[Frame]) -> str:
    """Return a digest of this script and of what each recording shows: the first table's head, keys, and the last page.

    Numbers, the name of the run and the frames between depend on the time.
    """
    table = next((frame for frame in frames if any(_is_head(line) for line in frame.lines)), frames[-1])
    lines = [line for line in table.lines if _is_head(line) or _is_footer(line)] + list(frames[-1].lines)
    text = " ".join(run.text for line in lines for run in line)
    text = re.sub(r"pqrun (resume|logs|show) \w+", r"pqrun \1 RUN", text)
    words = re.sub(r"\d[\d.]*(ms|[smh])?", "0", text).split()
    looks = sorted({run.look for line in lines for run in line})
    return sha256(repr((words, looks)).encode() + Path(__file__).read_bytes()).hexdigest()[:16]


def _is_head(line: Line) -> bool:
    return any(run.look.underlined for run in line)


def _is_footer(line: Line) -> bool:
    return any(run.text.startswith("^C") for run in line)


def film(frames: Sequence[Frame], title: str) -> str:
    """Return the frames as an SVG that repeats them. Where motion is not wanted it shows one frame with the table."""
    first = frames[0].at
    seconds = frames[-1].at - first + LAST_FRAME_SECONDS
    height = ROWS * LINE
    known: dict[Line, str] = {}
    looks: dict[Look, str] = {}
    uses, steps = [], []
    for number, frame in enumerate(frames):
        steps.append(
            f"{100 * (frame.at - first) / seconds:.2f}%{{transform:translateY({-number * height}px)}}"
        )
        for row, line in enumerate(frame.lines):
            if line:
                name = known.setdefault(line, f"l{len(known)}")
                uses.append(f'<use href="#{name}" y="{number * height + row * LINE}"/>')
    shapes = [f'<g id="{name}">{"".join(_drawn(line, looks))}</g>' for line, name in known.items()]
    still = -_still(frames) * height
    style = [
        "text{font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;white-space:pre}",
        f"#film{{animation:film {seconds:.1f}s step-end infinite;transform:translateY({still}px)}}",
        f"@keyframes film{{{''.join(steps)}}}",
        "@media (prefers-reduced-motion:reduce){#film{animation:none}}",
        *(f".{name}{{{_css(look)}}}" for look, name in looks.items()),
    ]
    width, window = COLUMNS * CELL + 2 * MARGIN, height + BAR + MARGIN
    dots = "".join(
        f'<circle cx="{18 + 20 * n}" cy="15" r="6" fill="{colour}"/>'
        for n, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {window}" width="{width:g}" height="{window}" '
            f'data-digest="{digest(frames)}">',
            f"<title>{escape(title)}</title>",
            f"<style>{''.join(style)}</style>",
            f"<defs>{''.join(shapes)}</defs>",
            f'<rect width="{width:g}" height="{window}" rx="8" fill="{BACKGROUND}"/>{dots}',
            f'<svg x="{MARGIN}" y="{BAR}" width="{COLUMNS * CELL:g}" height="{height}"><g id="film">',
            *uses,
            "</g></svg></svg>\n",
        ]
    )


def _still(frames: Sequence[Frame]) -> int:
    """Return the number of the fullest frame in which the table is there, else of the last one."""
    with_table = [number for number, frame in enumerate(frames) if any(map(_is_footer, frame.lines))]
    return max(
        with_table, key=lambda number: (sum(map(bool, frames[number].lines)), number), default=len(frames) - 1
    )


def _drawn(line: Line, looks: dict[Look, str]) -> Iterator[str]:
    for column, text, look in line:
        name = looks.setdefault(look, f"s{len(looks)}")
        x, length = f"{column * CELL:.1f}".removesuffix(".0"), f"{len(text) * CELL:.1f}".removesuffix(".0")
        if look.back:
            yield f'<rect x="{x}" width="{length}" height="{LINE}" fill="{look.back}"/>'
        shown = escape(text.replace(" ", "\xa0"), quote=False)
        yield f'<text x="{x}" y="{BASELINE}" textLength="{length}" class="{name}">{shown}</text>'


def _css(look: Look) -> str:
    bold, line = ";font-weight:700" * look.bold, ";text-decoration:underline" * look.underlined
    return f"fill:{look.colour}{bold}{line}"


def played(command: str, files: Mapping[str, str]) -> list[Frame]:
    """Return the frames of a command in a new directory with these files."""
    place = Path(tempfile.mkdtemp(prefix="pqrun-film-"))
    environment = {
        "PATH": f"{place}/bin:{os.environ['PATH']}", "PS1": PROMPT, "TERM": "xterm-256color", "LANG": "C.UTF-8",
        "HOME": str(place), "PQRUN_STATE_DIR": str(place / "state"), "PYTHONPATH": str(Path(__file__).parents[1]),
    }  # fmt: skip
    try:
        (place / "bin").mkdir()
        for name, text in files.items():
            (place / name).write_text(text if name.endswith(".yaml") else f"#!/bin/sh\n{text}")
            (place / name).chmod(0o755)
        return list(record(command, place, environment))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def draw(picture: Path, frames: Sequence[Frame], title: str) -> None:
    """Write the film, unless there is one that differs only in times."""
    there = picture.read_text(encoding="utf-8") if picture.exists() else ""
    if f'data-digest="{digest(frames)}"' not in there:
        picture.write_text(film(frames, title), encoding="utf-8")


if __name__ == "__main__":
    draw(PICTURE, played(COMMAND, FILES), COMMAND)
