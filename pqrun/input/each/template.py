# SPDX-License-Identifier: LGPL-3.0-or-later
"""A command whose placeholders are replaced by a job's arguments, quoted for the shell.

The placeholders and their effects are those of GNU parallel. Values are always quoted, so a placeholder at a
place where quotes would not protect a value is rejected before any job starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, NoReturn

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
_SSH = re.compile(r"\s*ssh\s")
_VARIABLE = re.compile(r"\$\w+\Z")
_LAST_SLASH = re.compile(r"(.*/)?(.*)", re.DOTALL)
Change = Callable[[str], str]
SEQUENCE, SLOT, TOTAL = "{#}", "{%}", "{##}"
_SLOT_OF_JOB: Final = "${PQRUN_SLOT}"
_NUMBER_BYTES: Final = 10
_FAR_HINT: Final = (
    "a second shell reads this text, on the other machine: send the value on stdin, as in "
    """printf '%s\\n' {} | ssh HOST 'read -r x; ls "$x"'"""
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


CHANGES: Final[dict[str, Change | None]] = {
    "": None,
    ".": without_extension,
    "/": base_name,
    "//": directory,
    "/.": lambda value: without_extension(base_name(value)),
}


class Parametric(NamedTuple):
    """A family of changes, such as `%TEXT` in `{%TEXT}`. `pattern` has a group for each parameter of `make`."""

    pattern: str
    make: Callable[..., Change]


class Notation(NamedTuple):
    """The placeholders that a template knows.

    `changes` by their name between braces; `tags`: other texts, each with the placeholder that it stands for;
    `own`: the placeholders of the job instead of its arguments. `positions_only`: `{}` is plain text.
    """

    changes: Mapping[str, Change | None]
    parametric: tuple[Parametric, ...] = ()
    tags: Mapping[str, str] = {}
    own: tuple[str, ...] = (SEQUENCE, SLOT)
    positions_only: bool = False

    def change(self, name: str) -> Change | None:
        """Return the change of that name."""
        if name in self.changes:
            return self.changes[name]
        for family in self.parametric:
            if found := re.fullmatch(family.pattern, name, re.DOTALL):
                return family.make(*found.groups())
        return None

    def pattern(self, names: Sequence[str]) -> re.Pattern[str]:
        """Return the pattern that matches the placeholders; `names` are those of columns."""
        fixed = map(re.escape, sorted(self.changes, key=len, reverse=True))
        # The groups of a family are not those of the whole pattern.
        families = (re.sub(r"(?<!\\)\((?!\?)", "(?:", family.pattern) for family in self.parametric)
        changes = "|".join((*fixed, *families))
        which = r"(?P<number>-?0*[1-9][0-9]{0,8})"
        if names:
            which += "|(?P<name>" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + ")"
        own = "|".join(re.escape(token[1:-1]) for token in sorted(self.own, key=len, reverse=True))
        alone = f"(?P<alone>{changes})"
        if self.positions_only:
            inner = f"(?:{own})|(?:{which})(?P<change>{changes}|)|{alone}"
        else:
            inner = f"(?:{own})|(?:{which})?(?P<change>{changes})"
        tags = "".join(f"{re.escape(tag)}|" for tag in sorted(self.tags, key=len, reverse=True))
        return re.compile(rf"{tags}\{{(?:{inner})\}}", re.DOTALL)


USUAL_NOTATION: Final = Notation(CHANGES)


class Argument(NamedTuple):
    """Placeholder for the value of this `number`, passed through `change`.

    The number 0 stands for all values, a negative number counts from the end. With `always`, even plain text
    is quoted, because the shell would read it differently after `$x` and before `>`. With `bare`, no value is
    quoted: the text is not for a shell.
    """

    number: int
    change: Change | None
    always: bool = False
    bare: bool = False

    def text(self, values: Sequence[str]) -> str:
        """Return the text for the values of one job; empty if the job has no value of that number."""
        number, change = self.number, self.change
        if number:
            if not -len(values) <= number <= len(values):
                return ""
            values = (values[number - 1 if number > 0 else number],)
        if change is not None:
            values = [change(value) for value in values]
        if self.bare:
            return " ".join(values)
        if self.always:
            return " ".join(quote(value, always=True) for value in values)
        return quote(values[0]) if len(values) == 1 else " ".join(map(quote, values))


class JobNumber(NamedTuple):
    """Placeholder for the job's number."""

    always: bool = False


