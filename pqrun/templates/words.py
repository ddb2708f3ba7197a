# SPDX-License-Identifier: LGPL-3.0-or-later
"""The words after the options of `each`: the command, and after `:::` and its like the arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from pqrun.errors import UserError

_MARKS: Final = (":::", ":::+", "::::", "::::+")


class Given(NamedTuple):
    """One source of arguments: these `values`, or the lines of a file (`-` is stdin).

    `linked`: its values go with those of the source before it, one with one; otherwise each goes
    with each.
    """

    values: tuple[str, ...] = ()
    path: str | None = None
    linked: bool = False


def parted(words: Sequence[str], files: Sequence[str] = ()) -> tuple[str, list[Given]]:
    """The command (empty if there is none), and the sources: `files` first, then in their order."""
    marks = [place for place, word in enumerate(words) if word in _MARKS]
    command = " ".join(words[: marks[0]] if marks else words)
    sources = [Given(path=path) for path in files]
    for begin, end in zip(marks, [*marks[1:], len(words)], strict=False):
        mark, found = words[begin], tuple(words[begin + 1 : end])
        linked = mark.endswith("+")
        if linked and not sources:
            raise UserError(f"`{mark}` links its arguments with those before it, and there are none")
        if mark.startswith("::::"):
            if not found:
                raise UserError(f"`{mark}` names no file")
            sources += [Given(path=path, linked=linked) for path in found]
        else:
            sources.append(Given(found, linked=linked))
    return command, sources
