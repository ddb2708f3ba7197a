# SPDX-License-Identifier: LGPL-3.0-or-later
"""`edit`: a job's command and fields, as the verb reads and replaces them, and as a file in an editor."""

import contextlib
import io
import shlex
from types import SimpleNamespace

import pytest
import yaml

from pqrun.cli import job_editor
from pqrun.cli.job_editor import _for_request, facts_from, text_of
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job import Command, JobSpec
from pqrun.input.jobfile.problems import JobFileError

from .door import Door


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path / "control.sock", slots=1)
    yield opened
    opened.close()


def test_the_fields_are_read_and_replaced_together(door):
    door.add("busy")
    door.add("a", timeout=60, priority="high", retries=2)
    was = door.ask("edit", id="a")["job"]
    assert was == {
        "run": "true", "priority": "high", "needs": [], "nice": None, "not_before": None, "timeout": 60,
        "idle_timeout": None, "grace": 5.0, "retries": 2,
    }  # fmt: skip
    wanted = {**was, "run": ["echo", "b c"], "timeout": None, "needs": [["busy", "ended"]], "priority": "low"}
    assert door.ask("edit", id="a", was=was, job=wanted)["job"] == wanted
    assert door.states() == {"busy": "running", "a": "pending"}
    again = door.ask("edit", id="a", was=was, job=was)
    assert again["error"] == "job `a` was changed meanwhile: edit it again"
    assert door.ask("edit", id="a", was=wanted, job=wanted)["changed"] is False


@pytest.mark.parametrize("run", ["echo \udcff", ["echo", "\udcff"]])
def test_a_command_that_is_not_utf8_is_refused_before_it_is_edited(door, run):
    door.add("busy", "a", run=run)
    assert door.ask("edit", id="a")["error"].startswith(
        "the command of job `a` is not UTF-8, so it can't be edited"
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"run": ""}, "the command is empty: give a command to run"),
        ({"run": []}, "not a job: its `run` is invalid"),
        ({"timeout": -1}, "not a job: its `timeout` is invalid"),
        ({"needs": ["nobody"]}, "the needed job `nobody` does not exist"),
        ({"needs": ["a"]}, "job `a` would need itself"),
        ({"cwd": "/"}, "`job` is an object with the fields of the answer"),
    ],
)
def test_a_wrong_value_changes_nothing(door, change, error):
    door.add("busy", "a")
    was = door.ask("edit", id="a")["job"]
    assert door.ask("edit", id="a", was=was, job={**was, **change})["error"] == error
    assert door.ask("edit", id="a")["job"] == was


@pytest.mark.parametrize("job", ["x", [], 5])
def test_a_job_that_is_no_object_is_refused(door, job):
    door.add("busy", "a")
    was = door.ask("edit", id="a")["job"]
    answer = door.ask("edit", id="a", was=was, job=job)
    assert (answer["error"], answer["code"]) == ("`job` is an object with the fields of the answer", 2)


def test_running_and_ended_jobs_are_refused_with_the_cure(door):
    door.add("a")
    running = "job `a` is running: `pqrun cancel` ends it, then add it anew"
    assert door.ask("edit", id="a")["error"] == running
    door.end("a")
    ended = "job `a` has ended: `pqrun restart` runs it again as it is, `pqrun add` adds another"
    assert door.ask("edit", id="a")["error"] == ended
    door.ask("add", add=[{"run": "true"}])
    door.end("2")
    assert door.ask("edit", id="2")["error"] == ended.replace("`a`", "`2`"), (
        "of a number nothing is remembered"
    )
    assert door.ask("edit", id="nobody")["error"] == "no unfinished job `nobody`: `pqrun ps` lists them"


FACTS = {
    "run": "echo a: b # c\nexit 1", "priority": "normal", "needs": [["x", "ok"], ["y", "failed"]], "nice": None,
    "not_before": 1800000000.5, "timeout": 90.0, "idle_timeout": None, "grace": 5.0, "retries": 0,
}  # fmt: skip


def test_the_file_says_what_the_job_is_and_what_it_could_have():
    text = text_of("a", FACTS)
    assert yaml.safe_load(text) == {
        "run": FACTS["run"], "priority": "normal", "needs": "x, failed:y", "not_before": "@1800000000", "timeout": 90.0,
        "grace": 5.0,
    }  # fmt: skip
    comments = [line for line in text.splitlines() if line.startswith("# ")][1:]
    assert comments == [
        "# nice: 5 (default: that of pqrun)", "# retries: 5 (default: 0)", "# idle_timeout: 2m (default: none)"
    ]  # fmt: skip
    found = facts_from("job.yaml", text.encode())
    assert found["run"] == FACTS["run"] and found["timeout"] == 90.0
    assert [tuple(need) for need in found["needs"]] == [("x", "ok"), ("y", "failed")]


def test_what_is_removed_from_the_file_gets_its_default():
    default = JobSpec("a", Command("x"))
    wanted = _for_request({"run": "x"}, FACTS)
    plain = {
        name: value
        for name, value in wanted.items()
        if name not in ("run", "priority", "needs", "retries", "nice")
    }
    assert plain == {name: getattr(default, name) for name in plain}
    assert (wanted["priority"], wanted["needs"], wanted["retries"], wanted["nice"]) == ("normal", [], 0, None)


