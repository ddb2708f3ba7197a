# SPDX-License-Identifier: LGPL-3.0-or-later
"""The marks around job output in CI logs, and that nothing in it is obeyed."""

import re

import pytest

from pqrun.display.fences import Fence, Fences, harmless

GITHUB = {"GITHUB_ACTIONS": "true", "CI": "true"}


def obeyed(log):
    """The workflow commands that the runner would obey, as its rules are documented."""
    token, found = None, []
    for line in re.split("\r\n|\r|\n", log):
        text = line.strip()
        if token is not None:
            if text == f"::{token}::":
                token = None
            continue
        if match := re.match(r"::stop-commands::(.+)", text):
            token = match[1]
        elif text.startswith("::error title="):
            pass  # our own annotation: a report's matter, with what it quotes on one line
        elif text.startswith("::") or "##[" in text:
            found.append(text)
    assert token is None, "commands would stay stopped"
    return found


def test_failed_jobs_are_folded_and_commands_in_output_harmless(run):
    jobs = (
        "printf 'a\\n::error::forged\\n  ::set-env name=x::y\\nend ##[error]v1' ; exit 3  # pqrun: id=bad\n"
    )
    jobs += "echo '::warning::from a good job' >&2  # pqrun: id=good\n"
    jobs += "printf 'x\\r::notice::hidden\\n'\necho quiet\n"
    ended = run("-k", "-j1", jobs=jobs, env=GITHUB)
    out, err = ended.stdout.decode(), ended.stderr.decode()
    assert [re.sub(r"\d+ms$", "", command) for command in obeyed(out)] == [
        "::group::bad failed: exit 3, try 1/1, ",
        "::endgroup::",
    ]
    assert obeyed(err) == []
    assert "a\n::error::forged\n  ::set-env name=x::y\nend ##[error]v1\n" in out
    assert "::warning::from a good job\n" in err
    assert out.endswith("quiet\n")


@pytest.mark.parametrize("options", [("--output", "line"), ("--tag",), ("--tag", "--output", "line")])
def test_whatever_the_mode(run, options):
    jobs = "echo '::error::x'; sleep 0.1; echo ' ##[error]y' >&2; exit 1  # pqrun: id=::debug::\n" * 1
    ended = run(*options, jobs=jobs, env=GITHUB)
    commands = obeyed(ended.stdout.decode()) + obeyed(ended.stderr.decode())
    assert all(command.startswith(("::group::", "::endgroup::")) for command in commands)


def test_a_long_output_is_fenced_unseen(run):
    jobs = "head -c 2000000 /dev/zero | tr '\\0' 'x'; echo; echo '::error::late'\n"
    ended = run(jobs=jobs, env=GITHUB)
    assert obeyed(ended.stdout.decode()) == []


def test_no_job_can_know_the_token():
    count = iter(range(100))
    fences = Fences("github", lambda: f"token{next(count)}", lambda: 0.0)
    assert fences.around("", b"::x") == Fence(b"::stop-commands::token0\n", b"::token0::\n")
    assert fences.around("", b"::x").before == b"::stop-commands::token1\n"
    assert fences.around("", b"nothing :: to see") == Fence()
    assert fences.around("", "\u3000\u00a0::x".encode()).before != b""
    folded = fences.around("t\n::error::", b"")
    assert folded == Fence(b"::group::t\\x0a::error::\n", b"::endgroup::\n")


def test_gitlab_folds_failed_jobs(run):
    jobs = "echo out; exit 3  # pqrun: id=bad\necho fine\n"
    out = run("-k", jobs=jobs, env={"GITLAB_CI": "true"}).stdout.decode()
    found = re.fullmatch(
        "\x1b\\[0Ksection_start:(\\d+):pqrun_1\\[collapsed=true\\]\r\x1b\\[0K"
        "bad failed: exit 3, try 1/1, \\d+ms\n"
        "out\n\x1b\\[0Ksection_end:\\d+:pqrun_1\r\x1b\\[0K\nfine\n",
        out,
    )
    assert found and int(found[1]) > 1_600_000_000


def test_none_means_none(run):
    jobs = "echo '::error::x'; exit 3\n"
    assert run("--ci", "none", jobs=jobs, env=GITHUB).stdout == b"::error::x\n"
    assert run(jobs=jobs).stdout == b"::error::x\n"


def test_what_we_quote_is_not_obeyed_either():
    assert harmless("    ::error::x\nfine :: here\n::y") == "    : :error::x\nfine :: here\n: :y"
    assert harmless("see ##[error]x") == "see ## [error]x"
    assert obeyed(harmless("  ::a\n##[b]")) == []
