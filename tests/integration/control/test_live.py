# SPDX-License-Identifier: LGPL-3.0-or-later
"""Two terminals' worth: a run in one process, the commands that talk to it in others."""

import base64
import json
import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.process import PQRUN, environment

from pqrun.cli.job_messages import JOBS_PER_WAIT
from pqrun.cli.main import main
from pqrun.control.client import ControlClient


def lines(result):
    assert result.code == 0, result.err
    return result.out.split()


def clients_of(one) -> int:
    """How many are connected."""
    with open("/proc/net/unix") as file:
        return sum(line.rstrip().endswith(f"{one.directory}/control.sock") for line in file) - 1


@pytest.fixture
def here(monkeypatch, capfd, state):
    """`here(*words)` is the command in this process: for what is decided before a run is asked."""

    def command(*words):
        monkeypatch.setattr("sys.argv", ["pqrun", *words])
        monkeypatch.setenv("PQRUN_STATE_DIR", str(state))
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capfd.readouterr()

    return command


@pytest.mark.slow
def test_a_run_in_the_foreground_is_steered_from_another_terminal(live, gate, tmp_path):
    one = live("-j1", "-", input=f"{gate.wait}; echo first\necho second # pqrun: id=second\n")
    assert lines(one("add", "--id", "third", "-p", "high", "echo third")) == ["third"]
    table = one("ps").out.split("\n")
    assert table[0].split() == ["id", "state", "priority", "try", "time", "command"]
    assert [row.split()[:3] for row in table[1:4]] == [
        ["1", "running", "normal"], ["third", "queued", "high"], ["second", "queued", "normal"],
    ]  # fmt: skip
    assert table[4] == "1 running, 2 queued"
    assert one("set", "second", "-p", "critical").code == 0
    assert list(one.jobs()) == ["1", "second", "third"]
    assert one("ps", "--why", "third").out == "third: 1 job running, 1 job ahead in the queue\n"
    assert one("cancel", "third").code == 0
    assert one("cancel", "third").code == 1
    gate.open()
    assert one.end() == 1, "one was cancelled"
    assert one.said.read_text().count("second") > 0


@pytest.mark.slow
def test_the_estimated_end_is_known_by_earlier_runs(live, pqrun, until, tmp_path):
    path = tmp_path / "jobs.yaml"
    path.write_text("jobs:\n" + "".join(f"  {name}: sleep 0.4\n" for name in "abcdef"))
    assert pqrun("run", "-q", "-j6", str(path)).code == 0
    one = live("-j1", "--order", "longest-first", str(path))
    assert 0.4 < one.ask("info")["seconds_left"] < 3.0
    assert 0.1 < json.loads(one("ps", "--json").out)["seconds_left"] < 3.0
    one.ask("pause")
    until(lambda: one.ask("info")["seconds_left"] is None)


def test_commands_without_a_live_run_say_how_to_start_one(here, pqrun, state, monkeypatch):
    for words in (
        ["add", "true"],
        ["ps"],
        ["set", "-j2"],
        ["pause"],
        ["unpause"],
        ["cancel", "a"],
        ["wait"],
        ["stop"],
    ):
        assert here(*words) == (6, "", "pqrun: no run is live: `pqrun serve --detach` starts a queue\n"), (
            words
        )
    assert here("ps", "--run", "nothing")[0] == 6
    monkeypatch.setenv("PQRUN_SOCKET", f"{state}/nowhere")
    assert here("ps")[0] == 6
    assert pqrun("add", "true").code == 6


@pytest.mark.slow
def test_the_only_live_run_is_meant_or_one_has_to_be_named(queue, here, tmp_path, monkeypatch):
    one, two = queue(run="one"), queue(run="two")
    several = "pqrun: several runs are live (one, two): choose one with --run\n"
    assert here("pause") == (2, "", several)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()  # in which no run is recorded
    for name in ("one", "on", str(one.directory)):
        assert one.ask("unpause")["paused"] is False
        with ControlClient(name) as talk:
            talk.request("pause")
        assert one.ask("ps")["paused"] is True
    two.kill()
    with ControlClient() as talk:
        assert talk.request("info")["run"]["id"] == "one", "a socket is still there, but nobody listens"


