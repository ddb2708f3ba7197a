# SPDX-License-Identifier: LGPL-3.0-or-later
"""The package: what is in it, and that it runs from an empty environment with the lowest versions it allows."""

import email
import os
import pty
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

from .lowest import PROJECT, lowest
from .pages import ROOT

IN_CI = "CI" in os.environ
FOR_DEVELOPERS = {"test", "lint"}
SHARED = {
    "share/bash-completion/completions/pqrun": "completions/pqrun.bash",
    "share/zsh/site-functions/_pqrun": "completions/_pqrun",
    "share/fish/vendor_completions.d/pqrun.fish": "completions/pqrun.fish",
    "share/man/man1/pqrun.1": "docs/pqrun.1",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source archive, and the wheel that is made of it, as an installer would."""
    directory = tmp_path_factory.mktemp("dist")
    _python("-m", "hatchling", "build", "-t", "sdist", "-d", directory, cwd=ROOT)
    (archive,) = directory.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(directory, filter="data")
    _python("-m", "hatchling", "build", "-t", "wheel", "-d", directory, cwd=directory / archive.name[:-7])
    (wheel,) = directory.glob("*.whl")
    return archive, wheel


def _python(*words, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """`installed(*extras)` installs the wheel with the lowest dependencies; the environment's directory."""
    directory = tmp_path_factory.mktemp("installed") / "env"
    venv.create(directory, with_pip=True)

    def install(*extras):
        what = f"{built[1]}[{','.join(extras)}]" if extras else str(built[1])
        words = [
            directory / "bin" / "python",
            "-m",
            "pip",
            "install",
            "-q",
            "--no-input",
            what,
            *lowest(*extras),
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=100)
        if done.returncode and not IN_CI:
            pytest.skip(f"pip cannot install here: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
        return directory

    return install


@pytest.mark.slow
def test_the_source_archive_is_complete_and_the_wheel_has_the_program_alone(built):
    archive, wheel = built
    with tarfile.open(archive) as opened:
        sources = {name.partition("/")[2] for name in opened.getnames()}
    tracked = {
        str(path.relative_to(ROOT))
        for top in ("pqrun", "tests", "examples", "completions", "docs")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tracked - sources == set()
    files = zipfile.ZipFile(wheel).namelist()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "pqrun").rglob("*.py")}
    page = {str(path.relative_to(ROOT)) for path in (ROOT / "pqrun" / "reports" / "page").iterdir()}
    shared = {name.partition(".data/data/")[2]: name for name in files if ".data/data/" in name}
    assert modules | page <= set(files) and shared.keys() == SHARED.keys()
    assert {name for name in files if not name.startswith(("pqrun/", "pqrun_cli-"))} == set()
    for name, source in SHARED.items():
        assert zipfile.ZipFile(wheel).read(shared[name]) == (ROOT / source).read_bytes()


@pytest.mark.slow
def test_extras_are_declared_and_one_is_all_of_them(built):
    _, wheel = built
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(opened.read(name))
    extras = set(metadata.get_all("Provides-Extra"))
    for_users = extras - FOR_DEVELOPERS - {"all"}
    assert for_users >= {"top", "metrics", "stats"}
    assert extras == set(PROJECT["optional-dependencies"])
    assert PROJECT["optional-dependencies"]["all"] == [f"pqrun-cli[{','.join(sorted(for_users))}]"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [extra for extra in extras if f"`{extra}`" not in contributing] == []


@pytest.mark.slow
def test_it_runs_from_an_empty_environment_with_the_lowest_versions(installed, tmp_path):
    environment = installed()
    assert [name for name in SHARED if not (environment / name).exists()] == []
    home = {
        "PATH": f"{environment / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PQRUN_STATE_DIR": str(tmp_path / "s"),
    }

    def pqrun(*words, input=""):
        done = subprocess.run(
            ["pqrun", *words], env=home, cwd=tmp_path, input=input, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    assert pqrun("--version")[1].startswith("pqrun ")
    code, out, err = pqrun("run", "-k", str(ROOT / "examples" / "quickstart.yaml"))
    assert (code, out) == (0, "hello\n1\n2\n3\nword one\nword two\n"), err
    assert pqrun("each", "-q", "echo {}", ":::", "a b")[:2] == (0, "a b\n")
    assert pqrun("show")[0] == pqrun("schema")[0] == 0
    assert pqrun("show", "--html", "page.html")[0] == 0 and (tmp_path / "page.html").stat().st_size > 50_000
    needed = pqrun("run", "--metrics", "x.prom", input="true\n")
    assert needed[0] == 2 and "pqrun-cli[metrics]" in needed[2]
    installed("metrics", "stats", "top")
    home["PQRUN_JOBS"] = "3"
    assert '"workers": 3' in pqrun("run", "--metrics", "x.prom", "--json", input="true\n")[1]
    assert "pqrun_jobs " in (tmp_path / "x.prom").read_text()
    assert "pqrun top" in _seen_on_a_terminal(["pqrun", "top", "latest"], home, leave=b"q")


def _seen_on_a_terminal(words, environment, *, leave):
    """What it draws until it is told to leave."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words,
        env={**environment, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while True:
            seen += os.read(ours, 65536)
            if b"latest" in seen or b"ended" in seen:
                os.write(ours, leave)
    except OSError:  # nobody holds the other end any more
        process.wait(timeout=30)
    finally:
        process.kill()
        os.close(ours)
    return seen.decode("utf-8", "replace")
