# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where arguments come from, and how several sources go together."""

import pytest

from pqrun.core.errors import UserError


def rows(commands, *words, **more):
    return [command.removeprefix("f ") for command in commands("f", *words, **more)]


def test_arguments_behind_the_colons(commands):
    assert rows(commands, ":::", "a", "b c") == ["a", "'b c'"]


def test_each_of_one_source_goes_with_each_of_the_next(commands):
    found = rows(commands, ":::", "a", "b", ":::", "1", "2", ":::", "x", "y")
    assert found == ["a 1 x", "a 1 y", "a 2 x", "a 2 y", "b 1 x", "b 1 y", "b 2 x", "b 2 y"]


def test_a_linked_source_goes_with_the_one_before_value_by_value(commands):
    assert rows(commands, ":::", "a", "b", ":::+", "1", "2") == ["a 1", "b 2"]
    assert rows(commands, ":::", "a", "b", ":::", "1", "2", ":::+", "x", "y") == [
        "a 1 x", "a 2 y", "b 1 x", "b 2 y",
    ]  # fmt: skip
    assert rows(commands, ":::", "a", "b", ":::+", "1", "2", ":::", "x", "y") == [
        "a 1 x", "a 1 y", "b 2 x", "b 2 y",
    ]  # fmt: skip


def test_of_linked_sources_the_shortest_says_how_many(commands, tmp_path):
    (tmp_path / "abc").write_text("a\nb\nc\n")
    assert rows(commands, ":::", "a", "b", "c", ":::+", "1", "2") == ["a 1", "b 2"]
    assert rows(commands, ":::", "a", ":::+", "1", "2") == ["a 1"]
    assert rows(commands, "::::", "abc", ":::+", "1", "2") == ["a 1", "b 2"]
    assert rows(commands, ":::", "1", "2", "::::+", "abc") == ["1 a", "2 b"]


def test_lines_of_files(commands, tmp_path):
    (tmp_path / "one").write_text("a\n\n b \n#c")
    (tmp_path / "two").write_text("1\n2\n")
    assert rows(commands, "::::", "one") == ["a", "''", "' b '", "'#c'"]
    assert rows(commands, "::::", "two", "::::+", "one") == ["1 a", "2 ''"]
    assert rows(commands, "::::", "two", "two") == ["1 1", "1 2", "2 1", "2 2"]
    assert rows(commands, files=("two",)) == ["1", "2"]
    assert rows(commands, ":::", "x", files=("two",)) == ["1 x", "2 x"]


def test_an_empty_source_gives_nothing(commands, tmp_path):
    (tmp_path / "empty").write_text("")
    assert rows(commands, ":::") == []
    assert rows(commands, "::::", "empty") == []
    assert rows(commands, ":::", "a", ":::") == []
    assert rows(commands, "::::", "empty", ":::", "a") == []
    assert rows(commands, "::::", "empty", header=True) == []


def test_nul_separated_arguments_may_hold_newlines(commands, tmp_path):
    (tmp_path / "list").write_bytes(b"a\nb\0c\0\0d")
    assert rows(commands, "::::", "list", null=True) == ["'a\nb'", "c", "''", "d"]


@pytest.mark.parametrize(
    ("delimiter", "data", "found"),
    [
        (",", b"a,b,,c\n", ["a", "b", "''", "'c\n'"]),
        (", ", b"a, b,c, d", ["a", "'b,c'", "d"]),
        (r"\t", b"a\tb", ["a", "b"]),
        (r"\x2c", b"a,b", ["a", "b"]),
        (r"\054", b"a,b", ["a", "b"]),
        (r"\0", b"a\0b\0", ["a", "b"]),
        ("<-->", b"a<--b<-->c<--<-->d", ["'a<--b'", "'c<--'", "d"]),
        ("é", "aébéc".encode(), ["a", "b", "c"]),
        ("aab", b"aaabaab", ["a", "''"]),
    ],
)
def test_anything_may_separate_arguments(commands, tmp_path, delimiter, data, found):
    (tmp_path / "list").write_bytes(data)
    assert rows(commands, "::::", "list", delimiter=delimiter) == found