@pytest.mark.slow
def test_wait_gives_an_exit_code_as_of_the_jobs(queue):
    one = queue("-j4")
    good, bad = one.add("true", "false")
    one.add("sleep 60", id="slow")
    assert one("wait", good).code == 0
    assert one("wait", good, bad).code == 1
    assert one("wait", "--timeout", "50ms", "slow").code == 3
    anyone = one("wait", "--any", "slow", good)
    assert (anyone.code, anyone.out) == (0, f"{good}\n")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(one, "wait")
        one.ask("cancel", jobs=["slow"])
        assert waiting.result().code in (0, 1), "it may have been over before"
    assert one("wait").code == 0, "nothing is left to wait for"


@pytest.mark.slow
def test_who_waits_in_a_run_that_is_stopped_is_told(queue, gate, until):
    one = queue("-j1")
    one.add(gate.wait, "true")
    with ThreadPoolExecutor() as pool:
        for_one, for_all = pool.submit(one, "wait", "1"), pool.submit(one, "wait")
        until(lambda: clients_of(one) == 2)
        stopped = one("stop")
        assert (stopped.code, "waiting for them" in stopped.err) == (0, True)
        assert one("add", "true").code == 6, "it takes no more"
        gate.open()
        assert for_one.result().code == 0
        assert for_all.result().code == 3
    assert one.end() == 3


