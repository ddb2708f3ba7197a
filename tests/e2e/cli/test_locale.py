# SPDX-License-Identifier: LGPL-3.0-or-later
"""What came in as bytes goes out as the same bytes, in every locale."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LOCALES = {"de_DE.ISO-8859-1": ("de_DE", "ISO-8859-1"), "ja_JP.EUC-JP": ("ja_JP", "EUC-JP")}
UTF8 = "é日"
# Of UTF-8, of no encoding, and two that the C library and Python read differently in EUC-JP.
BYTES = [UTF8.encode(), b"\xe9\xff\x80", b"\xa1\xc1\x8f\xa2\xb7", b"a\xe4\xb6"]


@pytest.fixture(scope="session")
def locales(tmp_path_factory):
    """Where the locales are; they are made for these tests, since few systems still have them."""
    if shutil.which("localedef") is None:
        pytest.skip("there is no localedef to make locales with")
    directory = tmp_path_factory.mktemp("locales")
    for name, (input, charmap) in LOCALES.items():
        words = ["localedef", "-c", "-i", input, "-f", charmap, str(directory / name)]
        made = subprocess.run(words, capture_output=True, check=False)
        if not (directory / name).is_dir():
            pytest.skip(f"the locale {name} can't be made: {made.stderr.decode('utf-8', 'replace')}")
    return directory


@pytest.fixture(params=LOCALES)
def locale(request, locales):
    """Variables for a program in that locale, in which Python would read names otherwise."""
    env = {"LC_ALL": request.param, "LOCPATH": str(locales)}
    code = "import sys; print(sys.getfilesystemencoding())"
    told = subprocess.check_output([sys.executable, "-c", code], env={**os.environ, **env})
    if told == b"utf-8\n":
        pytest.skip(f"this system has no locale {request.param}")
    return env


def octets(out):
    """What `od -An -tx1` has printed."""
    return bytes.fromhex("".join(out.split()))


def test_commands_reach_the_shell_as_they_were_written(run, locale):
    for data in BYTES:
        done = run("-q", input=b"printf %s '" + data + b"' | od -An -tx1\n", env=locale)
        assert (done.code, octets(done.out)) == (0, data)


def test_arguments_name_the_files_that_were_found(pqrun, locale, tmp_path):
    names = [os.fsencode(tmp_path) + b"/" + data for data in BYTES]
    others = {data.decode("latin-1").encode() for data in BYTES}  # what they would become
    for name in [*names, *(os.fsencode(tmp_path) + b"/" + data for data in others)]:
        open(name, "wb").close()
    done = pqrun("each", "-q", "-0", "rm {}", input=b"\0".join(names), env=locale)
    assert done.code == 0, done.err
    assert not any(map(os.path.exists, names))
    assert set(os.listdir(os.fsencode(tmp_path))) >= others


def test_words_of_the_command_line_reach_jobs_unchanged(surroundings, locale, tmp_path):
    for data in BYTES:
        words = ["each", "-q", "--env", b"V=" + data, 'printf %s {} "$V" | od -An -tx1', ":::", data]
        out = subprocess.check_output(
            [sys.executable, "-m", "pqrun", *words], env={**surroundings, **locale}, cwd=tmp_path
        )
        assert octets(out.decode()) == data * 2


def test_a_job_file_means_the_same_everywhere(pqrun, locale, tmp_path):
    (tmp_path / UTF8).mkdir()
    (tmp_path / UTF8 / "in-é").write_text("read\n")
    long = f"printf {UTF8} | od -An -tx1; : " + "x" * 200_000
    jobs = [
        {"run": ["printf", "%s\n", UTF8], "cwd": UTF8},
        {"run": "cat; echo $V; basename $(pwd)", "cwd": UTF8, "stdin": "in-é", "env": {"V": UTF8}},
        {"run": "cat", "stdin": f"{UTF8}\nsecond"},
        {"run": long},
        {"run": "echo never", "creates": f"{UTF8}/in-é"},
    ]
    (tmp_path / f"{UTF8}.yaml").write_text(json.dumps({"jobs": jobs}))
    done = pqrun("run", "-q", "-k", "-j1", f"{UTF8}.yaml", env=locale)
    assert done.code == 0, done.err
    first, _, octal = done.out.partition(" c3")
    assert first == f"{UTF8}\nread\n{UTF8}\n{UTF8}\n{UTF8}\nsecond"
    assert octets("c3" + octal) == UTF8.encode()
    inside = pqrun("each", "-q", "-C", UTF8, "pwd", ":::", "-P", env=locale)
    assert inside.out == f"{tmp_path}/{UTF8}\n"


def test_what_was_begun_in_one_locale_goes_on_in_another(pqrun, run, locale, tmp_path):
    for before, after in ((locale, {"LC_ALL": "C.UTF-8"}), ({"LC_ALL": "C.UTF-8"}, locale)):
        record = tmp_path / f"run-{len(before)}"
        failing = b"printf %s 'x" + BYTES[1] + b"' | od -An -tx1; test -e " + os.fsencode(record) + b"/go\n"
        assert run("-q", "--run-dir", record, input=failing, env=before).code == 1
        (record / "go").touch()
        done = pqrun("resume", "-q", record, "--failed", env=after)
        assert (done.code, octets(done.out)) == (0, b"x" + BYTES[1])


def test_added_jobs_are_the_same_in_the_queues_locale(surroundings, locale, tmp_path, until):
    for theirs, ours in ((locale, {"LC_ALL": "C.UTF-8"}), ({"LC_ALL": "C.UTF-8"}, locale)):
        record = tmp_path / f"queue-{len(theirs)}"
        words = [sys.executable, "-m", "pqrun"]
        common = {"cwd": tmp_path, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
        served = subprocess.Popen(
            [*words, "serve", "-q", "--run-dir", record], env={**surroundings, **theirs}, **common
        )
        try:
            until(lambda: (record / "control.sock").exists())  # noqa: B023
            command = b"printf %s '" + BYTES[1] + b"' | od -An -tx1"
            for verb in (["add", command], ["wait", "1"], ["stop"]):
                more = [verb[0], "--run", str(record), *verb[1:]]
                done = subprocess.run([*words, *more], env={**surroundings, **ours}, check=False, **common)
                assert done.returncode == 0, done.stderr
        except BaseException:
            served.terminate()
            raise
        finally:
            out, err = served.communicate(timeout=60)
        assert (served.returncode, octets(out.decode())) == (0, BYTES[1]), err


def test_a_program_with_a_queue_passes_on_what_it_was_given(surroundings, locale, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "from pqrun import Job, Queue\n"
        "with Queue(lambda context, job: None) as queue:\n"
        "    for given in (sys.argv[1], os.fsdecode(os.fsencode(sys.argv[1]))):\n"
        "        jobs = [Job.shell(['printf', '%s', given]), Job.shell('printf %s \"$V\"', env={'V': given}),\n"
        "                Job.shell('pwd', cwd=given), Job.shell(\"printf %s '\" + given + \"'\"),\n"
        "                Job.shell('true', id='\\u6f22\\u0416')]\n"
        "        for handle in queue.enqueue_many(jobs):\n"
        "            sys.stdout.buffer.write(handle.result(30).stdout + b'\\n')\n"
    )
    # What Python itself can't give back, of its own `sys.argv`, no library can pass on.
    of_japan = "JP" in locale["LC_ALL"]
    for data in (b"\xa5\xc6",) if of_japan else (BYTES[0], b"\xe9\xff\x80"):
        (tmp_path / os.fsdecode(data)).mkdir()
        out = subprocess.check_output(
            [sys.executable, program, data], env={**surroundings, **locale}, cwd=tmp_path, timeout=60
        )
        where = os.fsencode(tmp_path) + b"/" + data + b"\n"
        assert out == (data + b"\n" + data + b"\n" + where + b"\n" + data + b"\n\n") * 2


def test_texts_of_another_machine_are_utf8_in_any_locale(surroundings, locale, tmp_path):
    program = tmp_path / "launch.py"
    program.write_text(
        "import os, sys\n"
        "from pqrun.executors.dask.worker_plugin import _as_they_came as encode\n"
        "from pqrun.executors.local.command import CommandBuilder\n"
        "from pqrun.core.job import Attempt, AttemptId, Command, JobSpec\n"
        "text = sys.stdin.buffer.read().decode('utf-8', 'surrogateescape')\n"
        "here = os.getcwd()\n"
        "commands = CommandBuilder(run_id='r', directory=here, workspace=here, token='t', encode=encode)\n"
        "work = Command(f\"pwd; cat; printf %s '{text}' \\\"$V\\\"\", cwd=text, stdin='in', env=(('V', text),))\n"
        "attempt = Attempt(AttemptId(1, 1), JobSpec(text, work), 1)\n"
        "pid = commands.spawn(attempt, commands.member(attempt, 1), ())\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    pytest.importorskip("distributed", reason="Dask is not installed (the extra `dask`)")
    for data in (BYTES[0], BYTES[1]):
        directory = Path(tmp_path / os.fsdecode(data))
        directory.mkdir()
        (directory / "in").write_text("read\n")
        out = subprocess.check_output(
            [sys.executable, program], input=data, env={**surroundings, **locale}, cwd=tmp_path, timeout=60
        )
        assert out == os.fsencode(directory) + b"\nread\n" + data * 2


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="there is no /proc here")
@pytest.mark.parametrize("given", [{}, {"LC_CTYPE": "C"}, {"LANG": "C"}, {"LC_CTYPE": "C.UTF-8"}], ids=str)
def test_jobs_get_the_callers_locale_and_not_what_python_makes_of_it(surroundings, tmp_path, given):
    names = ("LC_CTYPE", "LC_ALL", "LANG")
    env = {name: value for name, value in surroundings.items() if name not in names}
    out = subprocess.check_output(
        [sys.executable, "-m", "pqrun", "each", "-q", "env", ":::", "LAST=1"],
        env={**env, **given}, cwd=tmp_path, text=True,
    )  # fmt: skip
    found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    assert {name: found[name] for name in names if name in found} == given
