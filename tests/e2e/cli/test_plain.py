# SPDX-License-Identifier: LGPL-3.0-or-later
"""A plain command line is read without typer, and to the same settings; all else is left to typer."""

import random
import shlex

import pytest

import pqrun.app.run
from pqrun.cli import fast_parser as plain
from pqrun.cli.app import app
from pqrun.cli.options import EachOptions, ListOptions

VALUES = {
    "LEVEL": ("high", "low", "nonsense"), "N": ("3", "0", "-1", "50%", "+1", "auto", "x", ""),
    "DUR": ("90", "1.5s", "1h30m", "250ms", "-1", "soon"), "MODE": ("linear", "none", "group", "line", "live"),
    "LIST": ("1,2", "SIGKILL,timeout", "any", "TERM", "oops"), "SIG": ("INT", "SIGTERM", "nosig"),
    "K=V": ("A=1", "B=x y", "=", "C"), "SHELL": ("bash -c", "", "sh -eu -c"), "FILE": ("out.x", "-", "/tmp/a b"),
    "NAME=N": ("net=2", "net", "gpu=0"), "SELECTOR": ("a*", "tag:x", "priority:low"), "SIZE": ("small", "2G"),
    "RULE": ("now,fail=1", "soon,done=10%", "always", "never"), "SCOPE": ("all", "failed", "github"),
    "DIR": ("d", "/tmp"), "ADDR": ("127.0.0.1:0",), "CMD": ("mail -s x", "true"), "N/DUR": ("50/1m", "1"),
    "MAX": ("8", "80%"), "I/N": ("1/4", "5/4"), "KIND": ("yaml", "lines", "toml"), "RUN": ("latest", "x/y"),
    "PLACE": ("local", "dask://127.0.0.1:8786", "tls://head:1", "dask://head", "x"),
    "TEXT": (",", "\\0"), "REGEX": (",", "[", r"\s+"),
}  # fmt: skip
OPTIONS = {"run": ListOptions, "each": EachOptions}
FLAGS = {command: list(options.declared().values()) for command, options in OPTIONS.items()}
ENDS = {"run": ([], ["c.txt"]), "each": (["echo {}", ":::", "-q", "b"], ["echo"], [":::", "a"])}


class Kept(Exception):
    """What a run was asked to be, instead of the run."""


@pytest.fixture
def told(monkeypatch):
    """`told(words)`: what each of the two readers makes of them; None for none."""

    def keep(settings):
        raise Kept(settings)

    monkeypatch.setattr(pqrun.app.run, "run", keep)

    def by_typer(command, words):
        try:
            app([command, *words], standalone_mode=False)
        except Kept as kept:
            return kept.args[0]
        except Exception:
            return None
        return None

    def by_itself(command, words):
        try:
            plain.run_if_plain(command, words, {})
        except Kept as kept:
            return kept.args[0]
        except Exception:
            return None
        return None

    return lambda command, words: (by_itself(command, words), by_typer(command, words))


def some_words(chance, command):
    """Nearly always a command line that a person might type."""
    words = []
    for one in chance.sample(FLAGS[command], chance.choice((0, 1, 1, 2, 3, 5))):
        name = chance.choice(one.flag.names)
        if one.is_switch:
            words.append([chance.choice((name, name, name, name + "=1"))])
            continue
        value = chance.choice(VALUES[one.flag.metavar])
        joined = f"{name}={value}" if name.startswith("--") else name + value
        other = chance.choice(VALUES[one.flag.metavar])
        words += chance.choice(([[name, value]], [[joined]], [[name, value], [name, other]]))
    words += [
        [chance.choice(("a.txt", "b.yaml", "-", "--", "-kq", "-kj2", "-qj", "--no-such", "-Z"))] for _ in "xy"
    ]
    chance.shuffle(words)
    return [word for group in words for word in group] + chance.choice(ENDS[command])


@pytest.mark.slow
@pytest.mark.parametrize("command", OPTIONS)
def test_both_readers_take_thousands_of_command_lines_for_the_same(told, command):
    chance = random.Random(5)
    plainly = 0
    for _ in range(1500):
        words = some_words(chance, command)
        ours, typers = told(command, words)
        if ours is not None:
            plainly += 1
            assert ours == typers, shlex.join(words)
    assert plainly > 250


@pytest.mark.parametrize(
    "words",
    [
        "a.txt",
        "-q -j8 a.txt",
        "--timeout 5m --retries=3 a.yaml",
        "-kqj2 - ",
        "-r 2 -- -odd-name",
        "--env A=1 --env B=2 x",
    ],
)
def test_what_people_type_is_plain(told, words):
    ours, typers = told("run", words.split())
    assert ours is not None and ours == typers


@pytest.mark.parametrize(
    "words",
    ["--help", "-h", "a --jobs", "a -j", "a --jobs x", "a --tag=1", "a --no-such", "a -Z", "--resume latest"],
)
def test_what_is_not_plain_is_left_to_typer(words):
    assert plain.run_if_plain("run", words.split(), {}) is None


@pytest.mark.parametrize("variable", ["PQRUN_JOBS", "PQRUN_KEEP_ORDER", "_PQRUN_COMPLETE"])
def test_so_is_what_the_environment_sets(variable):
    assert plain.read(ListOptions, ["a"], {variable: "1"}) is None
    assert plain.read(ListOptions, ["a"], {"PQRUN_JOB_ID": "1", "PQRUN": "1"}) is not None


def test_every_option_is_a_switch_a_list_or_one_word():
    for one in (*FLAGS["run"], *FLAGS["each"]):
        assert one.is_switch or one.is_repeated or one.flag.read or one.kind == str | None, one
        assert not (one.is_switch and one.flag.read)
        assert one.is_switch or one.flag.metavar in VALUES