@pytest.mark.slow
def test_stop_now_stops_what_runs_and_the_second_time_kills_it(queue, until):
    one = queue("-j1")
    one.add("trap '' TERM; echo deaf; while :; do sleep 0.05; done", grace=60)
    until(lambda: one.ask("output", job="1")["size"])
    assert one("stop", "--now").code == 0
    until(lambda: one.ask("ps")["stopping"])
    assert one("stop", "--now").code == 0
    assert one.end() == 3
    assert [(line["drain"], line["force"]) for line in one.events() if line.get("e") == "stop"] == [
        (False, False), (False, True),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_file_of_jobs_is_added_whole_and_a_full_queue_says_so(queue, tmp_path, gate):
    one = queue("-j1", "--max-queue", "3")
    one.add(gate.wait)
    (tmp_path / "jobs.yaml").write_text(
        "jobs:\n- {id: b, needs: [a], run: echo b}\n- {id: a, run: echo a, cwd: sub}\n"
    )
    assert lines(one("add", "-f", "jobs.yaml")) == ["a", "b"]
    jobs = {line["job"]["id"]: line["job"] for line in one.events() if line.get("e") == "add"}
    assert (jobs["a"]["cwd"], jobs["b"]["cwd"]) == (f"{tmp_path}/sub", str(tmp_path))
    full = one("add", "-f", "-", input="true\ntrue\n")
    assert (full.code, full.out, full.err) == (
        75,
        "",
        "pqrun: the queue is full (2 of 3): no room for 2 jobs\n",
    )
    assert lines(one("add", "-f", "jobs.yaml", "--if-absent")) == []
    with ThreadPoolExecutor() as pool:
        patient = pool.submit(one, "add", "-f", "-", "--wait", input="true\n" * 20)
        gate.open()
        assert lines(patient.result()) == [str(n) for n in range(4, 24)]
    assert one.ask("wait")["failed"] == 0


@pytest.mark.slow
def test_all_fields_of_a_job_can_be_given_as_options(queue, tmp_path):
    one = queue("--pool", "net=4")
    one.ask("pause")
    one.add("true", id="a")
    words = shlex.split(
        "--id x -p critical -t 1m --idle-timeout 5s --grace 2 --signal INT -r 3 --retry-delay 2s --max-delay 9s"
        " --backoff linear --factor 3 --jitter 0.5 --retry-on 5,timeout --permanent 7 --env A=1 --shell 'bash -c'"
        " --needs a,ended:a --slots 2 --pools net:2 --tags t,u --allow-failure --success-codes 0,4 --no-rerun"
        " --leftovers keep --creates f --stdin in -C sub"
    )
    assert lines(one("add", *words, "printf", "%s", "a b")) == ["x"]
    job = next(line["job"] for line in one.events() if line.get("e") == "add" and line["job"]["id"] == "x")
    retry = {"max": 3, "delay": 2.0, "max_delay": 9.0, "backoff": "linear", "factor": 3.0, "jitter": 0.5}
    assert {name: job[name] for name in job if name not in ("file", "line")} == {
        "id": "x", "run": "printf %s 'a b'", "priority": 3, "timeout": 60.0, "idle_timeout": 5.0, "grace": 2.0,
        "signal": "SIGINT", "retry": {**retry, "on": [5, "timeout"], "permanent": [7]}, "env": [["A", "1"]],
        "shell": ["bash", "-c"], "needs": [["a", "ok"], ["a", "ended"]], "slots": 2, "pools": [["net", 2]],
        "tags": ["t", "u"], "allow_failure": True, "success_codes": [0, 4], "rerun": False, "keep_leftovers": True,
        "creates": "f", "stdin": f"{tmp_path}/in", "cwd": f"{tmp_path}/sub",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["ping", "-t", "5", "host"], "ping -t 5 host"), (["--", "-x", "--help"], "-x --help"),
        (["-r", "2", "--", "env", "--", "a"], "env -- a"), (["-r2", "sh", "-c", "a b", "--id", "c"], "sh -c 'a b' --id c"),
        (["grep", "-f", "--run", "--wait"], "grep -f --run --wait"), (["-r2", "sleep 1; x -t"], "sleep 1; x -t"),
    ],
)  # fmt: skip
def test_options_end_at_the_first_word_of_the_command(queue, words, command):
    one = queue()
    one.ask("pause")
    assert lines(one("add", "-p", "low", *words)) == ["1"]
    (job,) = (line["job"] for line in one.events() if line.get("e") == "add")
    assert (job["run"], job["priority"], job.get("timeout")) == (command, 0, None)
    assert job.get("retry", {}).get("max", 0) == (2 if words[0].startswith("-r") else 0)


@pytest.mark.parametrize("words", [[""], [" \n\t"], ["", "x"], ["--", ""]])
def test_an_empty_command_is_called_so(here, words):
    assert here("add", *words) == (2, "", "pqrun: the command is empty: give a command to run\n")


@pytest.mark.parametrize(
    "words",
    [
        ["add"], ["add", "-f", "x", "true"], ["add", "--id", "", "true"], ["add", "--needs", "a,,b", "true"], ["set"],
        ["set", "a"], ["set", "-p", "low"], ["set", "a", "-p", "urgent"], ["set", "--pool", "net"], ["cancel"],
        ["wait", "--timeout", "soon"], ["add", "--pools", "net=x", "true"], ["set", "-j", "0"], ["serve", "--run", "a/b"],
        ["serve", "--json"], ["serve", "--no-journal"], ["serve", "--run", "latest"],
    ],
)  # fmt: skip
def test_wrong_usage_is_told_before_anything_is_done(here, words):
    code, out, err = here(*words)
    assert (code, out) == (2, "") and err


@pytest.mark.slow
def test_pause_and_unpause_hold_back_starts(queue, tmp_path):
    one = queue("-j1")
    assert one("pause").code == 0
    one.add("true")
    assert one("ps").out.split("\n")[-2] == "paused: no job starts until `pqrun unpause`"
    assert one("ps", "--why", "1").out == "1: the run is paused\n"
    assert one("unpause").code == 0
    assert one.ask("wait")["failed"] == 0