@pytest.mark.parametrize(
    "run", ["true", "a: b", "# no", "'quoted'", "017", "no", "ü\t", " x ", ["a", "", "b c"], "x\n y\n"]
)
def test_every_command_comes_back_as_it_was(run):
    found = facts_from("job.yaml", text_of("a", {**FACTS, "run": run}).encode())
    assert found["run"] == (tuple(run) if isinstance(run, list) else run)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("run: x\ntimeuot: 3\n", "2:1", "unknown key `timeuot`"),
        ("run: x\ntimeout: soon\n", "2:10", "`timeout`: not a duration: `soon`"),
        ("- x\n", "1:1", "expected a map of fields, found a list"),
        ("timeout: 3\n", "1:1", "no command"),
        ("run: [\n", "2:1", ""),
    ],
)
def test_a_mistake_has_its_place(text, place, message):
    with pytest.raises(JobFileError) as wrong:
        facts_from("job.yaml", text.encode())
    assert str(wrong.value).startswith(f"job.yaml:{place}: error: {message}")


def editor(tmp_path, script: str) -> dict[str, str]:
    """An editor that does this with the file `$1`."""
    path = tmp_path / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"VISUAL": "", "EDITOR": shlex.quote(str(path))}


@pytest.mark.slow
def test_an_editor_changes_a_job_of_a_queue(queue, tmp_path):
    one = queue("-j1")
    one.ask("pause")
    one.add("echo one > out", id="a")
    change = editor(tmp_path, """sed -i 's/one/two/; s/^# timeout: .*/timeout: 10m/; s/normal/high/' "$1" """)
    changed = one("edit", "a", env=change)
    assert (changed.code, changed.err) == (0, "")
    [job] = one.ask("ps", jobs=["a"])["jobs"]
    assert (job["run"], job["timeout"], job["priority"]) == ("echo two > out", 600.0, "high")
    assert one("edit", "a", env=editor(tmp_path, "true")).err == "pqrun: nothing changed\n"
    failed = one("edit", "a", env=editor(tmp_path, "exit 3"))
    assert failed.code == 2 and "failed (exit 3): nothing changed" in failed.err
    typo = one("edit", "a", env=editor(tmp_path, """echo 'tiemout: 3' >> "$1" """))
    assert typo.code == 2
    assert "error: unknown key `tiemout`" in typo.err and "your text is in /" in typo.err
    one.ask("unpause")
    one.ask("wait")
    assert (one.cwd / "out").read_text() == "two\n"
    assert "has ended" in one("edit", "a").err


class Answers(io.StringIO):
    """A terminal's answers to questions."""

    def isatty(self) -> bool:
        return True


class Client:
    """A run that has the job of `FACTS`, and takes any change of it."""

    def __init__(self) -> None:
        self.taken: list[dict] = []

    def request(self, verb, **facts):
        if "job" in facts:
            self.taken.append(facts["job"])
        return {"job": FACTS}


@pytest.mark.parametrize("answer", ["\n", "n\n"])
def test_a_user_at_a_terminal_may_go_on_after_a_mistake(answer, monkeypatch, tmp_path):
    script = 'if [ -e tried ]; then sed -i "/oops/d; s/90.0/5m/" "$1"; else touch tried; echo "oops: 1" >> "$1"; fi'
    for name, value in editor(tmp_path, f"cd {shlex.quote(str(tmp_path))}; {script}").items():
        monkeypatch.setenv(name, value)
    screen, client = Answers(), Client()
    monkeypatch.setattr(job_editor, "sys", SimpleNamespace(stdin=Answers(answer), stderr=screen))
    if answer == "\n":
        assert job_editor.edit_job(client, "a") == 0
        assert client.taken == [{**FACTS, "timeout": 300.0}]
    else:
        with pytest.raises(JobFileError):
            job_editor.edit_job(client, "a")
        assert client.taken == []
    said = screen.getvalue()
    assert "error: unknown key `oops`" in said and said.endswith("Edit again? [Y/n] ")


@pytest.mark.parametrize(
    ("script", "error", "left"),
    [
        ("exit 3", UserError, None),
        ('rm "$1"', None, None),
        ('echo "run: other" > "$1"; exit 3', UserError, "run: other\n"),
        ('echo "run: other" > "$1"', InternalFailure, "run: other\n"),
    ],
)
def test_a_text_that_came_to_nothing_is_kept_and_nothing_else_is(
    script, error, left, monkeypatch, tmp_path, capfd
):
    class Gone(Client):
        def request(self, verb, **facts):
            if "job" in facts:
                raise InternalFailure("the run has ended")
            return super().request(verb, **facts)

    for name, value in editor(tmp_path, script).items():
        monkeypatch.setenv(name, value)
    places = tmp_path / "temporary"
    places.mkdir()
    monkeypatch.setattr(job_editor.tempfile, "tempdir", str(places))
    with contextlib.nullcontext() if error is None else pytest.raises(error):
        job_editor.edit_job(Gone(), "a")
    assert [path.read_text() for path in places.glob("*/*")] == ([] if left is None else [left])
    assert left is not None or list(places.iterdir()) == []
    assert ("your text is in" in capfd.readouterr().err) == (left is not None)
