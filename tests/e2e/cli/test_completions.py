# SPDX-License-Identifier: LGPL-3.0-or-later
"""The completions that come with the program: what is in the files, and what real shells make of them."""

import importlib.util
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATIENCE = 20.0


def load_generator():
    spec = importlib.util.spec_from_file_location("completions", ROOT / "docs" / "completions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(tmp_path):
    """A home of its own, with a `pqrun` on its path and two runs in its state directory."""
    program = tmp_path / "bin" / "pqrun"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from pqrun.cli.main import entry\nentry()\n"
    )
    program.chmod(0o755)
    env = {
        "HOME": str(tmp_path), "PATH": f"{program.parent}:{os.environ['PATH']}", "TERM": "dumb", "LANG": "C.UTF-8",
        "PQRUN_STATE_DIR": str(tmp_path / "state"),
    }  # fmt: skip
    lines = "true # pqrun: id=only-job\n"
    subprocess.run(
        [program, "run", "-q"], input=lines.encode(), env=env, cwd=tmp_path, check=True, timeout=60
    )
    return env


class Shell:
    """An interactive shell in a terminal of its own."""

    def __init__(self, argv, env, directory):
        self.shown = b""
        pid, self.fd = pty.fork()
        if pid == 0:
            try:
                os.chdir(directory)
                os.execvpe(argv[0], argv, env)
            finally:
                os._exit(127)
        self.pid = pid

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, text):
        """Reads until that is shown."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self.shown:
            assert time.monotonic() < end, self.shown.decode("utf-8", "replace")
            if select.select([self.fd], [], [], 0.2)[0]:
                self.shown += os.read(self.fd, 65536)

    def close(self):
        os.kill(self.pid, 9)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize(("name", "shell"), load_generator().FILES.items())
def test_the_files_are_what_the_program_prints(name, shell):
    generator = load_generator()
    assert (generator.DIRECTORY / name).read_text() == generator.script(shell)


def shell_for(name, env, tmp_path):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    files = ROOT / "completions"
    if name == "bash":
        (tmp_path / "rc").write_text(f"PS1='ready '\nsource {files}/pqrun.bash\n")
        return Shell(["bash", "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"], env, tmp_path)
    if name == "zsh":
        rc = f"PS1='ready '\nfpath=({files} $fpath)\nautoload -Uz compinit; compinit -u -D\n"
        (tmp_path / ".zshrc").write_text(rc)
        return Shell(["zsh", "-d", "-i"], {**env, "ZDOTDIR": str(tmp_path)}, tmp_path)
    start = f"function fish_prompt; echo 'ready '; end; source {files}/pqrun.fish"
    return Shell(["fish", "--no-config", "-i", "-C", start], env, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_the_first_tab_completes_commands_runs_and_jobs(name, environment, tmp_path):
    (run,) = (tmp_path / "state" / "runs").iterdir()
    shell = shell_for(name, environment, tmp_path)
    try:
        shell.until("ready ")
        shell.type("pqrun unp\t")
        shell.until("pqrun unpause")
        shell.type(f"\x15pqrun show {run.name[:3]}\t")
        shell.until(f"show {run.name}")
        shell.type(f"\x15pqrun logs {run.name} only\t")
        shell.until("only-job")
    finally:
        shell.close()


@pytest.mark.slow
def test_fish_completes_commands_runs_and_jobs(environment, tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    (run,) = (tmp_path / "state" / "runs").iterdir()

    def completed(line):
        ask = f"source {ROOT}/completions/pqrun.fish; complete --do-complete '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", ask], env=environment, cwd=tmp_path, capture_output=True, timeout=60
        )
        return [line.split("\t")[0] for line in done.stdout.decode().splitlines()]

    assert completed("pqrun unp") == ["unpause"]
    assert completed(f"pqrun show {run.name[:3]}") == [run.name]
    assert completed(f"pqrun logs {run.name} only") == ["only-job"]
