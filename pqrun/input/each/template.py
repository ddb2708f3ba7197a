# SPDX-License-Identifier: LGPL-3.0-or-later
"""A command whose placeholders are replaced by a job's arguments, quoted for the shell.

The placeholders and their effects are those of GNU parallel. Values are always quoted, so a placeholder at a
place where quotes would not protect a value is rejected before any job starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from pqrun.core.errors import UserError
from pqrun.input.each.shell_context import ShellContext, ShellScanner

_PLAIN = re.compile(r"[A-Za-z0-9_@%+:./-]+")
_WORDS_OF_SHELLS: Final = {
    "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select",
    "then", "time", "until", "while",
}  # fmt: skip
_SHELLS: Final = {
    "ash", "bash", "busybox", "dash", "ksh", "ksh93", "lksh", "mksh", "posh", "rbash", "sh", "yash", "zsh",
}  # fmt: skip
_EXPRESSION = re.compile(r"\{=.*?=\}", re.DOTALL)
_VARIABLE = re.compile(r"\$\w+\Z")
_LAST_SLASH = re.compile(r"(.*/)?(.*)", re.DOTALL)


def quote(value: str, *, always: bool = False) -> str:
    """Return the value as one word of a shell command, whatever it holds. `always`: even if it is plain."""
    if not always and _PLAIN.fullmatch(value) and value not in _WORDS_OF_SHELLS:
        return value
    return "'" + value.replace("'", "'\"'\"'") + "'"


def without_extension(value: str) -> str:
    """Return the value without its extension (`{.}`)."""
    return re.sub(r"\.[^/.]*$", "", value, count=1)


def base_name(value: str) -> str:
    """Return the last part of a path (`{/}`)."""
    return re.sub(r".*/", "", value, count=1)


def directory(value: str) -> str:
    """Return the directory of a path, as `dirname` prints it (`{//}`)."""
    path = _without_slashes(_parts(value)[0])
    if _parts(value)[1]:
        return path
    return _without_slashes(_parts(path)[0])


def _parts(value: str) -> tuple[str, str]:
    found = _LAST_SLASH.match(value)
    assert found is not None
    return found[1] or "./", found[2]


def _without_slashes(path: str) -> str:
    return path[:1] + path[1:].rstrip("/")


_CHANGES: Final[dict[str, Callable[[str], str] | None]] = {
    "": None,
    ".": without_extension,
    "/": base_name,
    "//": directory,
    "/.": lambda value: without_extension(base_name(value)),
}
SEQUENCE, SLOT = "{#}", "{%}"
_SLOT_OF_JOB: Final = "${PQRUN_SLOT}"


class Argument(NamedTuple):
    """Placeholder for the value of this `number`, passed through `change`.

    The number 0 stands for all values, a negative number counts from the end. With `always`, even plain text
    is quoted, because the shell would read it differently after `$x` and before `>`.
    """

    number: int
    change: Callable[[str], str] | None
    always: bool = False

    def text(self, values: Sequence[str]) -> str:
        """Return the text for the values of one job; empty if the job has no value of that number."""
        number, change = self.number, self.change
        if number:
            if not -len(values) <= number <= len(values):
                return ""
            values = (values[number - 1 if number > 0 else number],)
        if change is not None:
            values = [change(value) for value in values]
        if self.always:
            return " ".join(quote(value, always=True) for value in values)
        return quote(values[0]) if len(values) == 1 else " ".join(map(quote, values))


class JobNumber(NamedTuple):
    """Placeholder for the job's number."""

    always: bool = False