@pytest.mark.slow
def test_set_changes_the_runs_workers_and_pools(queue):
    one = queue("-j1")
    one.add("sleep 60", "sleep 60")
    assert sorted(one.states().values()) == ["queued", "running"]
    assert one("set", "-j4", "--pool", "net=1").code == 0
    assert set(one.states().values()) == {"running"}
    one.add("sleep 60", "sleep 60", pools={"net": 1})
    assert one.ask("ps", jobs=["4"], why=True)["why"] == {"4": "the pool `net` has 0 free, the job needs 1"}
    one.ask("pool", pool="net", size=2)
    assert set(one.states().values()) == {"running"}
    changes = [line for line in one.events() if line.get("e") in ("workers", "pool")]
    assert [(line["e"], line.get("workers") or line.get("size")) for line in changes] == [
        ("workers", 4), ("pool", 1), ("pool", 2),
    ]  # fmt: skip
    assert all(line["by"].startswith("pid ") for line in changes)


@pytest.mark.slow
def test_a_job_is_added_to_a_big_run_whose_jobs_count_for_no_bound(live, gate, tmp_path):
    jobs = [{"id": "first", "run": gate.wait}, *({"run": "true"} for _ in range(10_000))]
    (tmp_path / "big.json").write_text(json.dumps({"jobs": jobs}))
    one = live("-j1", "-q", "--max-queue", "2", "big.json")
    assert lines(one("add", "--priority", "critical", "--id", "urgent", "true")) == ["urgent"]
    assert lines(one("add", "--id", "late", "true")) == ["late"]
    full = one("add", "true")
    assert (full.code, full.err) == (75, "pqrun: the queue is full (2 of 2)\n")
    gate.open()
    assert one.ask("wait", jobs=["urgent"])["failed"] == 0
    assert [line["s"] for line in one.events() if line.get("e") == "start"][:2] == [1, 10_002]
    one.stop()


@pytest.mark.slow
def test_what_is_read_ahead_and_what_was_added_have_bounds_of_their_own(live, gate, until):
    one = live("-j1", "-q", "--max-queue", "3", "-", input=f"{gate.wait}\n" + "true\n" * 50)
    until(lambda: len(one.jobs()) == 4)
    assert one.add("true", "true", "true", id="") == ["5", "6", "7"]
    assert len(one.jobs()) == 7, "what was added is not read ahead, and the other way round"
    assert one("add", "true").code == 75
    gate.open()
    assert one.end() == 0


@pytest.mark.slow
def test_a_queue_that_comes_back_is_as_full_as_it_was(queue, gate):
    one = queue("-j1", "--max-queue", "2")
    one.add(gate.wait)
    one.add("true", "true")
    one.kill()
    one = queue()
    assert one("add", "true").err == "pqrun: the queue is full (2 of 2)\n"
    gate.open()
    assert one.ask("wait")["failed"] == 0


@pytest.mark.slow
def test_a_critical_job_behind_ten_thousand_low_ones_starts_in_the_next_free_slot(queue, gate, tmp_path):
    one = queue("-j1", "--max-queue", "20000", "-q")
    one.add(gate.wait)
    assert len(lines(one("add", "-f", "-", "-p", "low", input="true\n" * 10_000))) == 10_000
    one.add("true", id="urgent", priority="critical")
    gate.open()
    assert one.ask("wait", jobs=["urgent"])["failed"] == 0
    assert [line["s"] for line in one.events() if line.get("e") == "start"][:2] == [1, 10_002]
    assert one.ask("cancel", jobs=["all"])["count"] > 9000
    one.ask("wait")
    assert one("ps").out == "no unfinished jobs\n"


