# SPDX-License-Identifier: LGPL-3.0-or-later
"""`-n`, `-N`, `-L`, `-m`, `-X`, `--xargs` and `-s`: many arguments a command."""

import pytest

from pqrun.core.errors import UserError
from pqrun.core.settings import Each
from pqrun.input.each.packing import MAX_COMMAND_BYTES, pack_rules

SEVEN = (":::", *"ABCDEFG")


@pytest.mark.parametrize(
    ("words", "options", "made"),
    [
        (("echo",), {"max_args": 3}, ["echo A B C", "echo D E F", "echo G"]),
        (("echo", "x{}y"), {"max_args": 4}, ["echo xA B C Dy", "echo xE F Gy"]),
        (("echo", "x{}y"), {"max_args": 4, "multiple": "N"}, ["echo xAy xBy xCy xDy", "echo xEy xFy xGy"]),
        (("echo", "{2}-{1}"), {"max_args": 4, "multiple": "N"}, ["echo B-A", "echo F-E"]),
        (("echo", "a"), {"max_args": 0}, ["echo a "] * 7),
        (("echo",), {"multiple": "xargs"}, ["echo A B C D E F G"]),
        (("echo",), {"multiple": "m", "workers": "3"}, ["echo A B C", "echo D E F", "echo G"]),
        (("rm", "a{}.x;b"), {"multiple": "X", "workers": "1"}, ["rm aA.x aB.x aC.x aD.x aE.x aF.x aG.x;b"]),
        (("echo",), {"max_args": 4, "multiple": "m", "workers": "2"}, ["echo A B C D", "echo E F", "echo G"]),
        (("echo",), {"max_chars": 19}, ["echo A B C D E F G"]),
        (("echo",), {"max_chars": 18}, ["echo A B C D E F", "echo G"]),
        (("echo", "{#}", "{}"), {"max_args": 6}, ["echo 1 A B C D E F", "echo 2 G"]),
    ],
)  # fmt: skip
def test_arguments_are_put_together(commands, words, options, made):
    assert commands(*words, *SEVEN, **options) == made


def test_a_command_is_not_longer_than_asked(commands):
    made = commands("echo", ":::", *("x" * size for size in range(1, 40)), max_chars=60)
    assert max(map(len, made)) <= 60
    assert sum(len(command.split()) - 1 for command in made) == 39


def test_an_argument_that_makes_a_command_too_long_is_refused(commands):
    with pytest.raises(UserError, match=r"the limit \(-s\) is 10"):
        commands("echo", ":::", "a", "b" * 20, max_chars=10)


def test_combinations_of_sources_are_put_together_one_after_another(commands):
    assert commands("echo", ":::", "a", "b", ":::", "1", "2", max_args=2) == ["echo a 1 a 2", "echo b 1 b 2"]


def test_arguments_from_a_pair_of_sources_of_other_lengths_all_arrive(commands, tmp_path):
    (tmp_path / "list").write_text("a\nb\nc\nd\n")
    assert commands("echo", "::::", "list", ":::+", "1", "2", max_args=3) == ["echo a 1 b 2"]


@pytest.mark.parametrize("blank", " \t")
def test_lines_that_end_in_a_blank_go_on(commands, tmp_path, blank):
    (tmp_path / "list").write_text(f"a{blank}\nb\nc\nd{blank}\n")
    assert commands("echo", "::::", "list", max_lines=2) == [f"echo 'a{blank}b' c", "echo d"]


def test_a_size_above_what_linux_starts_is_that_of_linux():
    assert pack_rules(Each(max_chars=10**9)).size == MAX_COMMAND_BYTES


@pytest.mark.parametrize(
    "command", ['echo "$HOME"/{}', "echo 'a b'{}", "echo a\\ {}", "echo $x{}", "echo $(cat x){}", "cat >{}", "echo {#}{}"]
)  # fmt: skip
def test_a_word_that_would_mean_something_else_is_not_repeated(commands, command):
    with pytest.raises(UserError, match="use -m"):
        commands(command, *SEVEN, multiple="X", workers="1")
    assert commands("echo 'a b' {}", ":::", "c", "d", multiple="X", workers="1") == ["echo 'a b' c d"]


def test_many_arguments_need_a_command(commands):
    with pytest.raises(UserError, match="need a command"):
        commands(*SEVEN, max_args=2)


@pytest.mark.slow
def test_twenty_thousand_files_are_removed_by_a_handful_of_processes(pqrun, tmp_path):
    (tmp_path / "many").mkdir()
    names = [f"many/a file {number}" for number in range(20_000)]
    for name in names:
        (tmp_path / name).touch()
    done = pqrun("each", "-q", "-j2", "-X", "--joblog", "log", "rm", input="\n".join(names))
    assert done.code == 0, done.err
    assert list((tmp_path / "many").iterdir()) == []
    assert len((tmp_path / "log").read_text().splitlines()) - 1 <= 8
    assert len(" ".join(names)) > 2 * MAX_COMMAND_BYTES


@pytest.mark.slow
def test_contradictions_are_wrong_usage(pqrun):
    for words in (("-n1", "-N2"), ("-X", "-m"), ("--tagstring", "x", "--output", "raw")):
        done = pqrun("each", *words, "echo", ":::", "a")
        assert done.code == 2 and ("only one" in done.err or "raw" in done.err)
