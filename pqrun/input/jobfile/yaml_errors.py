# SPDX-License-Identifier: LGPL-3.0-or-later
"""The translation of libyaml's error messages into messages that name the cure."""

from __future__ import annotations

import re
from typing import Any, Final

from pqrun.core.job_fields import JOB_FIELDS, RETRY_FIELDS, TOP_LEVEL_FIELDS, by_spelling
from pqrun.core.text import quoted, shorten
from pqrun.input.jobfile.problems import Problem, in_quotes
from pqrun.input.jobfile.source_text import SourceText

_KNOWN: Final = by_spelling((*JOB_FIELDS, *RETRY_FIELDS, *TOP_LEVEL_FIELDS))
_ENTRY = re.compile(r"\s*(?:- +)*([\"']?)([\w.-]+)\1\s*:(?:\s|$)")
_WORD = re.compile(r"([\w-]+)(:?)\s*(.*)")


def translated(wrong: Any, file: SourceText) -> Problem:
    """Return the problem that a YAML error stands for."""
    mark, context = getattr(wrong, "problem_mark", None), getattr(wrong, "context_mark", None)
    said = str(getattr(wrong, "problem", None) or wrong).split("\n")[0]
    if mark is None:
        return Problem(file.rank, 0, 0, f"not YAML: {said}", "save it as UTF-8 text")
    here = _Place(file, mark)
    about = _Place(file, context) if context is not None else here
    return _tab(here) or _by_words(said, here, about)


class _Place:
    """A place in a file, with the text around it."""

    def __init__(self, file: SourceText, mark: Any) -> None:
        self.file = file
        self.line = mark.line + 1
        self.column = mark.column + 1
        self.text = file.line(self.line)
        self.before = self.text[: mark.column]
        self.rest = self.text[mark.column :]

    def problem(self, message: str, hint: str) -> Problem:
        return Problem(self.file.rank, self.line, self.column, message, hint)

    def above(self) -> tuple[int, str]:
        """Return the nearest line above that is neither empty nor a comment, and its number."""
        number = self.line - 1
        while number > 0 and self.file.line(number).lstrip()[:1] in ("", "#"):
            number -= 1
        return number, self.file.line(number)


def _tab(here: _Place) -> Problem | None:
    indent = here.text[: len(here.text) - len(here.text.lstrip())]
    if "\t" not in indent:
        return None
    place = Problem(
        here.file.rank, here.line, indent.index("\t") + 1, "a tab as indentation", "indent with spaces"
    )
    return place


def _by_words(said: str, here: _Place, about: _Place) -> Problem:
    if "mapping values are not allowed" in said:
        return _colon_too_many(here)
    if "could not find expected ':'" in said:
        return _colon_missing(about)
    if said.startswith(("did not find expected key", "did not find expected '-'", "expected <block end>")):
        return _misaligned(here, about)
    if "',' or" in said:
        return _flow(here, about)
    if "<document start>" in said:
        return _after_the_end(here)
    if "alphabetic or numeric" in said:
        return about.problem(f"a string that begins with `{about.rest[:1]}`", _cure(about))
    if "cannot start any token" in said:
        return here.problem(f"a string that begins with `{here.rest[:1]}`", _cure(here))
    if "unexpected end of stream" in said:
        return about.problem(f"a quote `{about.rest[:1]}` that is never closed", "close it on the same line")
    if "escape" in said:
        return _escape(said, here)
    if "hexdecimal" in said or "hexadecimal" in said:
        return here.problem("an escape that lacks digits", "write `\\xNN` or `\\uNNNN`, or use single quotes")
    if "comment or" in said and about.before.rstrip().endswith((":", "-")):
        return here.problem(
            "a string after `|` or `>`", "start it on the next line, indented; or put it in quotes"
        )
    if "comment or" in said:
        return about.problem("more text after the end of a value", _cure(about))
    if "sequence entries are not allowed" in said:
        hint = "begin the list on the next line; a string that begins with `- ` needs quotes"
        return here.problem("a list item in the wrong place", hint)
    if "mapping keys are not allowed" in said:
        return here.problem("a string that begins with `? `", _cure(here))
    if "nesting depth" in said:  # PyYAML has had a limit of its own since version 6.0.4
        return here.problem("nesting deeper than 40 levels", "put strings that contain brackets in quotes")
    if about.rest.startswith("%") or "directive" in said or "incompatible YAML" in said:
        return about.problem("a line that begins with `%`", "remove it")
    hint = "a string that contains `: ` or ` #`, or begins with one of {}[]*&!|>%@`, needs quotes"
    return here.problem(f"not YAML: {said}", hint)


