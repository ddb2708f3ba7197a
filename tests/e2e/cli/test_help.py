# SPDX-License-Identifier: LGPL-3.0-or-later
"""The short help, the whole help, and what a wrong command line is told."""

import os
import re
import shlex

import pytest

from pqrun.cli.commands import MODULES, find_command
from pqrun.cli.commands.check_init_schema import EXAMPLE
from pqrun.cli.fast_parser import read
from pqrun.cli.short_help import DAILY, DAILY_OF, MAX_OPTIONS
from pqrun.core.text import command_words

COMMANDS = [find_command(name) for name in MODULES]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_examples_that_can_be_typed(command):
    assert command.examples
    for example in command.examples:
        words = shlex.split(example)
        if "|" in words:
            words = words[words.index("|") + 1 :]
        if ">" in words:
            words = words[: words.index(">")]
        assert words[:2] == ["pqrun", command.name], example
        assert read(command, words[2:], {}) is not None, example


def test_daily_options_are_options_of_run_in_the_order_of_their_use():
    assert next(iter(DAILY)) == "jobs" and DAILY.keys() <= find_command("run").options.keys()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_short_help_has_the_options_that_are_special_to_a_command_or_choose_among_many(command):
    chosen = DAILY_OF.get(command.name)
    assert chosen is not None or len(command.options) <= MAX_OPTIONS
    assert set(chosen or ()) <= command.options.keys()


@pytest.mark.slow
def test_the_short_help_of_a_command_is_enough_to_begin_with_it(pqrun):
    needed = {
        "each": (":::", "{} the argument", "{.} without", "{n} the n-th"),
        "resume": ("--failed ", "up to N jobs: 4, 50%, +1 or auto\n"),
        "serve": ("--detach ", "--run NAME", "--max-queue N"),
        "add": ("--id ID", "--retries N", "--timeout DUR", "--tags WORD"),
    }
    for name, parts in needed.items():
        out = pqrun(name, "-h").out
        assert [part for part in parts if part not in out] == [], out
    assert "--keep-order" not in pqrun("serve", "-h").out, "a queue refuses it"


@pytest.mark.slow
def test_the_whole_help_shows_examples_as_they_are_typed_and_breaks_lines_only_at_its_width(pqrun):
    assert r"printf 'make a\nmake b\n' | pqrun run -j4" in pqrun("help", "run").out
    placeholders = pqrun("help", "each", env={"COLUMNS": "80"}).out.partition("Placeholders")[2]
    lines = [line.strip() for line in placeholders.partition("worker.")[0].split("\n")]
    assert len(lines) > 3 and all(len(line) > 60 for line in lines[1:-1]), lines


@pytest.mark.slow
def test_the_short_help_is_short_and_the_whole_help_names_everything(pqrun):
    short, whole = pqrun("-h"), pqrun("--help")
    assert (short.code, whole.code) == (0, 0) and len(short.out.split("\n")) < len(whole.out.split("\n")) / 2
    assert all(re.search(rf"^│ {name} ", whole.out, re.M) for name in MODULES)
    assert pqrun("help").out == whole.out
    for name in ("run", "ps"):
        assert pqrun("help", name).out == pqrun(name, "--help").out
        short = pqrun(name, "-h")
        assert short.code == 0 and f"Usage: pqrun {name} " in short.out and f"pqrun help {name}" in short.out
        assert all(example in short.out for example in find_command(name).examples)


@pytest.mark.slow
def test_the_whole_help_names_the_variable_beside_its_option(pqrun):
    text = " ".join(re.sub(r"[│\s]+", " ", pqrun("run", "--help").out).split())
    for variable in ("PQRUN_JOBS", "PQRUN_POOL", "PQRUN_KEEP_ORDER", "PQRUN_TIMEOUT"):
        assert f"[env var: {variable}]" in text


@pytest.mark.slow
def test_workers_and_jobs_are_one_option_and_so_are_pool_and_pools(run):
    for words in (["--workers", "2"], ["--jobs", "2"], ["-j2"]):
        assert run("--json", *words, lines=["true"]).document["run"]["workers"] == 2
    lines = ["true # pqrun: pools=net"]
    for word in ("--pool", "--pools"):
        assert run(word, "net=1", lines=lines).code == run(word, "net:1", lines=lines).code == 0


