# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each mistake in `mistakes.txt`, and exactly what is said about it."""

from pathlib import Path

import pytest

from pqrun.input.jobfile import JobFileError, load

CASES = [
    tuple(case.partition("\n")[::2])
    for case in Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8").split("==== ")[1:]
]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
def test_a_mistake_is_told_with_its_place_and_its_cure(name, case, files):
    text, _, expected = case.partition("---- says\n")
    assert files.says(text) + "\n" == expected


def test_every_problem_has_a_hint(files):
    for name, case in CASES:
        with pytest.raises(JobFileError) as raised:
            files.load(case.partition("---- says\n")[0])
        assert all(problem.hint for problem in raised.value.problems), name


def test_messages_are_in_lower_case_and_without_a_full_stop(files):
    for _, case in CASES:
        with pytest.raises(JobFileError) as raised:
            files.load(case.partition("---- says\n")[0])
        for problem in raised.value.problems:
            first = problem.message.lstrip("`")[0]
            assert first == first.lower() or problem.message.startswith("`")
            assert not problem.message.endswith(".")
            assert not problem.hint.endswith(".")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b'jobs:\n  - "caf\xe9"\n',
            "jobs.yaml:2:9: error: not UTF-8 text: the byte 0xe9\n"
            '    2 |   - "caf\ufffd"\n'
            "      |         ^\n"
            "  hint: save the file as UTF-8",
        ),
        (
            "jobs: [a]\n".encode("utf-16"),
            "jobs.yaml:1:1: error: not UTF-8 text: the byte 0xff\n"
            "    1 | \ufffd\ufffdj\ufffdo\ufffdb\ufffds\ufffd:\ufffd \ufffd[\ufffda\ufffd]\ufffd\n"
            "      | ^\n"
            "  hint: save the file as UTF-8",
        ),
        (
            b"jobs:\n  - a\0b\n",
            "jobs.yaml:2:6: error: a NUL character\n"
            "    2 |   - a\ufffdb\n"
            "      |      ^\n"
            "  hint: remove it: a job file is a text file",
        ),
        (
            b"jobs:\n  - \x1b[31m\n",
            "jobs.yaml:2:5: error: the control character U+001B\n"
            "    2 |   - \ufffd[31m\n"
            "      |     ^\n"
            '  hint: remove it, or write it in double quotes as `"\\u001b"`',
        ),
        (
            "jobs:\n  - é\u2028x\n".encode(),
            "jobs.yaml:2:6: error: the character U+2028\n"
            "    2 |   - é\ufffdx\n"
            "      |      ^\n"
            '  hint: remove it, or write it in double quotes as `"\\u2028"`',
        ),
    ],
)
def test_what_is_not_text_is_told_with_its_place(data, expected, files):
    assert files.says({"jobs.yaml": data}) == expected


def test_no_message_lets_a_file_reach_the_terminal(files):
    said = files.says('{"jobs": [{"run": "a", "\\u001b[2J": 1, "id": "\\u009b31m"}]}')
    assert "\x1b" not in said and "\x9b" not in said


def test_a_file_that_is_not_there_is_told_with_the_others(tmp_path):
    with pytest.raises(JobFileError) as raised:
        load([str(tmp_path / "a.yaml"), str(tmp_path)], {})
    assert str(raised.value) == (
        f"{tmp_path}/a.yaml: error: no such file or directory\n{tmp_path}: error: is a directory"
    )


def test_a_hash_that_cuts_a_command_short_is_warned_about(files):
    found = files.load(
        "jobs:\n  - run: echo a #b\n  - echo c # a comment\n  - echo 'd #e'\n  - 'echo f #g'\n"
    )
    assert [job.work.run for job in found.jobs] == ["echo a", "echo c", "echo 'd", "echo f #g"]
    assert found.warnings == (
        "jobs.yaml:2:10: warning: `#b` is a comment and does not belong to the command\n"
        "    2 |   - run: echo a #b\n"
        "      |          ^\n"
        "  hint: quote it if it does; if it is a comment, put a blank after `#`",
        "jobs.yaml:4:5: warning: `#e'` is a comment and does not belong to the command\n"
        "    4 |   - echo 'd #e'\n"
        "      |     ^\n"
        "  hint: quote it if it does; if it is a comment, put a blank after `#`",
    )
