# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--words`: sources are split as xargs splits them; and what is said to people who expect that without it."""

import shutil
import subprocess
from random import Random

import pytest

from pqrun.core.errors import UserError
from pqrun.input.each.words import WordSplitter


def words(data, size):
    """The words of bytes that arrive `size` at a time, or the error."""
    splitter, found, at = WordSplitter("list"), [], 0
    try:
        while True:
            word = splitter.next()
            if word is not None:
                found.append(word)
            elif splitter.finished:
                return found
            elif at < len(data):
                splitter.feed(data[at : at + size])
                at += size
            else:
                splitter.end()
    except UserError as error:
        return str(error)


def test_a_long_word_is_searched_a_few_times_not_once_for_each_piece_of_it(monkeypatch):
    searched = []
    find = WordSplitter._skip

    def skip(self, pattern):
        searched.append(len(self._chunk) - self._at)
        find(self, pattern)

    monkeypatch.setattr(WordSplitter, "_skip", skip)
    data = b"x" * 3_000_000
    assert words(data + b" y", 10_000) == [data, b"y"]
    assert sum(searched) < 20 * len(data)


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b" a\tb\n\n c", [b"a", b"b", b"c"]),
        (b"'a b' \"c 'd\" e\\ f", [b"a b", b"c 'd", b"e f"]),
        (b"k\"l m\"'n'o '' p", [b"kl mno", b"", b"p"]),
        (b"i\\\nj a\\", [b"i\nj", b"a"]),
        (b"a \\", [b"a"]),
        (b"", []),
        (b"a\nb 'c\nd'", "list:2: a quote that is not closed (--words reads quotes as xargs does)"),
        (b'"a', "list:1: a quote that is not closed (--words reads quotes as xargs does)"),
    ],
)
def test_words_end_at_blanks_that_are_not_quoted(data, found, size):
    assert words(data, size) == found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("xargs") is None, reason="xargs is not installed")
def test_xargs_finds_the_same_words():
    random = Random(1)
    for _ in range(150):
        data = bytes(random.choice(b"ab  \n\t'\"\\") for _ in range(random.randrange(14))) + b"z"
        theirs = subprocess.run(["xargs", "-n1", "printf", "%s\\0"], input=data, capture_output=True)
        ours = words(data, 3)
        expected = None if theirs.returncode else theirs.stdout
        assert (None if isinstance(ours, str) else b"".join(word + b"\0" for word in ours)) == expected, data


def test_words_are_the_arguments(commands, tmp_path):
    (tmp_path / "list").write_text("a 'b c'\nd e\n")
    assert commands("echo", "::::", "list", by_words=True) == ["echo a", "echo 'b c'", "echo d", "echo e"]
    assert commands("echo", "::::", "list", by_words=True, max_args=3) == ["echo a 'b c' d", "echo e"]
    assert commands("echo", ":::", "x", "::::", "list", by_words=True, eof="d") == [
        "echo x a",
        "echo x 'b c'",
    ]


@pytest.mark.parametrize(
    "more", [{"delimiter": ","}, {"colsep": "\t"}, {"csv": True}, {"header": True}, {"max_lines": 1}, {"null": True}]
)  # fmt: skip
def test_words_and_other_separators_are_a_contradiction(commands, more):
    with pytest.raises(UserError, match="--words splits at blanks"):
        commands("echo", by_words=True, **more)


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--dry-run",), ("-q",)])
def test_lines_with_blanks_are_one_argument_and_that_is_said_once(pqrun, options):
    told = "pqrun: stdin:2: a line with blanks is one argument; --words splits lines as xargs does\n"
    assert pqrun("each", *options, "-n2", "echo", input="a\nb c\nd e\n").err == told
    for words in (("-n2", "echo {1} {2}"), ("-n2", "--words", "echo"), ("echo",), ("-0", "-n2", "echo")):
        done = pqrun(
            "each", *options, *words, input="a\nb c\n".replace("\n", "\0" if "-0" in words else "\n")
        )
        assert done.err == "", words


@pytest.mark.slow
def test_words_from_a_stream(pqrun):
    done = pqrun("each", "-q", "-k", "--words", "-n2", "printf '[%s]' {}; echo", input="a 'b c' d\\ e\n f")
    assert done.out == "[a][b c]\n[d e][f]\n"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_shell_auto_is_that_of_the_user_and_knows_exported_functions(pqrun, tmp_path):
    env = {"SHELL": shutil.which("bash"), "BASH_FUNC_greet%%": '() { echo "hello $1"; }'}
    assert pqrun("each", "-q", "--shell", "auto", "greet", ":::", "a", env=env).out == "hello a\n"
    assert pqrun("each", "-q", "greet", ":::", "a", env=env).code == 1
    (tmp_path / "jobs.yaml").write_text("defaults: {shell: auto}\njobs: ['greet b']\n")
    assert pqrun("run", "-q", "jobs.yaml", env=env).out == "hello b\n"


@pytest.mark.slow
def test_the_shell_auto_needs_a_shell(pqrun, tmp_path):
    env = {"SHELL": ""}
    told = "`auto` is the shell of $SHELL, which is not set"
    done = pqrun("each", "--shell", "auto", "echo", ":::", "a", env=env)
    assert done.code == 2 and f"--shell: {told}" in done.err
    (tmp_path / "jobs.yaml").write_text("jobs:\n- {run: 'true', shell: auto}\n")
    done = pqrun("run", "jobs.yaml", env=env)
    assert done.code == 2 and "jobs.yaml:2" in done.err and told in done.err