@pytest.mark.slow
def test_fifty_clients_at_once_lose_nothing(queue, tmp_path):
    one = queue("-j2", "-q")
    with ControlClient(str(one.directory)) as first:
        first.request("pause")

    def client(number):
        with ControlClient(str(one.directory)) as talk:
            return [
                talk.request(
                    "add", add=[{"run": f"echo {number}.{n} >> all", "cwd": str(tmp_path)}], wait=True
                )["ids"][0]
                for n in range(10)
            ]

    with ThreadPoolExecutor(50) as pool:
        ids = [job_id for each in pool.map(client, range(50)) for job_id in each]
    assert len(ids) == len(set(ids)) == 500
    one.ask("unpause")
    assert one.ask("wait")["failed"] == 0
    told = (tmp_path / "all").read_text().split()
    assert sorted(told) == sorted(f"{client}.{n}" for client in range(50) for n in range(10))


@pytest.mark.slow
def test_more_clients_than_there_may_be_come_again_until_they_are_served(queue, until):
    one = queue("-j1", "-q")
    one.add("sleep 60", id="long")
    with ThreadPoolExecutor(80) as pool:
        waiting = [pool.submit(one.ask, "wait", jobs=["long"]) for _ in range(80)]
        until(lambda: clients_of(one) >= 60)
        assert one.states() == {"long": "running"}
        one.ask("cancel", jobs=["long"])
        assert [done.result()["failed_ids"] for done in waiting] == [["long"]] * 80


@pytest.mark.slow
def test_a_job_adds_jobs_to_the_run_that_it_belongs_to(queue):
    one, other = queue("-j2"), queue(run="other")
    one.add(f"{shlex.join(PQRUN)} add --id child echo hello", id="parent")
    assert one.ask("wait")["failed"] == 0
    adds = {line["job"]["id"]: line["by"] for line in one.events() if line.get("e") == "add"}
    assert adds["child"] == "job parent" and adds["parent"].startswith("pid ")
    assert not [line for line in other.events() if line.get("e") == "add"]


@pytest.mark.slow
def test_what_a_running_job_prints_can_be_had_as_it_comes(queue, gate, until):
    one = queue("-j1", "-q")
    one.add(
        f"echo begun; echo wrong >&2; {gate.wait}; head -c 300000 /dev/zero | tr '\\0' x; {gate.wait}", id="a"
    )
    with ControlClient(str(one.directory)) as talk:

        def have(offset, stream=1):
            answer = talk.request("output", job="a", stream=stream, offset=offset)
            return answer, base64.b64decode(answer.get("data", ""))

        until(lambda: have(0)[1] == b"begun\n")
        until(lambda: have(0, stream=2)[1] == b"wrong\n")
        answer, data = have(3)
        assert (answer["state"], answer["attempt"], answer["size"], data) == ("running", 1, 6, b"un\n")
        assert have(1000)[1] == b""
        gate.open()
        until(lambda: have(0)[0]["size"] == 300_006)
        got = b""
        while len(got) < 300_006:
            got += have(len(got))[1]
        assert got == b"begun\n" + b"x" * 300_000
        gate.open()
        assert talk.request("wait", jobs=["a"])["failed"] == 0
        assert have(0)[0] == {"ok": True, "state": "ended"}


@pytest.mark.slow
def test_an_option_after_a_command_in_quotes_is_told_because_it_became_a_part_of_it(queue):
    one = queue()
    one.ask("pause")
    told = "pqrun: `--id` is a part of the command: options of `pqrun add` come before it\n"
    for words in (["sleep 9", "--id", "a"], ["sleep 9", "--id=a"]):
        assert one("add", *words).err == (told if words[1] == "--id" else told.replace("--id", "--id=a"))
    for words in (["make", "-j4", "--wait"], ["sleep 9"], ["my tool", "now"], ["--id", "b", "sleep 9"]):
        assert one("add", *words).err == ""


def test_ps_on_a_terminal_names_a_run_that_has_no_files(queue):
    one = queue()
    one.add(shlex.join([*PQRUN, "ps"]), id="ps", pty=True)
    assert one("wait", "ps").code == 0, one("logs", one.run, "ps").out
    plain = re.sub(r"\x1b\[[\d;]*m", "", one("logs", one.run, "ps").out)
    assert re.match(r"queue  runs for \S+\r?\n\r?\nid  state ", plain), plain


