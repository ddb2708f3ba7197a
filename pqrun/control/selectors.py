# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which jobs somebody means: an id, a glob, `all`, `state:failed`, `priority:low`, `tag:x`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple


class Subject(NamedTuple):
    """What a selector looks at."""

    id: str
    state: str
    priority: str
    tags: tuple[str, ...]


def chosen(subjects: Iterable[tuple[int, Subject]], selectors: Sequence[str]) -> list[int]:
    """The numbers of those that any selector means, in their order. An exact id wins over a glob."""
    known = list(subjects)
    ids = {subject.id for _, subject in known}
    exact = {selector for selector in selectors if selector in ids}
    others = [selector for selector in selectors if selector not in ids]
    return [seq for seq, s in known if s.id in exact or any(_means(selector, s) for selector in others)]


def _means(selector: str, subject: Subject) -> bool:
    kind, colon, word = selector.partition(":")
    if colon:
        match kind:
            case "state":
                return subject.state == word
            case "priority":
                return subject.priority == word
            case "tag":
                return word in subject.tags
    return selector == "all" or fnmatchcase(subject.id, selector)