class Template:
    """A command with placeholders; `names` are the column names from a header.

    Raises UserError, with the place, for a placeholder where a quoted value would not be safe.
    """

    def __init__(self, command: str, names: Sequence[str] = (), shell: Sequence[str] | None = None) -> None:
        self._command = command
        self._numbers = {name: number for number, name in reversed(list(enumerate(names, 1)))}
        self._parts: list[str | Argument | JobNumber] = []
        self._read(command)
        if any(isinstance(part, Argument) for part in self._parts):
            _check_shell(shell)

    def command(self, values: Sequence[str], number: int) -> str:
        """Return the command of the job with these values."""
        found = []
        for part in self._parts:
            if isinstance(part, str):
                found.append(part)
            elif isinstance(part, Argument):
                found.append(part.text(values))
            else:
                found.append(f"'{number}'" if part.always else str(number))
        return "".join(found)

    def _read(self, command: str) -> None:
        if expression := _EXPRESSION.search(command):
            self._refuse(
                expression,
                "is a Perl expression, which pqrun does not support",
                "do this in the command instead",
            )
        walk = ShellScanner(command, self._tokens())
        at = 0
        for found, context in walk:
            part = self._part(found, context)
            if part is not None:
                self._parts += (command[at : found.start()], part)
                at = found.end()
        self._parts.append(command[at:])
        if len(self._parts) == 1:
            self._append(walk.end)
        self._parts = [part for part in self._parts if part != ""]

    def _append(self, context: ShellContext) -> None:
        """Append the values to a command without placeholders."""
        if context is not ShellContext.FREE:
            place = f"the command has no placeholder, and at its end the argument would stand {context}"
            raise UserError(f"{place} (put {{}} where the argument belongs)")
        self._parts += (" ", Argument(0, None))

    def _tokens(self) -> re.Pattern[str]:
        """Return the pattern that matches the placeholders."""
        changes = "|".join(map(re.escape, sorted(_CHANGES, key=len, reverse=True)))
        names = "|".join(map(re.escape, sorted(self._numbers, key=len, reverse=True)))
        which = (
            rf"(?P<number>-?0*[1-9][0-9]{{0,8}})|(?P<name>{names})"
            if names
            else r"(?P<number>-?0*[1-9][0-9]{0,8})"
        )
        return re.compile(rf"\{{(?:(?P<own>[#%])|(?:{which})?(?P<change>{changes}))\}}")

    def _part(self, found: re.Match[str], context: ShellContext) -> str | Argument | JobNumber | None:
        """Return the replacement of a placeholder; None if the shell gives the text another meaning."""
        token = found.group()
        always = bool(_VARIABLE.search(self._command[: found.start()])) or (
            self._command[found.end() : found.end() + 1] in ("<", ">")
        )
        if token == SEQUENCE:
            # Digits are safe anywhere, but `${#}` already has a meaning in the shell.
            if context is ShellContext.DOLLAR:
                return None
            return JobNumber(always and context is ShellContext.FREE)
        if token == SLOT:
            if context is ShellContext.FREE:
                return f'"{_SLOT_OF_JOB}"'
            if context in (
                ShellContext.DOUBLE,
                ShellContext.ARITHMETIC,
                ShellContext.BACKQUOTES,
                ShellContext.COMMENT,
            ):
                return _SLOT_OF_JOB
            self._refuse(found, f"stands {context}", "use $PQRUN_SLOT there, or double quotes")
        if context is not ShellContext.FREE:
            self._refuse(found, f"stands {context}", _HINTS[context])
        name, number = found.groupdict().get("name"), found["number"]
        which = self._numbers[name] if name else int(number or 0)
        return Argument(which, _CHANGES[found["change"]], always)

    def _refuse(self, found: re.Match[str], what: str, cure: str) -> None:
        """Raise UserError with the line of the placeholder and a caret below it."""
        begin = self._command.rfind("\n", 0, found.start()) + 1
        line = self._command[begin:].partition("\n")[0]
        mark = " " * (found.start() - begin) + "^"
        raise UserError(
            f"pqrun: the placeholder {found.group()} {what}\n    {line}\n    {mark}\n  hint: {cure}"
        )


_OFF: Final = "values are quoted already: remove the quotes"
_HINTS: Final = {
    ShellContext.SINGLE: f"{_OFF} (for the text itself write {{''}})",
    ShellContext.DOUBLE: f'{_OFF}, as in {{}}.txt or "$HOME"/{{}}',
    ShellContext.ESCAPED: "values are quoted already: remove the backslash",
    ShellContext.DOLLAR: "remove the `$`, or give the variable another name",
    ShellContext.BACKQUOTES: "write $(…) instead",
    ShellContext.ARITHMETIC: "put the value into a variable first: n={}",
    ShellContext.COMMENT: "remove the comment",
    ShellContext.HERE_DOCUMENT: 'put the value into a variable first: x={}; and quote that: "$x"',
    ShellContext.BOTH: "write > FILE 2>&1",
    ShellContext.UNSURE: 'put the value into a variable at the beginning: x={}; and quote that: "$x"',
}


def _check_shell(shell: Sequence[str] | None) -> None:
    if not shell:
        return
    words = [word for word in shell if "=" not in word]
    if words and words[0].rpartition("/")[2] == "env":
        words = words[1:]
    program = words[0].rpartition("/")[2] if words else ""
    if program not in _SHELLS:
        known = ", ".join(sorted(_SHELLS))
        raise UserError(f"values can't be quoted for the shell {program or shell[0]} (only for: {known})")