@pytest.mark.slow
def test_ps_watches_until_the_run_ends(live, gate):
    one = live("-j1", "-", input=f"{gate.wait}\n")
    watching = subprocess.Popen(
        [*PQRUN, "ps", "--watch"],
        stdout=subprocess.PIPE,
        env=environment(state=one.state),
        cwd=one.cwd,
        text=True,
    )
    assert watching.stdout.readline().split()[0] == "id"
    gate.open()
    rest = watching.stdout.read()
    assert (watching.wait(60), "1 running" in rest) == (0, True)
    watching.stdout.close()


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_trouble(queue):
    one = queue()
    one.ask("pause")
    one.add(*["true"] * 900)
    done = subprocess.run(
        f"{shlex.join(PQRUN)} ps | head -n 1",
        shell=True,
        capture_output=True,
        env=environment(state=one.state),
        cwd=one.cwd,
    )
    assert (done.stderr, done.stdout.count(b"\n")) == (b"", 1)


@pytest.mark.slow
def test_jobs_are_added_and_waited_for_also_if_nobody_reads_their_ids(queue, tmp_path):
    one = queue()
    reading, writing = os.pipe()
    os.close(reading)
    (tmp_path / "list").write_text("true\n" * (2 * JOBS_PER_WAIT + 1))
    more = {"stderr": subprocess.PIPE, "env": environment(state=one.state), "cwd": one.cwd, "timeout": 60}
    for words in ("add -f list --wait", "add --id fails false", "wait 1 --any", "ps --watch"):
        done = subprocess.run([*PQRUN, *words.split()], stdout=writing, **more)
        assert (done.returncode, done.stderr) == (0, b""), words
    assert subprocess.run([*PQRUN, "wait", "fails", "--any"], stdout=writing, **more).returncode == 1
    os.close(writing)
    assert one.ask("info")["metrics"]["jobs_enqueued"] == 2 * JOBS_PER_WAIT + 2


@pytest.mark.slow
def test_json_of_ps_is_one_document(queue):
    one = queue("-j1")
    one.add("sleep 60", id="a", tags=["x"])
    document = one("ps", "--json").document
    assert (document["schema"], document["run"]["id"], document["run"]["state"]) == (1, "queue", "live")
    assert (document["run"]["workers"], document["run"]["ended_at"], document["paused"]) == (1, None, False)
    assert document["metrics"]["active_workers"] == 1
    job = document["jobs"][0]
    assert {name: job[name] for name in ("id", "seq", "state", "run", "tags", "attempts")} == {
        "id": "a", "seq": 1, "state": "running", "run": "sleep 60", "tags": ["x"], "attempts": 1,
    }  # fmt: skip
    nobody = one("ps", "--json", "nobody")
    assert (nobody.code, json.loads(nobody.out)["jobs"]) == (1, [])


@pytest.mark.slow
def test_the_output_of_a_job_of_the_only_live_run_needs_no_name_of_the_run(queue, gate, until):
    one = queue("-j2")
    one.add("echo hello", id="greet")
    one.add("echo again", "true")
    one.ask("wait")
    assert one("logs", "greet").out == "hello\n"
    assert one("logs", "2").out == "again\n"
    assert one("logs", "greet", "2").out == "hello\nagain\n"
    assert one("logs", "queue", "greet").out == "hello\n"
    unknown = one("logs", "nobody")
    assert (unknown.code, unknown.err) == (2, "pqrun: no run `nobody` (`pqrun runs` lists them)\n")
    one.add(f"echo begun; {gate.wait}; echo ended", id="slow")
    until(lambda: one.states() == {"slow": "running"})
    gate.open()
    assert one("logs", "-f", "slow").out == "begun\nended\n"
    queue(run="other")
    assert one("logs", "greet").code == 2, "two runs are live"
    own = {"PQRUN_SOCKET": str(one.directory / "control.sock")}
    assert one("logs", "greet", env=own).out == "hello\n"