def test_columns_are_values_of_their_own(commands, tmp_path):
    (tmp_path / "list").write_text("a, b ,c\nd\n,e\n")
    found = commands("f {2} {1} {}", "::::", "list", colsep=",")
    assert found == ["f b a a b c", "f  d d", "f e '' '' e"]
    assert commands("f {3} {1}", ":::", "a-b", ":::", "c", colsep="-") == ["f c a"]


def test_a_group_in_the_separator_gives_what_it_matched_as_it_does_in_perl(commands):
    assert commands("f {1} {2} {3}", ":::", "a-b", colsep="(-)") == ["f a - b"]


def test_a_header_names_columns(commands, tmp_path):
    (tmp_path / "table").write_text("name\tfull size\nx.png\t10\ny.png\t 20\n")
    found = commands("f {full size} {name.} {1}", "::::", "table", header=True)
    assert found == ["f 10 x x.png", "f ' 20' y y.png"]
    assert commands("f {b} {a}", ":::", "a", "1", ":::", "b", "x", "y", header=True) == ["f x 1", "f y 1"]
    (tmp_path / "list").write_text("b,c\n")
    assert commands("f {c} {b}", "::::", "list", header=True, colsep=",") == []


def test_numbers_of_jobs_go_through_all_combinations(commands):
    assert commands("f {#} {1}{2}", ":::", "a", "b", ":::", "x", "y") == [
        "f 1 ax", "f 2 ay", "f 3 bx", "f 4 by",
    ]  # fmt: skip


def test_several_words_are_one_command(commands):
    assert commands("f", "a  b", "{}", ";", "g", ":::", "x") == ["f a  b x ; g"]


def test_without_a_command_arguments_are_commands(commands):
    assert commands(":::", "f a; g", "", "  ", "h {}") == ["f a; g", "h {}"]
    assert commands(":::", "f", "g", ":::", "x y", "z") == ["f x y", "f z", "g x y", "g z"]


def test_a_placeholder_is_refused_before_anything_is_read(commands):
    with pytest.raises(UserError, match="in double quotes"):
        commands('f "{}"', ":::", "a")


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        ((":::+", "a"), {}, "pairs its arguments with the ones before"),
        (("::::",), {}, "needs a file"),
        (("::::", "nowhere"), {}, "cannot read nowhere: No such file or directory"),
        (("::::", "."), {}, "cannot read .: it is a directory"),
        ((":::", "a", "::::", "-", "-"), {}, "stdin can be read only once"),
        ((":::", "a"), {"delimiter": ",", "null": True}, "give only one of them"),
        ((":::", "a"), {"delimiter": ""}, "needs a separator"),
        ((":::", "a"), {"colsep": "("}, "invalid regular expression"),
    ],
)
def test_what_cannot_be_is_said(commands, words, more, said):
    with pytest.raises(UserError, match=said):
        commands("f", *words, **more)


def test_a_nul_in_a_line_ends_the_reading(commands, tmp_path):
    (tmp_path / "list").write_bytes(b"a\nb\0c\nd\n")
    with pytest.raises(
        UserError, match=r"list:2: a NUL character \(if NULs separate the arguments, use -0\)"
    ):
        commands("f", "::::", "list")
    with pytest.raises(UserError, match=r"list:2: a NUL"):
        commands("f", ":::", "x", "::::", "list")


def test_an_argument_may_be_long_but_not_endless(commands, tmp_path):
    (tmp_path / "list").write_bytes(b"x" * (17 << 20))
    with pytest.raises(UserError, match="list:1: an argument over 16 MiB"):
        commands("f", ":::", "a", "::::", "list")


def test_what_the_command_line_says_for_all_jobs_holds(tmp_path, monkeypatch):
    from pqrun.core.settings import Each, InputSettings
    from pqrun.input.each import open_arguments

    given = {"timeout": 5.0, "retry": {"max": 2}, "env": {"A": "b"}}
    arguments, _ = open_arguments(InputSettings(given=given), Each(("f", ":::", "x", "y")))
    one, two = arguments.take(), arguments.take()
    assert (one.id, one.named, two.id, two.timeout, two.retry.max) == ("1", False, "2", 5.0, 2)
    assert two.work.env == (("A", "b"),)
    assert (arguments.count, arguments.take()) == (2, None)
