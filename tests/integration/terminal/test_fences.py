# SPDX-License-Identifier: LGPL-3.0-or-later
"""The marks around job output in CI logs, and that nothing in it is obeyed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from pqrun.output.ci_markers import CIFence, CIFences, neutralize_commands

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
    assert err == "", "the runner reads two streams, but knows one token"
    assert [re.sub(r"<?\d+ms$", "", command) for command in obeyed(out)] == [
        "::group::bad failed: exit 3, try 1/1, ",
        "::endgroup::",
    ]
    assert "a\n::error::forged\n  ::set-env name=x::y\nend ##[error]v1\n" in out
    assert "::warning::from a good job\n" in out
    assert "\nquiet\n" in out


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--output", "line"), ("--tag",), ("--tag", "--output", "line")])
def test_whatever_the_mode(run, options):
    jobs = "echo '::error::x'; sleep 0.1; echo ' ##[error]y' >&2; exit 1  # pqrun: id=::debug::\n" * 1
    ended = run(*options, jobs=jobs, env=GITHUB)
    commands = obeyed(ended.stdout.decode()) + obeyed(ended.stderr.decode())
    assert all(command.startswith(("::group::", "::endgroup::")) for command in commands)


@pytest.mark.slow
def test_a_long_output_is_fenced_unseen(run):
    jobs = "head -c 2000000 /dev/zero | tr '\\0' 'x'; echo; echo '::error::late'\n"
    ended = run(jobs=jobs, env=GITHUB)
    assert obeyed(ended.stdout.decode()) == []


def test_no_job_can_know_the_token():
    count = iter(range(100))
    fences = CIFences("github", lambda: f"token{next(count)}", lambda: 0.0)
    assert fences.around("", b"::x") == CIFence(b"::stop-commands::token0\n", b"::token0::\n")
    assert fences.around("", b"::x").before == b"::stop-commands::token1\n"
    assert fences.around("", b"nothing :: to see") == CIFence()
    assert fences.around("", "\u3000\u00a0::x".encode()).before != b""
    folded = fences.around("t\n::error::", b"")
    assert folded == CIFence(b"::group::t\\x0a::error::\n", b"::endgroup::\n")


def test_gitlab_folds_failed_jobs(run):
    jobs = "echo out; exit 3  # pqrun: id=bad\necho fine\n"
    out = run("-k", jobs=jobs, env={"GITLAB_CI": "true"}).stdout.decode()
    found = re.fullmatch(
        "\x1b\\[0Ksection_start:(\\d+):pqrun_([0-9a-f]{24})\\[collapsed=true\\]\r\x1b\\[0K"
        "bad failed: exit 3, try 1/1, <?\\d+ms\n"
        "out\n\x1b\\[0Ksection_end:\\d+:pqrun_\\2\r\x1b\\[0K\nfine\n",
        out,
    )
    assert found and int(found[1]) > 1_600_000_000


def test_none_means_none(run):
    jobs = "echo '::error::x'; exit 3\n"
    assert run("--ci", "none", jobs=jobs, env=GITHUB).stdout == b"::error::x\n"
    assert run(jobs=jobs).stdout == b"::error::x\n"


def test_what_we_quote_is_not_obeyed_either():
    assert neutralize_commands("    ::error::x\nfine :: here\n::y") == "    : :error::x\nfine :: here\n: :y"
    assert neutralize_commands("see ##[error]x") == "see ## [error]x"
    assert obeyed(neutralize_commands("  ::a\n##[b]")) == []


class Runner:
    """What GitHub's runner does: two readers, one queue of lines each, stderr first, in batches; one token.

    A line that begins with `::` (after white space) is a command, `##[` is one anywhere.
    """

    def __init__(self, random):
        self.random = random
        self.token = None
        self.obeyed = []

    def read(self, out, err):
        streams = [self.lines(err), self.lines(out)]
        while any(streams):
            for lines in streams:  # whatever has come by now of stderr, then of stdout
                for line in lines[: (batch := self.random.randint(1, 40))]:
                    self.line(line)
                del lines[:batch]
        assert self.token is None, "commands would stay stopped"
        return self.obeyed

    @staticmethod
    def lines(stream):
        return re.split("\r\n|\r|\n", stream.decode())

    def line(self, line):
        text = line.strip()
        if self.token is not None:
            if text == f"::{self.token}::":
                self.token = None
        elif match := re.match(r"::stop-commands::(.+)", text):
            self.token = match[1]
        elif text.startswith("::") or "##[" in text:
            self.obeyed.append(text)


EVIL = (
    "::error::forged", "  ::set-output name=x::y", "##[error]v1", "a ##[group]x", "::endgroup::", "::stop-commands::t",
    "::t::", "::add-mask::x", "plain", "no end##", "[error]x",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("options", [("-j4",), ("-j2", "--output", "line"), ("-j3", "--tag", "-k")])
def test_nothing_that_jobs_print_on_two_streams_is_obeyed(run, tmp_path, seed, options):
    random = Random(seed)
    jobs = ""
    for number in range(12):
        words = []
        for _ in range(random.randint(1, 8)):
            end = random.choice(["\\n", "\\n", "\\r", ""])
            stream = random.choice(["", " >&2"])
            words.append(f"printf '%s{end}' '{random.choice(EVIL)}'{stream}")
        jobs += "; ".join([*words, f"exit {random.choice([0, 0, 3])}"]) + f"  # pqrun: id=j{number}\n"
    ended = run(*options, jobs=jobs, env=GITHUB)
    obeyed = Runner(random).read(ended.stdout, ended.stderr)
    own = re.compile(
        r"::group::j\d+ failed: exit 3.*|::endgroup::|::error title=j\d+::exit 3: .*|::error title=pqrun.*"
    )
    assert [line for line in obeyed if not own.fullmatch(line)] == []
    failed = jobs.count("exit 3")
    assert sum(line.startswith("::error") for line in obeyed) == min(failed, 10), "our own are all obeyed"
    depth = 0
    for line in obeyed:
        depth += line.startswith("::group") - (line == "::endgroup::")
        assert depth in (0, 1), "folds are not mixed"
    run_id = next(path.name for path in Path(os.environ["PQRUN_STATE_DIR"], "runs").iterdir())
    logs = subprocess.run(
        [sys.executable, "-m", "pqrun", "logs", run_id],
        capture_output=True,
        env={**os.environ, **GITHUB},
        check=True,
    )
    assert Runner(random).read(logs.stdout, logs.stderr) == []
    assert b"forged" in logs.stdout or "forged" not in jobs


def test_the_document_on_stdout_is_the_same_and_tells_the_runner_nothing(run):
    ended = run("--json", jobs="echo '##[error]x'; exit 3\n", env=GITHUB)
    assert b"##[" not in ended.stdout
    assert json.loads(ended.stdout)["jobs"][0]["run"] == "echo '##[error]x'; exit 3"
