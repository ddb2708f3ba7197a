# SPDX-License-Identifier: LGPL-3.0-or-later
"""The context of places in a shell command: unquoted, in quotes, in a comment, in arithmetic …

A value is inserted with quotes of its own. These protect it only where the shell begins or continues an
unquoted word; inside quotes, the value's quotes would end the outer ones. So the scanner reads a command as a
POSIX shell reads it. Where shells differ, or where only a full parser could tell, the context is `UNSURE`
from there on. The scanner runs nothing and knows no placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final


class ShellContext(StrEnum):
    """The surroundings of a place in a command. The text is used in messages."""

    FREE = ""
    SINGLE = "in single quotes"
    DOUBLE = "in double quotes"
    ESCAPED = "behind a backslash"
    DOLLAR = "behind a `$`"
    BACKQUOTES = "in backquotes"
    ARITHMETIC = "in an arithmetic expression"
    COMMENT = "in a comment"
    HERE_DOCUMENT = "in or behind a here-document"
    BOTH = "behind `>&`, where some shells expand it again"
    UNSURE = "where pqrun can't tell how the shell quotes"


_SEPARATORS: Final = frozenset(" \t\n;&|()<>")
_EXPANSION = re.compile(r"\$\{(?:[^{}\"'`\\$\n]|\$\w)*\}")
_PLAIN_WORD = re.compile(r"[ \t]*[\w./-]*")
_CASE = re.compile(r"case\b")


class ShellScanner:
    """Scanner that walks through a command once and finds each match of `wanted` with its context."""

    def __init__(self, command: str, wanted: re.Pattern[str]) -> None:
        self._text = command
        self._wanted = wanted
        self._open: list[str] = []  # each `"`, `(` and `$(` that is not closed yet
        self._at = 0
        self._fresh = True  # whether a `#` here would begin a comment
        self._here = False  # whether a here-document begins on the next line
        self._in_comment = False
        self._lost = False  # whether the rest of the command is UNSURE

    def __iter__(self) -> Iterator[tuple[re.Match[str], ShellContext]]:
        text = self._text
        while self._at < len(text):
            if self._lost:
                yield from self._all(len(text), ShellContext.UNSURE)
            elif self._open and self._open[-1] == '"':
                yield from self._in_double_quotes()
            else:
                yield from self._free()

    @property
    def end(self) -> ShellContext:
        """The context of the command's end, which is known only after the walk."""
        if self._lost:
            return ShellContext.UNSURE
        if self._open and self._open[-1] == '"':
            return ShellContext.DOUBLE
        if self._at > len(self._text):
            return ShellContext.ESCAPED
        return ShellContext.COMMENT if self._in_comment else ShellContext.FREE

    def _free(self) -> Iterator[tuple[re.Match[str], ShellContext]]:
        text, at = self._text, self._at
        sign = text[at]
        if found := self._wanted.match(text, at):
            yield found, ShellContext.FREE
            self._step(found.end())
        elif sign == "\\":
            yield from self._escape(ShellContext.ESCAPED)
        elif sign == "'":
            yield from self._single_quotes(at + 1)
        elif sign == '"':
            self._open.append('"')
            self._step(at + 1)
        elif sign in "$`":
            yield from self._expansion()
        elif sign == "#" and self._fresh:
            end = text.find("\n", at)
            self._in_comment = end < 0
            yield from self._all(len(text) if end < 0 else end, ShellContext.COMMENT)
        elif text.startswith(("((", "=("), at):  # arithmetic or an array, but not in every shell
            self._lost = True
        elif sign == "<":
            yield from self._redirection()
        elif text.startswith(">&", at):
            yield from self._word_of_both(at + 2)
        else:
            self._plain(sign)

    def _plain(self, sign: str) -> None:
        if sign == "(":
            self._open.append(sign)
        elif sign == ")" and self._open:
            self._open.pop()
        elif sign == "\n" and self._here:
            self._lost = True
        elif self._fresh and "$(" in self._open and _CASE.match(self._text, self._at):
            self._lost = True  # the `)` after a pattern of `case` would seem to close the `$(`
        self._step(self._at + 1, fresh=sign in _SEPARATORS)

    def _in_double_quotes(self) -> Iterator[tuple[re.Match[str], ShellContext]]:
        text, at = self._text, self._at
        sign = text[at]
        if found := self._wanted.match(text, at):
            yield found, ShellContext.DOUBLE
            self._at = found.end()
        elif sign == "\\":
            yield from self._escape(ShellContext.DOUBLE)
        elif sign in "$`":
            yield from self._expansion()
        else:
            if sign == '"':
                self._open.pop()
            self._step(at + 1)

    def _expansion(self) -> Iterator[tuple[re.Match[str], ShellContext]]:
        """Scan text that begins with `$` or a backquote, inside or outside double quotes."""
        text, at = self._text, self._at
        quoted = bool(self._open) and self._open[-1] == '"'
        if text[at] == "`":
            end = re.compile(r"(?:[^`\\]|\\.)*`?", re.DOTALL).match(text, at + 1)
            assert end is not None
            yield from self._all(end.end(), ShellContext.BACKQUOTES)
        elif text.startswith("$((", at) or text.startswith("$[", at):
            yield from self._arithmetic()
        elif text.startswith("$(", at):
            self._open.append("$(")
            self._step(at + 2, fresh=True)
        elif text.startswith("${", at):
            simple = _EXPANSION.match(text, at)
            if found := self._wanted.match(text, at + 1):
                yield found, ShellContext.DOLLAR
                self._step(found.end())
            elif simple:
                self._step(simple.end())
            else:
                self._lost = True
        elif text.startswith("$'", at) and not quoted:
            yield from self._single_quotes(at + 2, escapes=True)
        else:
            self._step(at + 1)

    def _arithmetic(self) -> Iterator[tuple[re.Match[str], ShellContext]]:
        """Scan up to the closing bracket. The context is lost at a quote, which would need a full parser."""
        opening, closing = ("(", ")") if self._text.startswith("$(", self._at) else ("[", "]")
        depth, end = 0, self._at + 1
        while end < len(self._text):
            sign = self._text[end]
            if sign in "\"'`\\#":
                break
            depth += (sign == opening) - (sign == closing)
            end += 1
            if not depth:
                break
        yield from self._all(end, ShellContext.ARITHMETIC)
        self._lost = bool(depth)

    def _single_quotes(
        self, begin: int, *, escapes: bool = False
    ) -> Iterator[tuple[re.Match[str], ShellContext]]:
        end = self._text.find("'", begin)
        yield from self._all(len(self._text) if end < 0 else end + 1, ShellContext.SINGLE)
        # Some shells read the backslash in `$'…\'` as an escape, and the string continues there.
        self._lost = end < 0 or (escapes and self._text[end - 1] == "\\" and end > begin)

    def _escape(self, context: ShellContext) -> Iterator[tuple[re.Match[str], ShellContext]]:
        if found := self._wanted.match(self._text, self._at + 1):
            yield found, context
            self._step(found.end())
        elif self._text.startswith("\n", self._at + 1):  # the shell removes a backslash before a line end
            self._lost = self._text[self._at - 1 : self._at] not in ("", " ", "\t", "\n")  # inside a word
            self._step(self._at + 2, fresh=self._fresh)
        else:
            self._step(self._at + 2)

    def _redirection(self) -> Iterator[tuple[re.Match[str], ShellContext]]:
        text, at = self._text, self._at
        if text.startswith("<<<", at):
            self._step(at + 3, fresh=True)
        elif text.startswith("<<", at):
            self._here = True
            after = re.compile(r"<<-?[ \t]*").match(text, at)
            assert after is not None
            self._step(after.end(), fresh=True)
            if found := self._wanted.match(text, self._at):
                yield found, ShellContext.HERE_DOCUMENT
                self._step(found.end())
        elif text.startswith("<&", at):
            yield from self._word_of_both(at + 2)
        else:
            self._step(at + 1, fresh=True)

    def _word_of_both(self, at: int) -> Iterator[tuple[re.Match[str], ShellContext]]:
        """Scan the word after `>&`. Some shells expand it twice, so only a plain word keeps the context."""
        word = _PLAIN_WORD.match(self._text, at)
        assert word is not None
        self._step(word.end())
        if found := self._wanted.match(self._text, self._at):
            yield found, ShellContext.BOTH
            self._step(found.end())
            self._lost = True
        elif self._text[self._at : self._at + 1] not in ("", *_SEPARATORS):
            self._lost = True

    def _all(self, end: int, context: ShellContext) -> Iterator[tuple[re.Match[str], ShellContext]]:
        """Give every match up to `end` the same context, and continue at `end`."""
        if self._here and self._lost:
            context = ShellContext.HERE_DOCUMENT
        for found in self._wanted.finditer(self._text, self._at, end):
            yield found, context
        self._step(end)

    def _step(self, to: int, *, fresh: bool = False) -> None:
        self._at = to
        self._fresh = fresh
