# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands that are executed without a shell, against the same commands through one."""

import os
import subprocess
from random import Random

import pytest

from pqrun.executors.local.shell_bypass import ShellBypass

PROGRAMS = [
    "ls", "cat", "sleep", "env", "sort", "wc", "dirname", "basename", "tr", "expr", "seq", "date",
    "no-such-program", "/bin/echo", "/bin/ls", "/no/such/program", "./with-shebang", "./without-shebang",
    "./not-executable", "./bad-interpreter", "./folder", "sub/with-shebang", "with-shebang", "without-shebang",
    "not-executable", "only-later",
]  # fmt: skip
SHELLS = ["echo", "true", "false", "test", "[", "printf", "pwd", "kill", "type", "exit", ":", "cd", "export"]
ARGUMENTS = [
    "a",
    "0",
    "-l",
    "file",
    "./file",
    "--",
    "-x",
    "a=b",
    "+%Y",
    "1:2",
    "x@y",
    "a,b",
    "..",
    "no-such-file",
    "5",
]
TRICKY = [
    "$HOME",
    "*",
    "a;b",
    "'q'",
    '"q"',
    "`x`",
    "~",
    "#c",
    "a|b",
    "a&b",
    "{a,b}",
    "(x)",
    "a>b",
    "\\a",
    "!x",
    "?",
]


@pytest.fixture
def place(tmp_path):
    def write(path, text, mode=0o755):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    write(tmp_path / "with-shebang", "#!/bin/sh\necho shebang $0 $# $1; exit 3\n")
    write(tmp_path / "without-shebang", "echo no shebang $# $1; exit 4\n")
    write(tmp_path / "not-executable", "#!/bin/sh\necho never\n", 0o644)
    write(tmp_path / "bad-interpreter", "#!/no/such/interpreter\n")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "sub" / "with-shebang", "#!/bin/sh\necho sub $0; exit 5\n")
    write(tmp_path / "early" / "only-later", "#!/bin/sh\necho never\n", 0o644)
    write(tmp_path / "late" / "only-later", "#!/bin/sh\necho late\n")
    write(tmp_path / "file", "3\n1\n2\n", 0o644)
    return tmp_path


def commands(random):
    for _ in range(3000):
        program = random.choice(PROGRAMS + SHELLS)
        words = [program] + [random.choice(ARGUMENTS) for _ in range(random.randrange(4))]
        if program == "sleep":
            words = ["sleep", "0"]
        if random.random() < 0.2:
            words.append(random.choice(TRICKY))
        yield random.choice([" ", "  ", "\t"]).join(words) + random.choice(["", " "])


def paths(place):
    here = os.environ["PATH"]
    return [here, f"{place}:{here}", f"{place}/early:{place}/late:{here}", f":{here}", f"sub:{here}", ""]


def outcome(argv, executable, path, place):
    environment = {**os.environ, "PATH": path, "PWD": str(place), "LC_ALL": "C"}
    done = subprocess.run(
        argv, executable=executable, cwd=place, env=environment, capture_output=True, stdin=subprocess.DEVNULL,
        timeout=20,
    )  # fmt: skip
    # `env` tells its variables in the order in which it got them, which is nobody's promise.
    return done.returncode, sorted(done.stdout.split(b"\n")), done.stderr


@pytest.mark.slow
def test_a_command_without_a_shell_does_what_it_does_through_one(place):
    random = Random(7)
    direct, compared = ShellBypass(), set()
    for command in commands(random):
        path = random.choice(paths(place))
        words = direct.words(command, path, str(place))
        if words is None or "date" in command or (command, path) in compared or len(compared) > 700:
            continue
        compared.add((command, path))
        program = words[0]
        executable = program
        if "/" not in program:
            folders = [f"{folder}/{program}" for folder in path.split(":")]
            executable = next(found for found in folders if os.path.exists(found))
        alone = outcome(words, executable, path, place)
        assert alone == outcome(["/bin/sh", "-c", command], None, path, place), command
    assert len(compared) > 300


@pytest.mark.parametrize("word", SHELLS)
def test_what_a_shell_does_itself_goes_through_a_shell(word):
    assert ShellBypass().words(f"{word} a", os.environ["PATH"], "/") is None


@pytest.mark.parametrize("word", TRICKY)
def test_what_means_something_to_a_shell_goes_through_a_shell(word):
    assert ShellBypass().words(f"ls {word}", os.environ["PATH"], "/") is None


@pytest.mark.parametrize(
    "command", ["a=b ls", "ls\nls", "", "  ", "-x", "A=1", "./without-shebang", "./bad-interpreter"]
)
def test_what_only_a_shell_can_run_goes_through_a_shell(command, place):
    assert ShellBypass().words(command, os.environ["PATH"], str(place)) is None