@pytest.mark.slow
def test_wrong_usage_is_told_as_all_errors_are(pqrun):
    told = {
        ("run", "--tiemout", "5m"): "pqrun: no such option: --tiemout\n  hint: did you mean ",
        ("run", "--timeout", "soon"): "pqrun: --timeout: not a duration: `soon`\n  hint: write seconds",
        ("run", "--only"): "pqrun: option '--only' requires an argument\n  hint: all options: pqrun help run\n",
        ("resume",): "pqrun: missing argument 'RUN'\n  hint: for the latest run: pqrun resume latest; all options: ",
        ("help", "nosuch"): "pqrun: no such command 'nosuch'\n  hint: all commands: pqrun help\n",
        ("ps", "--why", "a", "--json"): "pqrun: --why prints why one job waits: give no other option or JOB\n",
        ("set",): "pqrun: nothing to set: give jobs and an option, or -j, or --pool\n  hint: all options: pqrun help set\n",
        ("set", "x"): "pqrun: give an option that changes the jobs, such as --priority\n",
        ("set", "--pool", "g=0"): "pqrun: --pool: out of range: `0` (write a number from 1 to 1,000,000)\n",
        ("show", "--json", "--extract", "x", "--jsonl"): "pqrun: give --json or --jsonl, not both\n",
        ("nosuch",): "pqrun: no such command 'nosuch'",
        ("/dev/null",): "pqrun: no such command '/dev/null'\n  hint: all commands: pqrun help\n",
        (__file__,): f"pqrun: no such command '{__file__}'\n  hint: to run a file: pqrun run {__file__}\n",
        ("add",): "pqrun: give a command, or a file with -f\n  hint: all options: pqrun help add\n",
    }  # fmt: skip
    for words, begin in told.items():
        done = pqrun(*words)
        assert (done.code, done.out) == (2, "") and done.err.startswith(begin), done
        assert "╭" not in done.err and "\x1b" not in done.err
    coloured = pqrun("run", "--color", "always", "--tiemout").err
    assert "\x1b[1;31merror:\x1b[0m" in coloured and "\x1b[32m  hint:" in coloured
    assert "\x1b" not in pqrun("run", "--color", "never", "--tiemout", env={"FORCE_COLOR": "1"}).err


def test_init_prints_the_example_where_a_dash_is_the_file(pqrun, tmp_path):
    done = pqrun("init", "-")
    assert (done.code, done.out, done.err, list(tmp_path.iterdir())) == (0, EXAMPLE, "", [])


@pytest.mark.slow
def test_init_says_what_it_wrote_and_the_schema_that_it_names_is_there(pqrun, tmp_path):
    done = pqrun("init", cwd=tmp_path)
    assert done.code == 0 and "wrote jobs.yaml, and pqrun.schema.json" in done.out
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", (tmp_path / "jobs.yaml").read_text())[1]
    assert (tmp_path / named).read_text() == pqrun("schema").out
    for words in (command_words("check", "jobs.yaml"), command_words("run", "jobs.yaml")):
        assert " ".join(words) in done.out and pqrun(*words[1:], cwd=tmp_path).code == 0
    (tmp_path / named).write_text("mine")
    assert pqrun("init", "other.yaml", cwd=tmp_path).code == 0 and (tmp_path / named).read_text() == "mine"


@pytest.mark.slow
def test_an_exported_bash_function_that_is_not_found_is_told_how_it_is(pqrun):
    env = {"BASH_FUNC_greet%%": "() { echo hello; }", "PATH": os.environ["PATH"]}
    done = pqrun("each", "--no-journal", "greet", ":::", "1", env=env)
    assert "`greet` is an exported bash function" in done.err and "--shell 'bash -c'" in done.err
    done = pqrun("each", "--no-journal", "--shell", "bash -c", "greet", ":::", "1", env=env)
    assert (done.code, done.out) == (0, "hello\n")
    assert "exported" not in pqrun("each", "--no-journal", "nosuch", ":::", "1", env=env).err