class TotalCount(NamedTuple):
    """Placeholder for the number of all jobs."""

    always: bool = False


class RepeatedWord(NamedTuple):
    """A word of the command that is written once for each value of a job, with that value alone."""

    parts: tuple[str | Argument, ...]

    def text(self, values: Sequence[str]) -> str:
        """Return the word for each value."""
        return " ".join(
            "".join(part if isinstance(part, str) else part.text((value,)) for part in self.parts)
            for value in values
        )


Part = str | Argument | RepeatedWord | JobNumber | TotalCount


class CommandSize:
    """The length of a command in bytes: `fixed`, and for each value what `of` returns."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.fixed = sum(_bytes(part) if isinstance(part, str) else 0 for part in parts)
        self.fixed += sum(_NUMBER_BYTES for part in parts if isinstance(part, JobNumber | TotalCount))
        self._parts = [
            part
            for part in parts
            if isinstance(part, RepeatedWord) or (isinstance(part, Argument) and not part.number)
        ]

    def of(self, value: str) -> int:
        """Return by how much one more value makes the command longer."""
        return sum(_bytes(part.text((value,))) + 1 for part in self._parts)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


class Template:
    """A command with placeholders; `names` are the column names from a header.

    `reads`: a job has no values, because it reads a block as its stdin. `bare`: the text is not for a shell, so
    values are inserted as they are. `rewrite` turns the parts of the command into others. `total` is the number of
    all jobs, which the producer sets if `needs_total`. Raises UserError, with the place, for a placeholder where a
    quoted value would not be safe.
    """

    def __init__(
        self,
        command: str,
        names: Sequence[str] = (),
        shell: Sequence[str] | None = None,
        *,
        notation: Notation = USUAL_NOTATION,
        bare: bool = False,
        rewrite: Callable[[list[Part]], list[Part]] | None = None,
        reads: bool = False,
    ) -> None:
        self.total = 0
        self.conditions: frozenset[str] = frozenset()
        self._command = command
        self._notation = notation
        self._bare = bare
        self._reads = reads
        self._numbers = {name: number for number, name in reversed(list(enumerate(names, 1)))}
        self._parts: list[Part] = []
        self._read(command)
        if not bare and any(isinstance(part, Argument) for part in self._parts):
            _check_shell(shell)
        if rewrite is not None:
            self._parts = rewrite(self._parts)

    @property
    def needs_total(self) -> bool:
        """Whether the number of all jobs must be known before the first command is made."""
        return any(isinstance(part, TotalCount) for part in self._parts)

    @property
    def takes_one(self) -> bool:
        """Whether the only placeholder is one for all values."""
        found = [part for part in self._parts if isinstance(part, Argument | RepeatedWord)]
        return len(found) == 1 and (not isinstance(found[0], Argument) or not found[0].number)

    def command(self, values: Sequence[str], number: int) -> str:
        """Return the command of the job with these values."""
        found = []
        for part in self._parts:
            if isinstance(part, str):
                found.append(part)
            elif isinstance(part, Argument | RepeatedWord):
                found.append(part.text(values))
            else:
                digits = number if isinstance(part, JobNumber) else self.total
                found.append(f"'{digits}'" if part.always else str(digits))
        return "".join(found)

    def sizes(self) -> CommandSize:
        """Return how long a command becomes."""
        return CommandSize(self._parts)

    def _read(self, command: str) -> None:
        if expression := _EXPRESSION.search(command):
            self._refuse(
                expression,
                "is a Perl expression, which pqrun does not support",
                "do this in the command instead, or name a substitution: --rpl '{x} s/a/b/'",
            )
        tokens = self._notation.pattern(tuple(self._numbers))
        walk = ShellScanner(command, tokens)
        found_in: Iterable[tuple[re.Match[str], ShellContext]] = walk
        if self._bare:
            found_in = ((found, ShellContext.FREE) for found in tokens.finditer(command))
        at = 0
        for found, context in found_in:
            part = self._part(found, context)
            if part is not None:
                self._parts += (command[at : found.start()], part)
                at = found.end()
        self._parts.append(command[at:])
        if not (self._bare or self._reads) and len(self._parts) == 1:
            self._append(walk.end)
        self._parts = [part for part in self._parts if part != ""]

    def _append(self, context: ShellContext) -> None:
        """Append the values to a command without placeholders."""
        if context is not ShellContext.FREE:
            place = f"the command has no placeholder, and at its end the argument would stand {context}"
            raise UserError(f"{place} (put {{}} where the argument belongs)")
        self._parts += (" ", Argument(0, None))

    def _part(self, found: re.Match[str], context: ShellContext) -> Part | None:
        """Return the replacement of a placeholder; None if the shell gives the text another meaning."""
        token = found.group()
        always = bool(_VARIABLE.search(self._command[: found.start()])) or (
            self._command[found.end() : found.end() + 1] in ("<", ">")
        )
        if token in self._notation.tags:
            token = self._notation.tags[token]
            inner = self._notation.pattern(tuple(self._numbers)).fullmatch(token)
            groups = inner.groupdict() if inner is not None else {"change": ""}
            if inner is None and token != "{}":
                self._refuse(found, f"stands for {token}, which is no placeholder", "write one such as {/.}")
        else:
            groups = found.groupdict()
        if token in (SEQUENCE, TOTAL) and token in self._notation.own:
            # Digits are safe anywhere, but `${#}` already has a meaning in the shell.
            if context is ShellContext.DOLLAR:
                return None
            digits = JobNumber if token == SEQUENCE else TotalCount
            return digits(always and context is ShellContext.FREE)
        if token == SLOT:
            return self._slot(found, context)
        if self._reads:
            what = "stands for an argument, and a job of --pipe has none"
            self._refuse(found, what, "the job reads its block as stdin; -I TEXT leaves {} to the command")
        if context is not ShellContext.FREE:
            in_quotes = context in (ShellContext.SINGLE, ShellContext.DOUBLE)
            far = in_quotes and _SSH.match(self._command)
            self._refuse(found, f"stands {context}", _FAR_HINT if far else _HINTS[context])
        name, number = groups.get("name"), groups.get("number")
        which = self._numbers[name] if name else int(number or 0)
        change = groups.get("change") or groups.get("alone") or ""
        if change in ("uniq", "choose_k"):
            self.conditions |= {change}
        return Argument(which, self._notation.change(change), always, self._bare)

    def _slot(self, found: re.Match[str], context: ShellContext) -> str:
        if self._bare:
            self._refuse(found, "is not known before the job starts", "use {#}, the number of the job")
        if context is ShellContext.FREE:
            return f'"{_SLOT_OF_JOB}"'
        if context not in (
            ShellContext.DOUBLE,
            ShellContext.ARITHMETIC,
            ShellContext.BACKQUOTES,
            ShellContext.COMMENT,
        ):
            self._refuse(found, f"stands {context}", "use $PQRUN_SLOT there, or double quotes")
        return _SLOT_OF_JOB

    def _refuse(self, found: re.Match[str], what: str, cure: str) -> NoReturn:
        """Raise UserError with the line of the placeholder and a caret below it."""
        begin = self._command.rfind("\n", 0, found.start()) + 1
        line = self._command[begin:].partition("\n")[0]
        mark = " " * (found.start() - begin) + "^"
        raise UserError(
            f"pqrun: the placeholder {found.group()} {what}\n    {line}\n    {mark}\n  hint: {cure}"
        )


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
