# SPDX-License-Identifier: LGPL-3.0-or-later
"""What placeholders stand for, and what is made of a value."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pqrun.core.errors import UserError
from pqrun.input.each.template import Template, base_name, directory, quote, without_extension


def made(command, *values, number=1, names=(), shell=None):
    return Template(command, names, shell).command(values, number)


@pytest.mark.parametrize(
    ("value", "bare", "base", "parent", "both"),
    [
        ("a.tar.gz", "a.tar", "a.tar.gz", ".", "a.tar"),
        ("d.ir/file", "d.ir/file", "file", "d.ir", "file"),
        ("../a.b", "../a", "a.b", "..", "a"),
        (".bashrc", "", ".bashrc", ".", ""),
        ("/.x", "/", ".x", "/", ""),
        ("x.", "x", "x.", ".", "x"),
        ("a/", "a/", "", ".", ""),
        ("/x/y.z/", "/x/y.z/", "", "/x", ""),
        ("a//b", "a//b", "b", "a", "b"),
        ("//a", "//a", "a", "/", "a"),
        ("/", "/", "", "/", ""),
        ("..", ".", "..", ".", "."),
        ("", "", "", ".", ""),
    ],
)
def test_a_path_is_taken_apart_as_gnu_parallel_does_it(value, bare, base, parent, both):
    made_of_it = [without_extension(value), base_name(value), directory(value)]
    assert made_of_it == [bare, base, parent]
    assert shlex.split(made("{} {.} {/} {//} {/.}", value)) == [value, bare, base, parent, both]


def test_one_of_several_values_is_named_by_its_place():
    assert made("{2} {1} {-1} {2/.} {1//}", "a/b.c", "x/y.z") == "x/y.z a/b.c x/y.z y a"


def test_all_values_stand_in_place_of_what_names_none():
    assert made("f {} {/.} a{}b", "x/a.b", "c d") == "f x/a.b 'c d' a 'c d' ax/a.b 'c d'b"


def test_a_value_that_there_is_not_is_nothing_but_an_empty_one_is_an_argument():
    assert made("f {3} {1} {-3}.", "", "b") == "f  '' ."


def test_without_a_placeholder_the_values_come_last():
    assert made("f -x", "a b", "c") == "f -x 'a b' c"


def test_the_number_of_the_job_is_a_placeholder_too():
    assert made("f {#}", "a", number=7) == "f 7"
    assert made("f '{#}' \"{#}\" # {#}", "a", number=7) == "f '7' \"7\" # 7"


def test_the_slot_is_known_when_the_job_starts():
    assert (
        made('f {%} "slot {%}" $(g {%})', "a")
        == 'f "${PQRUN_SLOT}" "slot ${PQRUN_SLOT}" $(g "${PQRUN_SLOT}")'
    )


def test_columns_are_named_by_a_header():
    assert made("{b} {a.} {1}", "x.y", "z", names=("a", "b")) == "z x x.y"
    assert made("{a b}{b}", "1", "2", names=("a b", "b")) == "12"


def test_of_two_columns_of_one_name_the_first_counts():
    assert made("{a}", "1", "2", names=("a", "a")) == "1"


def test_what_is_no_placeholder_is_left_alone():
    command = "awk '{print $1}' {a} {0} {1 } {.1} {+1} { } ${HOME} ${#} {{}"
    assert made(command, "v") == command.replace("{{}", "{v")


def test_a_value_is_never_read_as_a_template():
    assert made("f {} {2}", "{2}", "{1} {}") == "f '{2}' '{1} {}' '{1} {}'"


@pytest.mark.parametrize("value", ["if", "done", "a=b", "~x", "a,b", "é", "#", "-n;", "", " ", "a\nb", "'"])
def test_what_a_shell_might_take_for_something_else_is_in_quotes(value):
    assert quote(value).startswith("'") and shlex.split(quote(value)) == [value]


@pytest.mark.parametrize("value", ["a", "a/b.c", "A_1-2:3", "100%", "x@y+z"])
def test_what_is_plain_stays_as_it_is(value):
    assert quote(value) == value


def test_what_plain_text_would_become_part_of_is_kept_apart_from_it():
    assert made("f {}>x {1}<y $z{} {#}>w", "2", number=3) == "f '2'>x '2'<y $z'2' '3'>w"


@given(some.text(max_size=20))
def test_any_text_is_one_word(text):
    assert shlex.split(f"a{quote(text)}b") == [f"a{text}b"]


def test_a_perl_expression_is_refused():
    with pytest.raises(UserError, match="which pqrun does not support"):
        Template("echo {= s/a/b/ =}")


@pytest.mark.parametrize(
    "shell", [("bash", "-c"), ("/bin/dash", "-c"), ("env", "A=b", "zsh", "-c"), ("busybox", "sh", "-c")]
)
def test_shells_that_know_single_quotes_are_accepted(shell):
    assert made("f {}", "a b", shell=shell) == "f 'a b'"


@pytest.mark.parametrize("shell", [("fish", "-c"), ("python3", "-c"), ("ssh", "host"), ("env",)])
def test_for_others_values_cannot_be_quoted_and_that_is_said(shell):
    with pytest.raises(UserError, match="can't be quoted for the shell"):
        Template("f {}", (), shell)


def test_a_command_without_values_may_have_any_shell():
    assert made("print({#})", "a", number=3, shell=("python3", "-c")) == "print(3)"
