# SPDX-License-Identifier: LGPL-3.0-or-later
"""A plain command line is read without typer, and to the same values; all else is left to typer."""

import os
import random
import shlex
from functools import cache, partial

import pytest

from pqrun.cli import fast_parser as plain
from pqrun.cli.app import LazyGroup, app
from pqrun.cli.commands import MODULES, find_command
from pqrun.cli.declarations import CommandSpec

VALUES = {
    "ORDER": ("fifo", "longest-first", "x"), "N%": ("200%", "x%", "5"),
    "LEVEL": ("high", "low", "nonsense"), "N": ("3", "0", "-1", "50%", "+1", "auto", "x", ""),
    "TIME": ("22:00", "+2h", "2027-02-30", "now"),
    "DUR": ("90", "1.5s", "1h30m", "250ms", "-1", "soon"), "MODE": ("linear", "none", "group", "line", "live", "end"),
    "LIST": ("1,2", "SIGKILL,timeout", "any", "TERM", "oops"), "SIG": ("INT", "SIGTERM", "nosig"),
    "K=V": ("A=1", "B=x y", "=", "C"), "SHELL": ("bash -c", "", "sh -eu -c"), "FILE": ("out.x", "-", "/tmp/a b"),
    "NAME=N": ("net=2", "net", "gpu=0"), "SELECTOR": ("a*", "tag:x", "priority:low"), "SIZE": ("small", "2G"),
    "RULE": ("now,fail=1", "soon,done=10%", "always", "never"), "SCOPE": ("all", "failed", "github"),
    "DIR": ("d", "/tmp"), "ADDR": ("127.0.0.1:0",), "CMD": ("mail -s x", "true"), "N/DUR": ("50/1m", "1"),
    "MAX": ("8", "80%"), "I/N": ("1/4", "5/4"), "KIND": ("yaml", "lines", "toml"), "RUN": ("latest", "x/y"),
    "PLACE": ("local", "dask://127.0.0.1:8786", "tls://head:1", "dask://head", "x"),
    "TEXT": (",", "\\0"), "REGEX": (",", "[", r"\s+"), "NAME": ("queue", "x y"), "JOB": ("a", "*"),
    "ID": ("build", "a b", "$x"), "ID,…": ("a,ended:b", "failed:c", ""), "NAME[:N],…": ("net:2,gpu", "net:x"),
    "SIDES": ("l", "lr", "x"), "WORD": (",,", "::"), "REPL": ("{x} s/a/b/", ",, {/}"),
    "WORD,…": ("nightly,x", " "), "N,…": ("0,3", "x"),
}  # fmt: skip
COMMANDS = {name: find_command(name) for name in MODULES}
SWITCHED = ("1", "0", "yes", "No", "TRUE", " off ", "t", "f", "maybe", "", " ")
ENDS = {"each": (["echo {}", ":::", "-q", "b"], ["echo"], [":::", "a"]), "add": (["make", "-k"], ["x"], [])}
STRAY = ("a.txt", "b.yaml", "-", "--", "-kq", "-kj2", "-qj", "--no-such", "-Z", "--header", ":")


class Kept(Exception):
    """The values that a command would be called with, instead of the call."""


@pytest.fixture
def told(monkeypatch):
    """`told(command, words)`: the values from each of the two parsers; None if a parser refuses the words."""

    def keep(self, found):
        # typer may have an empty list for a list that is not given, and Python has other words for ().
        values = {name: None if value == [] else value for name, value in found.values.items()}
        raise Kept(self.name, values, found.by_variable)

    monkeypatch.setattr(CommandSpec, "call", keep)
    # typer takes longer to build a command than to read a command line.
    build = cache(partial(LazyGroup.get_command, None, None))
    monkeypatch.setattr(LazyGroup, "get_command", lambda _self, _context, name: build(name))

    def kept(parse, *words):
        try:
            parse(*words)
        except Kept as found:
            return found.args
        except (Exception, SystemExit):
            return None
        return None

    def both(command, words, variables=None):
        with monkeypatch.context() as patched:
            for name, value in (variables or {}).items():
                patched.setenv(name, value)
            return (
                kept(plain.run_if_plain, command, words, os.environ),
                kept(lambda: app([command, *words], standalone_mode=False)),
            )

    return both


def some_words(chance, name):
    """Nearly always a command line that a person might type."""
    command = COMMANDS[name]
    options = list(command.options.values())
    words = []
    for one in chance.sample(options, min(len(options), chance.choice((0, 1, 1, 2, 3, 5)))):
        spelling = chance.choice(one.flag.names)
        if one.is_switch:
            words.append([chance.choice((spelling, spelling, spelling, spelling + "=1"))])
            continue
        value = chance.choice(VALUES[one.flag.metavar])
        joined = f"{spelling}={value}" if spelling.startswith("--") else spelling + value
        other = chance.choice(VALUES[one.flag.metavar])
        words += chance.choice(([[spelling, value]], [[joined]], [[spelling, value], [spelling, other]]))
    if chance.random() < 0.5:
        words += [[chance.choice(STRAY)] for _ in range(chance.choice((1, 2)))]
    chance.shuffle(words)
    ends = ENDS.get(name) or (([], ["c.txt"], ["a", "b"]) if command.arguments else ([],))
    return [word for group in words for word in group] + chance.choice(ends)


