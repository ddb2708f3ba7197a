# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands of other queues: accepted if they mean the same, else answered with the command to use."""

import re

import pytest

from pqrun.cli.commands import MODULES, find_command
from pqrun.cli.foreign_verbs import TOOLS, meaning, refuse_foreign
from pqrun.core.errors import UserError

VERBS = [verb for verbs in TOOLS.values() for verb in verbs]
WORDS = [word for verb in VERBS for word in verb.words]


def test_a_word_stands_once_in_the_table_and_is_no_command_of_ours():
    assert len(WORDS) == len(set(WORDS))
    assert set(WORDS) & MODULES.keys() == set()
    assert {verb.means for verb in VERBS} - {""} <= MODULES.keys()
    named = {name for verb in VERBS for name in re.findall("`pqrun ([a-z]+)", verb.here)}
    assert named <= MODULES.keys()


@pytest.mark.parametrize(
    ("word", "command"),
    {
        "status": "ps",
        "log": "logs",
        "kill": "cancel",
        "remove": "cancel",
        "stash": "hold",
        "enqueue": "release",
    }.items(),
)
def test_a_word_that_means_the_same_is_accepted(word, command):
    assert meaning(word) == command
    assert find_command(word) is find_command(command)
    refuse_foreign([word, "3"])


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("-S 4", "`-S` is not a command of pqrun but of task-spooler; here: `pqrun set -j4`"),
        ("follow 3", "here: `pqrun logs -f 3`"),
        ("clean", "of pueue; here: not needed"),
        ("start", "here: `pqrun pause`, `unpause`"),
        ("switch 3 4", "here: `pqrun set 4 --front`"),
        ("add --delay 5h true", "`add --delay` is not a command of pqrun but of pueue"),
        ("restart --all-failed", "`--failed` (always in place"),
    ],
)
def test_any_other_is_answered_with_the_command_to_use(line, cure):
    with pytest.raises(UserError) as refused:
        refuse_foreign(line.split())
    assert cure in str(refused.value)


def test_a_command_of_ours_with_such_words_is_left_alone():
    for line in ("add sleep -d", "add -p high make", "nonsense", "logs -f 3", "wait --any"):
        refuse_foreign(line.split())


@pytest.mark.slow
def test_from_outside(pqrun):
    refused = pqrun("parallel", "4")
    assert (refused.code, refused.err) == (
        2, "pqrun: `parallel` is not a command of pqrun but of pueue; here: `pqrun set -j4`, `set tag:gpu -j2`\n"
    )  # fmt: skip
    listed = pqrun("status")
    assert (listed.code, listed.err.startswith("pqrun: no run is live")) == (6, True)
    assert "no such command" in pqrun("nonsense").err
