# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every command that prints what others wrote, in a terminal: nothing of it reaches the terminal as a command."""

import json
import os
import re
import signal
import sys

import pytest

from .conftest import ROOT, Terminal

EVIL = "\x1b]0;owned\x07\x1b[5;5H\x1b[?1049h\x9b2J\x1b(0\u202e"
SIGNS = ["\x1b]", "\x07", "\x1b[5;5H", "\x1b[?1049h", "\x9b", "\x1b(0", "\u202e"]
PRINTF = "printf '" + "".join(f"\\{byte:03o}" for byte in EVIL.encode()) + "\\n'"
JOBS = (
    f"{PRINTF}; {PRINTF} >&2; exit 3  # pqrun: id=prints\n"
    f"echo '{EVIL}'; exit 4\n"
    f'{PRINTF} | sed "s/^/message=/" > $PQRUN_REPORT; exit 5  # pqrun: id=reports\n'
    f"cd '/no/{EVIL}' && true\n"
    f"true  # pqrun: id=lost cwd=/no/such/dir\n"
)
JSON = json.dumps({"jobs": [{"id": "a", "run": f"echo '{EVIL}'"}, "false", ["false", EVIL]]})
BAD = f"jobs:\n- {{run: 'true', tiemout: \"x\"}} # {EVIL}\n- {{id: 'x', needs: ['{EVIL}']}}\n"
BAD_VALUES = (
    r'jobs: [{id: "\e]0;owned\a", run: "true", needs: ["\e]0;owned\a"]}, {run: "true", "\e]0;owned\a": 1}]'
)
STREAM = f"true\ntrue # pqrun: {EVIL}=3\n"


@pytest.fixture
def window(tmp_path):
    """`window(*arguments)`: pqrun in a window, to its end; what it has written."""
    (tmp_path / "list").write_text(JOBS)
    (tmp_path / f"list{EVIL}").write_text("true\nfalse\n")
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "values.yaml").write_text(BAD_VALUES)
    (tmp_path / "stream").write_text(STREAM)
    (tmp_path / "jobs.json").write_text(JSON)

    def open_window(*arguments):
        argv = [sys.executable, "-m", "pqrun", *arguments]
        terminal = Terminal(argv, 100, 40, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
        try:
            terminal.finish()
        finally:
            terminal.close()
        assert_harmless(terminal, arguments)
        return terminal

    return open_window


def assert_harmless(terminal, arguments):
    """What the terminal was given has nothing in it of what others wrote and a terminal would obey."""
    text = terminal.raw.decode("utf-8", "replace")
    found = [text[max(0, text.index(sign) - 80) :][:200] for sign in SIGNS if sign in text]
    assert not found, f"{arguments}: {found}"
    assert terminal.titles == []


RUNS = [
    ("run", "list", "-j1"),
    ("run", "list", "-j1", "--output", "line", "--progress", "plain", "-v"),
    ("run", "list", "-j1", "--pty"),
    ("run", "list", "-j1", "--pty", "--output", "line", "--progress", "plain", "-v"),
    ("run", "list", "-j1", "--progress", "none", "--tag", "-k"),
    ("run", "list", "--dry-run"),
    ("run", "list", "--ci", "gitlab"),
    ("run", "list", "--ci", "github"),
    ("run", "list", "--json"),
    ("run", "list", "--joblog", "-", "-q"),
    ("run", "list", "--summary", "-", "-q"),
    ("run", "list", "--events", "-", "-q"),
    ("run", "list", "--junit", "-", "-q"),
    ("run", "list", "--html", "-", "-q"),
    ("run", f"list{EVIL}"),
    ("run", f"list{EVIL}", "--dry-run"),
    ("run", f"no{EVIL}"),
    ("run", "stream"),
    ("run", "bad.yaml"),
    ("run", "values.yaml"),
    ("run", "jobs.json"),
    ("run", "list", "-C", f"/no/{EVIL}"),
    ("run", "list", "--joblog", f"/no/{EVIL}"),
    ("run", "list", "--on-finish", f"{PRINTF} > /dev/null; exit 3"),
    ("run", "list", "--only", EVIL),
    ("run", "list", "--shell", EVIL),
    ("each", "echo", ":::", EVIL, "--dry-run"),
    ("each", "echo", ":::", EVIL),
    ("each", "--dry-run", "echo", ":::", EVIL),
    ("check", "bad.yaml"),
    ("check", "values.yaml"),
    ("check", "jobs.json"),
    ("check", f"no{EVIL}"),
    ("show", EVIL),
    ("logs", EVIL),
    ("ps", "--run", EVIL),
]


def plain(arguments):
    return re.sub(r"[^ -~]+", "?", " ".join(arguments))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", RUNS, ids=plain)
def test_no_command_lets_through_what_would_steer_the_terminal(window, arguments):
    window(*arguments)


PAST = [
    ("runs",), ("show", "latest"), ("show", "latest", "-v"), ("show", "latest", "--json"), ("show", "latest", "--jsonl"),
    ("show", "latest", "--joblog", "-"), ("show", "latest", "--summary", "-"), ("show", "latest", "--junit", "-"),
    ("show", "latest", "--events", "-"), ("show", "latest", "--metrics", "-"), ("show", "latest", "--trace", "-"),
    ("logs", "latest"), ("logs", "latest", "-f"), ("logs", "latest", EVIL),
    ("resume", "latest", "--failed", "--dry-run"), ("resume", "latest", "--failed"), ("prune", "--all", "--dry-run"),
    ("run", "list", "--dry-run", "--resume", "latest"),
]  # fmt: skip


@pytest.mark.slow
def test_no_command_about_a_past_run_does(window):
    window("run", "list")
    for arguments in PAST:
        window(*arguments)


@pytest.mark.slow
def test_no_command_about_a_live_run_does(window, tmp_path, until):
    os.mkfifo(tmp_path / "go")
    jobs = f"{PRINTF}; {PRINTF} | sed 's/^/status=/' > $PQRUN_REPORT; read x < go # pqrun: id=waits\necho {EVIL}\n"
    (tmp_path / "live").write_text(jobs)
    argv = [sys.executable, "-m", "pqrun", "run", "live", "-j1", "--run-dir", f"record{EVIL}"]
    live = Terminal(argv, 100, 40, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    try:
        live.until_shown("^C stop")
        record = f"./record{EVIL}"
        for arguments in (
            ("ps",), ("ps", "--json"), ("ps", "--why", "2"), ("ps", EVIL), ("add", "--id", "b", f"echo {EVIL}"),
            ("cancel", EVIL), ("set", EVIL, "--priority", "high"), ("add", "--needs", EVIL, "true"),
            ("logs",), ("show",), ("run", "live", "--run-dir", record),
        ):  # fmt: skip
            named = () if arguments[0] == "run" else ("--run", record)
            if arguments[0] in ("logs", "show"):
                arguments, named = (arguments[0], record, *arguments[1:]), ()
            words = (*arguments[:1], *named, *arguments[1:])
            window(*words)
        os.kill(live.pid, signal.SIGUSR1)
        live.until(lambda: b"running" in live.raw)
        with (tmp_path / "go").open("w") as pipe:
            pipe.write("\n")
        live.finish()
    finally:
        live.close()
    assert_harmless(live, argv)