def _colon_too_many(here: _Place) -> Problem:
    entry = _ENTRY.match(here.before)
    if entry and here.before[entry.end() :].strip():
        return here.problem("a `: ` in a string without quotes", _cure(here))
    number, above = here.above()
    column = len(here.before) - len(here.before.lstrip()) + 1
    word = here.before.strip().removeprefix("- ").strip()
    if ":" not in above and above.strip():
        place = Problem(here.file.rank, number, len(above) - len(above.lstrip()) + 1, "a key without a colon")
        return place._replace(hint=f"write `{shorten(above.strip())}:`")
    first = _ENTRY.match(above)
    align = (
        f"align {quoted(word)} with {quoted(first[2])} on line {number}"
        if first
        else f"align it with line {number}"
    )
    return Problem(here.file.rank, here.line, column, f"{quoted(word)} is indented too far", align)


def _colon_missing(about: _Place) -> Problem:
    found = _WORD.match(about.rest)
    if found and found[1] in _KNOWN:
        message = "no blank after a colon" if found[2] else "a key without a colon"
        return about.problem(message, f"write `{found[1]}: {shorten(found[3])}`".replace(": `", ":`"))
    hint = "write `key: value`; put a string of several lines below `key: |`, indented"
    return about.problem("a key without a colon", hint)


def _misaligned(here: _Place, about: _Place) -> Problem:
    if here.before.strip(" -"):
        return here.problem("more text after the end of a value", _cure(here))
    if here.rest.startswith(":"):
        return here.problem("a colon without a key before it", "write `key: value`")
    number, above = here.above()
    if here.rest.startswith("-"):
        while number > about.line and not above.lstrip().startswith("-"):
            number, above = number - 1, here.file.line(number - 1)
        return here.problem(
            "a list item in the wrong place", f"indent it as the list item on line {number} is"
        )
    entry = _ENTRY.match(above)
    to = (
        f"{quoted(entry[2])} on line {number}"
        if entry
        else f"the key that it belongs beside, line {about.line}"
    )
    return here.problem("wrong indentation", f"align it with {to}")


def _flow(here: _Place, about: _Place) -> Problem:
    bracket = about.rest[:1]
    close = "}" if bracket == "{" else "]"
    if not here.rest.strip() and here.line >= about.line and not here.file.line(here.line + 1).strip():
        hint = f"close it with `{close}`; a command that begins with `{bracket}` needs quotes"
        return about.problem(f"a `{bracket}` that is never closed", hint)
    hint = f"end it with `{close}` or go on after `,`; a command that begins with `{bracket}` needs quotes"
    return here.problem(f"no `,` or `{close}` where one is expected", hint)


def _after_the_end(here: _Place) -> Problem:
    if here.above()[1].rstrip() == "..." or here.rest.startswith(("---", "%")):
        return here.problem("several documents", "a file has one document: split it")
    if here.before.strip():
        return here.problem("text after the end", "remove it")
    return here.problem("wrong indentation", "align it with the first key of the file")


def _escape(said: str, here: _Place) -> Problem:
    if "unknown" not in said:
        return here.problem("an escape of no character", "write the character itself")
    escape = here.rest[:2] if here.rest.startswith("\\") else "\\" + here.rest[:1]
    return here.problem(
        f"`{escape}` in double quotes means nothing", f"write `\\{escape}`, or use single quotes"
    )


def _cure(here: _Place) -> str:
    """Return the value on this line with quotes around it."""
    entry = _ENTRY.match(here.text)
    if entry:
        return in_quotes(f"{entry[2]}: ", here.text[entry.end() :])
    text = here.text.strip()
    return in_quotes("- ", text[2:]) if text.startswith("- ") else in_quotes("", text)
