# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands of pueue and task-spooler, and what each is here: the one table of them.

A word that means the same here is accepted; any other is answered with the command to use. `docs/cli.py` makes
the tables in `docs/queue.md` of it. Loaded only for a command line that pqrun does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pqrun.core.errors import UserError


class ForeignVerb(NamedTuple):
    """A command of another tool: how it is written `there` and `here`, as on the page.

    `words`: what a user may type after `pqrun` to get it. `means`: the command of pqrun that takes the same
    arguments and is run for these words; without one, `here` is the answer.
    """

    there: str
    here: str
    words: tuple[str, ...] = ()
    means: str = ""


TASK_SPOOLER = (
    ForeignVerb("`tsp CMD`", "`pqrun add CMD`"),
    ForeignVerb("`tsp`, `tsp -l`", "`pqrun ps` (ended jobs: `pqrun show queue`)", ("-l",)),
    ForeignVerb("`tsp -S 4`", "`pqrun set -j4`", ("-S",)),
    ForeignVerb("`tsp -N 2 CMD`", "`pqrun add --slots 2 CMD`", ("-N",)),
    ForeignVerb("`tsp -L label CMD`", "`pqrun add --id label CMD`, or `--tags`", ("-L",)),
    ForeignVerb("`tsp -d CMD`, `-D 3,4`", "`pqrun add --needs ID CMD`, `--needs 3,4`", ("-d", "-D")),
    ForeignVerb("`tsp -w ID`", "`pqrun wait ID` (0 or 1; its own exit code is in `pqrun show`)", ("-w",)),
    ForeignVerb("`tsp -c ID`, `-t ID`", "`pqrun logs ID`, `logs -f ID`", ("-c", "-t")),
    ForeignVerb("`tsp -i ID`, `-s ID`", "`pqrun ps --why ID`, `ps ID`", ("-i", "-s")),
    ForeignVerb("`tsp -u ID`", "`pqrun set ID --front`", ("-u",)),
    ForeignVerb("`tsp -r ID`, `-k ID`", "`pqrun cancel ID`", ("-r", "-k")),
    ForeignVerb("`tsp -C`", "not needed: old jobs are removed automatically", ("-C",)),
    ForeignVerb("`tsp -K`", "`pqrun stop --now`", ("-K",)),
    ForeignVerb("a dead server loses its queue", "a queue is restored"),
)
PUEUE = (
    ForeignVerb("`pueued -d`", "`pqrun serve --detach`"),
    ForeignVerb("`pueue add -- CMD`", "`pqrun add CMD`"),
    ForeignVerb("`pueue add -a 3`", "`pqrun add --needs 3`", ("add -a", "add --after")),
    ForeignVerb("`pueue add -d '5 h'`", "`pqrun add --in 5h`, or `--at TIME`", ("add -d", "add --delay")),
    ForeignVerb("`pueue add -o 10`", "`pqrun add -p high`", ("add -o",)),
    ForeignVerb("`pueue status`, `--json`", "`pqrun ps`, `--json`", ("status",), "ps"),
    ForeignVerb("`pueue log 3`", "`pqrun logs 3`", ("log",), "logs"),
    ForeignVerb("`pueue follow 3`", "`pqrun logs -f 3`", ("follow",)),
    ForeignVerb("`pueue parallel 4`, `-g gpu 2`", "`pqrun set -j4`, `set tag:gpu -j2`", ("parallel",)),
    ForeignVerb("`pueue add -g gpu`", "`pqrun add --tags gpu`", ("add -g", "add --group")),
    ForeignVerb(
        "`pueue group add gpu`",
        "`pqrun set tag:gpu -j1` (a tag is a group), or another queue: `--run gpu`",
        ("group",),
    ),
    ForeignVerb("`pueue pause`, `start`", "`pqrun pause`, `unpause` (running jobs continue)", ("start",)),
    ForeignVerb("`pueue kill 3`, `remove 3`", "`pqrun cancel 3`", ("kill", "remove"), "cancel"),
    ForeignVerb("`pueue send 3 yes`", "`pqrun send 3 yes`, to a job that was added with `--stdin open`"),
    ForeignVerb("`pueue stash 3`", "`pqrun hold 3`", ("stash",), "hold"),
    ForeignVerb("`pueue enqueue 3`", "`pqrun release 3`", ("enqueue",), "release"),
    ForeignVerb("`pueue switch 3 4`", "`pqrun set 4 --front`", ("switch",)),
    ForeignVerb("`pueue edit 3`", "`pqrun edit 3`"),
    ForeignVerb(
        "`pueue restart -i 3`, `--all-failed`",
        "`pqrun restart 3`, `--failed` (always in place: there are no copies)",
        ("restart -i", "restart --in-place", "restart -a", "restart --all-failed"),
    ),
    ForeignVerb("`pueue wait --status success`", "`pqrun wait`", ("wait --status",)),
    ForeignVerb("`pueue clean`", "not needed: old jobs are removed automatically", ("clean",)),
)
TOOLS = {"task-spooler": TASK_SPOOLER, "pueue": PUEUE}


def meaning(word: str) -> str:
    """Return the command that is run for a word of another tool, or an empty text."""
    return next((verb.means for verbs in TOOLS.values() for verb in verbs if word in verb.words), "")


def refuse_foreign(words: Sequence[str]) -> None:
    """Raise `UserError` with the cure if a command line, without `pqrun`, begins like that of another tool."""
    beginnings = words[0], " ".join(words[:2])
    for tool, verbs in TOOLS.items():
        for verb in verbs:
            for word in verb.words if not verb.means else ():
                if word in beginnings:
                    raise UserError(f"`{word}` is not a command of pqrun but of {tool}; here: {verb.here}")
