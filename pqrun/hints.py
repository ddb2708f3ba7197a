# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands for people to copy: each word arrives as it is, whatever is in it."""

from __future__ import annotations

from collections.abc import Iterable

from pqrun.characters import exact


def quoted_word(text: str) -> str:
    """One word for a shell. What can't be printed, bytes that are no text among it, stands in `$'…'`."""
    if text.isprintable():
        import shlex

        return shlex.quote(text)
    return "$'" + "".join(map(_in_dollar_quotes, text)) + "'"


def _in_dollar_quotes(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    # Three octal digits: after `\x` some shells take all hexadecimal digits that follow.
    return character if character.isprintable() else "".join(f"\\{byte:03o}" for byte in exact(character))


def command_words(verb: str, *arguments: str, options: str = "") -> list[str]:
    """`pqrun VERB ARGUMENTS OPTIONS`; behind `--` if one of the arguments would be taken for an option."""
    if any(one.startswith("-") for one in arguments):
        return ["pqrun", verb, *options.split(), "--", *arguments]
    return ["pqrun", verb, *arguments, *options.split()]


def line_of(words: Iterable[str]) -> str:
    """The words as one command line."""
    return " ".join(map(quoted_word, words))


def command(verb: str, *arguments: str, options: str = "") -> str:
    """Such a command as it is typed."""
    return line_of(command_words(verb, *arguments, options=options))