@pytest.mark.slow
@pytest.mark.parametrize("command", MODULES)
def test_both_parsers_read_generated_command_lines_alike(told, command):
    chance = random.Random(5)
    plainly = 0
    times = 1000 if command in ("run", "each", "add") else 200
    for _ in range(times):
        words = some_words(chance, command)
        ours, typers = told(command, words)
        if ours is not None:
            plainly += 1
            assert ours == typers, shlex.join(words)
    assert plainly > times / 20


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "each", "resume", "serve", "wait", "show", "add", "set"])
def test_both_parsers_read_variables_alike(told, command):
    chance = random.Random(6)
    declared = {one.flag.variable: one for one in COMMANDS["run"].options.values() if one.flag.variable}
    plainly = 0
    for _ in range(300):
        variables = {}
        for name in chance.sample(sorted(declared), chance.choice((1, 1, 2, 4))):
            one = declared[name]
            values = SWITCHED if one.is_switch else (*VALUES[one.flag.metavar], "a b", " ", "")
            variables[name] = chance.choice(values)
        words = some_words(chance, command)
        ours, typers = told(command, words, variables)
        if ours is not None:
            plainly += 1
            assert ours == typers, (variables, shlex.join(words))
    assert plainly > 30


@pytest.mark.parametrize("command", MODULES)
def test_each_command_without_options_is_plain(told, command):
    words = ["x" for one in COMMANDS[command].arguments.values() if "[" not in one.spec.metavar]
    ours, typers = told(command, words)
    assert ours is not None and ours == typers


@pytest.mark.parametrize(
    "words",
    [
        "run a.txt",
        "run -q -j8 a.txt",
        "run --timeout 5m --retries=3 a.yaml",
        "run -kqj2 - ",
        "run -r 2 -- -odd-name",
        "run --env A=1 --env B=2 x",
        "each --header : -j2 {a} ::: a 1 2",
        "each -qd, --header : -k {a} --header :",
        "add -r 2 --needs a,ended:b -- make -k",
        "add --wait -f jobs.yaml --run q",
        "ps --json a tag:x",
        "ps --why a",
        "wait --any -t 5s a b",
        "set -p high --front a",
        "set -j 4 --pool net=2 --pool gpu=1",
        "cancel all --run q",
        "pause --run q",
        "unpause",
        "stop --now",
        "logs latest a b --attempt 2 --stderr -f",
        "show latest --all",
        "show --junit x.xml",
        "runs --json",
        "check a.yaml b.txt",
        "prune --keep-size 2G --keep-days 0 --dry-run",
    ],
)
def test_what_people_type_is_plain(told, words):
    command, *words = words.split()
    ours, typers = told(command, words)
    assert ours is not None and ours == typers


@pytest.mark.parametrize(
    "words",
    [
        "run --help", "run -h", "run a --jobs", "run a -j", "run a --jobs x", "run a --tag=1", "run a --no-such", "run a -Z",
        "run --resume latest", "ps --help", "cancel", "check", "logs", "show a b c", "logs latest --attempt 0",
        "show --json --jsonl", "set", "set -p high", "set --pool x", "set a", "add", "add -f x y", "nosuch", "--version",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_typer(words):
    command, *words = words.split()
    assert plain.run_if_plain(command, words, {}) is None


def test_variables_set_the_options_that_the_words_do_not():
    run, variables = COMMANDS["run"], {"PQRUN_JOBS": "3", "PQRUN_TAG": "0", "PQRUN_POOL": "a=1 b=2"}
    assert plain.read(run, ["-j2", "a"], {**variables, "PQRUN": "1", "PQRUN_TIMEOUT": ""}) == (
        {"files": ["a"], "jobs": "2", "tag": False, "pool": ["a=1", "b=2"]},
        {"tag", "pool"},
    )
    assert plain.read(COMMANDS["pause"], [], variables) == ({}, frozenset())
    for wrong in ({"PQRUN_JOBS": "x"}, {"PQRUN_TAG": "perhaps"}, {"_PQRUN_COMPLETE": "1"}):
        assert plain.read(run, ["a"], wrong) is None


def test_every_option_is_a_switch_a_list_or_one_word():
    for command in COMMANDS.values():
        for one in command.options.values():
            assert one.is_switch or one.is_repeated or one.flag.read or one.kind in (str | None, str), one
            assert not (one.is_switch and one.flag.read)
            assert one.is_switch or one.flag.metavar in VALUES, one
