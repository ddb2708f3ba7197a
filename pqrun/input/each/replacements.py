# SPDX-License-Identifier: LGPL-3.0-or-later
"""The placeholders besides the usual ones: those of `--plus`, of `--rpl`, and the text of `-I`.

Loaded only if one of these options is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from pqrun.core.errors import UserError
from pqrun.input.each.template import CHANGES, Change, Notation, Parametric, base_name

_CODE_CURE: Final = "write substitutions (s/a/b/g; …) or a placeholder ({/.})"
_GROUP = re.compile(r"(\([^()]*\))")
_PARAMETER = re.compile(r"\$\$([1-9])")
_REFERENCE = re.compile(r"\$([1-9&])|\$\{([1-9])\}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UserError(f"invalid regular expression `{text}` in a placeholder: {error}") from None


def _lazy(text: str) -> str:
    return re.sub(r"([*+])(?!\?)", r"\1?", text)


def _substitution(pattern: str, text: str = "", *, count: int = 0) -> Change:
    found = _pattern(pattern)
    return lambda value: found.sub(lambda _: text, value, count=count)


def _in_case(pattern: str, change: Callable[[str], str], *, count: int = 0) -> Change:
    found = _pattern(pattern)
    return lambda value: found.sub(lambda one: change(one.group()), value, count=count)


def _cut(pattern: str) -> Change:
    return _substitution(pattern, count=1)


def _last(count: int) -> Change:
    """Return the change to the last `count` extensions, without the dot before them."""
    found = re.compile(r".*\.(" + r"\.".join([r"[^/.]*"] * count) + r")\Z", re.DOTALL)

    def change(value: str) -> str:
        match = found.match(value)
        return match[1] if match else ""

    return change


def _without(count: int) -> Change:
    return _cut(r"\.[^/.]*" * count + r"\Z")


def _of_base_name(change: Change) -> Change:
    return lambda value: change(base_name(value))


def _same(value: str) -> str:
    return value


_PLUS_CHANGES: Final[dict[str, Change | None]] = {
    "+/": lambda value: value.rpartition("/")[0],
    "+.": _last(1),
    "+..": _last(2),
    "+...": _last(3),
    "..": _without(2),
    "...": _without(3),
    "/..": _of_base_name(_without(2)),
    "/...": _of_base_name(_without(3)),
    "choose_k": _same,
    "uniq": _same,
}
_PLUS_PARAMETRIC: Final = (
    Parametric(r":-([^}]+?)", lambda text: lambda value: value or text),
    Parametric(r":(\d+?):(\d+?)", lambda at, size: lambda value: value[int(at) : int(at) + int(size)]),
    Parametric(r":(\d+?)", lambda at: lambda value: value[int(at) :]),
    Parametric(r"##([^#}][^}]*?)", lambda text: _cut(f"^{text}")),
    Parametric(r"#([^#}][^}]*?)", lambda text: _cut(f"^{_lazy(text)}")),
    Parametric(r"%%([^}]+?)", lambda text: _cut(f"{text}$")),
    Parametric(r"%([^}]+?)", lambda text: _shortest_end(text)),
    Parametric(r"//([^}/]+?)/([^}]*?)", lambda text, new: _substitution(text, new)),
    Parametric(r"/#([^}/]+?)/([^}]*?)", lambda text, new: _substitution(f"^{text}", new)),
    Parametric(r"/%([^}/]+?)/([^}]*?)", lambda text, new: _substitution(f"{text}$", new)),
    Parametric(r"/([^#%}/]+?)/([^}]*?)", lambda text, new: _substitution(text, new, count=1)),
    Parametric(r"\^\^([^}]+?)", lambda text: _in_case(text, str.upper)),
    Parametric(r"\^([^}]+?)", lambda text: _in_case(f"^{text}", str.upper, count=1)),
    Parametric(r",,([^}]+?)", lambda text: _in_case(text, str.lower)),
    Parametric(r",([^}]+?)", lambda text: _in_case(f"^{text}", str.lower, count=1)),
)


def _shortest_end(text: str) -> Change:
    found = _pattern(f"(.*){_lazy(text)}$")
    return lambda value: found.sub(lambda one: one[1], value, count=1)


class _Substitution(NamedTuple):
    """One `s/pattern/text/flags`."""

    pattern: str
    text: str
    flags: str


def notation_of(*, plus: bool, replace: str | None, rules: Sequence[str]) -> Notation:
    """Return the notation of these options. Raises UserError for a rule of `--rpl` that is wrong."""
    changes, tags = dict(CHANGES), dict[str, str]()
    parametric: list[Parametric] = []
    own = ["{#}", "{%}"]
    if plus:
        changes |= _PLUS_CHANGES
        parametric += _PLUS_PARAMETRIC
        own.append("{##}")
    if replace is not None:
        if not replace:
            raise UserError("-I needs a text that stands for the argument")
        tags[replace] = "{}"
        del changes[""]
    for rule in rules:
        tag, _, code = rule.partition(" ")
        if not tag or not code.strip():
            raise UserError(f"--rpl `{rule}`: give a tag, a blank, and what it does: {_CODE_CURE}")
        if _PLACEHOLDER.fullmatch(code.strip()):
            tags[tag] = code.strip()
        elif tag.startswith("{") and tag.endswith("}"):
            parametric.append(_rule(tag[1:-1], code, rule))
        else:
            name = f"\0{tag}"
            changes[name] = _change(code, rule, ())
            tags[tag] = f"{{{name}}}"
    return Notation(changes, tuple(parametric), tags, tuple(own), positions_only=replace is not None)


def _rule(name: str, code: str, rule: str) -> Parametric:
    pattern = "".join(part if place % 2 else re.escape(part) for place, part in enumerate(_GROUP.split(name)))
    _pattern(pattern)
    _change(code, rule, ("x",) * 9)  # report a wrong rule before any value is there
    return Parametric(pattern, partial(_change_of, code, rule))


def _change_of(code: str, rule: str, *parameters: str) -> Change:
    return _change(code, rule, parameters)


def _change(code: str, rule: str, parameters: Sequence[str]) -> Change:
    """Return the change that a rule makes; the code of a rule is a series of substitutions."""
    steps: list[Change] = []
    for step in _substitutions(code, rule):
        pattern = _PARAMETER.sub(lambda one: re.escape(_at(parameters, one)), step.pattern)
        text = _PARAMETER.sub(lambda one: _at(parameters, one), step.text)
        try:
            found = re.compile(pattern, re.IGNORECASE if "i" in step.flags else 0)
        except re.error as error:
            raise UserError(f"--rpl `{rule}`: invalid regular expression: {error}") from None
        steps.append(partial(_replaced, found, text, 0 if "g" in step.flags else 1))

    def change(value: str) -> str:
        for step in steps:
            value = step(value)
        return value

    return change


def _at(parameters: Sequence[str], found: re.Match[str]) -> str:
    number = int(found[1])
    return parameters[number - 1] if number <= len(parameters) else ""


def _replaced(pattern: re.Pattern[str], text: str, count: int, value: str) -> str:
    def new(found: re.Match[str]) -> str:
        return _REFERENCE.sub(lambda one: _group(found, one[1] or one[2]), text)

    return pattern.sub(new, value, count=count)


def _group(found: re.Match[str], name: str) -> str:
    if name == "&":
        return found.group()
    return (found[int(name)] or "") if int(name) <= (found.re.groups or 0) else ""


def _substitutions(code: str, rule: str) -> list[_Substitution]:
    """Parse `s:a:b:; s/c/d/g`. Raises UserError for any other code, which only Perl could run."""
    rest, found = code.strip(), []
    while rest:
        match = re.match(
            r"s([^\w\s({\[<])((?:\\.|(?!\1).)*)\1((?:\\.|(?!\1).)*)\1([gi]*)\s*(?:;\s*|\Z)", rest, re.DOTALL
        )
        if match is None:
            raise UserError(f"--rpl `{rule}`: Perl code is not supported: {_CODE_CURE}")
        sign = match[1]
        pattern, text = (match[place].replace(f"\\{sign}", sign) for place in (2, 3))
        found.append(_Substitution(pattern, text, match[4]))
        rest = rest[match.end() :]
    return found
