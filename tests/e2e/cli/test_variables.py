# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which variables reach a job, and `$NAME` in the values of a job file."""

import json
import os
import subprocess
import sys

import pytest

TOLD = {
    "PQRUN", "PQRUN_RUN_ID", "PQRUN_JOB_ID", "PQRUN_SEQ", "PQRUN_SLOT", "PQRUN_ATTEMPT", "PQRUN_MAX_ATTEMPTS",
    "PQRUN_PRIORITY", "PQRUN_SOCKET", "PQRUN_REPORT", "PQRUN_STATE_DIR", "PQRUN_TREE", "PQRUN_POOL_NET",
}  # fmt: skip
OPTIONS = {
    "PQRUN_SHARD": "1/2", "PQRUN_RUN_DIR": "record", "PQRUN_JOBS": "1", "PQRUN_QUIET": "1", "PQRUN_ANYTHING": "x",
}  # fmt: skip


@pytest.fixture
def run_file(pqrun, tmp_path):
    """`run_file(text)` runs a job file: its output."""

    def run_file(text, *options, code=0, **more):
        (tmp_path / "jobs.yaml").write_text(text)
        done = pqrun("run", "-q", "-k", *options, "jobs.yaml", **more)
        assert done.code == code, done.err
        return done.out

    return run_file


# What they set


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("TIMEOUT", "soon", "not a duration: `soon`\n  hint: write seconds, or a value such as"),
        ("QUIET", "maybe", "not true or false: `maybe`\n  hint: write 1 or 0"),
    ],
)
def test_a_wrong_value_is_reported_with_the_variable_that_has_it(run, name, value, error):
    done = run(lines=["true"], env={f"PQRUN_{name}": value})
    assert (done.code, done.err[: len(error) + len(name) + 15]) == (2, f"pqrun: PQRUN_{name}: {error}")
    told = {"POOL": "a", "SHELL": "'x"}
    for name, value in told.items():
        assert run(lines=["true"], env={f"PQRUN_{name}": value}).err.startswith(f"pqrun: PQRUN_{name}: ")
    option = run("--timeout", "soon", lines=["true"], env={"PQRUN_JOBS": "2"})
    assert option.err.startswith("pqrun: --timeout: not a duration: `soon`\n")


# What is handed on


@pytest.mark.slow
def test_of_variables_of_pqruns_own_a_job_gets_those_that_are_documented(run):
    lines = ["env | grep -a ^PQRUN | cut -d= -f1 # pqrun: id=outer pools=net"]
    done = run("-q", "--pool", "net=1", lines=lines, env={**OPTIONS, "PQRUN_SHARD": "1/1"})
    assert set(done.out.split()) == TOLD


@pytest.mark.slow
def test_options_of_a_run_are_not_those_of_a_pqrun_in_its_jobs(pqrun, tmp_path):
    (tmp_path / "inner").write_text("".join(f"echo {n}\n" for n in range(20)))
    (tmp_path / "jobs.yaml").write_text("jobs:\n  - {id: a, run: pqrun run -q -k inner}\n")
    (tmp_path / "pqrun").write_text('#!/bin/sh\nexec "$PYTHON" -m pqrun "$@"\n')
    (tmp_path / "pqrun").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    found = []
    for part in ("1/2", "2/2"):
        done = pqrun("run", "jobs.yaml", env={**OPTIONS, "PQRUN_SHARD": part, "PATH": path, "PYTHON": sys.executable,
                                              "PQRUN_RUN_DIR": f"record-{part[0]}"})  # fmt: skip
        assert done.code == 0, done.err
        found += done.out.split()
    assert found == [str(n) for n in range(20)]


@pytest.mark.slow
def test_one_that_is_named_reaches_the_job(run, run_file):
    assert run("-q", "--env", "PQRUN_JOBS=3", lines=["echo $PQRUN_JOBS"]).out == "3\n"
    assert run_file('env: {PQRUN_JOBS: "4"}\njobs: ["echo $PQRUN_JOBS"]\n') == "4\n"


@pytest.mark.slow
def test_a_hook_gets_no_option_either(run, tmp_path):
    done = run(
        "-q",
        "--on-finish",
        "env | grep -a ^PQRUN_ > hook; true",
        lines=["true"],
        env=OPTIONS | {"PQRUN_SHARD": "1/1"},
    )
    assert done.code == 0
    found = {line.partition("=")[0] for line in (tmp_path / "hook").read_text().splitlines()}
    assert "PQRUN_STATUS" in found and "PQRUN_STATE_DIR" in found and not found & OPTIONS.keys()


# What `$NAME` stands for


@pytest.mark.slow
def test_a_path_in_front_of_the_callers(run_file, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "our-tool").write_text("#!/bin/sh\necho ours, ${PATH##*/bin:}\n")
    (tmp_path / "bin" / "our-tool").chmod(0o755)
    text = f'env: {{PATH: "{tmp_path}/bin:$PATH"}}\njobs: [our-tool, "our-tool;", {{run: [our-tool]}}]\n'
    assert run_file(text, env={"PATH": "/usr/bin:/bin:/end"}) == "ours, /end\n" * 3


@pytest.mark.slow
def test_a_share_of_a_pool(run_file):
    text = """\
pools: {gpu: [a, b]}
jobs:
  - {run: 'echo "$CUDA_VISIBLE_DEVICES"', pools: {gpu: 2}, env: {CUDA_VISIBLE_DEVICES: "${PQRUN_POOL_GPU}"}}
"""
    assert run_file(text) == "a,b\n"


@pytest.mark.slow
def test_every_form_and_what_stays_as_it_is(run_file):
    values = {
        "A": "$X", "B": "${X}y", "C": "$$X $$$$", "D": "[$NOT_SET][${NOT_SET}]", "E": "$(date) ${X:-z} $1 $ 5$",
        "F": "$PQRUN_JOB_ID-$PQRUN_ATTEMPT", "G": "$Xy", "PWD": "$X", "PQRUN_JOB_ID": "$X",
    }  # fmt: skip
    expected = ["x", "xy", "$X $$", "[][]", "$(date) ${X:-z} $1 $ 5$", "1-1", "", None, "1"]
    run = ["printenv", *[name for name in values if name != "PWD"]]
    text = json.dumps({"env": values, "jobs": [{"run": run}]})
    assert run_file(text, env={"X": "x"}).splitlines() == [value for value in expected if value is not None]


@pytest.mark.slow
def test_what_comes_from_elsewhere_is_literal(run_file):
    text = """\
jobs:
  - run: 'echo "$INHERITED $GIVEN $M $USED"'
    matrix: {M: ["$X"]}
    env: {USED: "$INHERITED $GIVEN $M"}
"""
    found = run_file(text, "--env", "GIVEN=pa$$word", env={"INHERITED": "$HOME", "X": "x"})
    assert found == "$HOME pa$$word $X $HOME pa$$word $X\n"


@pytest.mark.slow
def test_a_value_goes_over_that_of_the_layer_below(run_file):
    text = """\
env: {P: "top:$P", Q: "${R}q"}
defaults: {env: {P: "default:$P"}}
jobs:
  - {run: 'echo "$P $Q"', env: {P: "own:$P", R: "r"}}
  - 'echo "$P $Q"'
"""
    assert run_file(text, env={"P": "caller"}) == "own:default:top:caller rq\ndefault:top:caller q\n"
    literal = run_file(text, "--env", "P=$lit")
    assert literal == "own:$lit rq\n$lit q\n"


@pytest.mark.slow
def test_others_of_the_same_job_whatever_their_order_and_rings(run_file):
    text = """\
env: {A: "a$B", B: "b$C", C: c, D: "d$E", E: "e$D"}
jobs: ['echo "$A $B $C $D $E"']
"""
    assert run_file(text, env={"D": "0", "E": "1"}) == "abc bc c de0 e0\n"


@pytest.mark.slow
def test_long_chains_and_those_that_grow_without_bound(run_file, pqrun):
    chain = {f"V{n}": f"$V{n + 1}" for n in range(3000)} | {"V3000": "end"}
    assert run_file(json.dumps({"env": chain, "jobs": ["echo $V0"]})) == "end\n"
    bomb = {f"B{n}": f"$B{n + 1}" * 2 for n in range(60)} | {"B60": "boom"}
    run_file(json.dumps({"env": bomb, "jobs": ["echo $B59"]}), code=1)
    layers = {"env": {"A": "$A" * 9999}, "defaults": {"env": {"A": "$A" * 9999}}, "jobs": ["true"]}
    run_file(json.dumps(layers), code=2)
    document = pqrun("show", "--json").document
    assert document["jobs"][0]["exit"] == 126 and "too long" in document["jobs"][0]["message"]


def test_bytes_that_are_no_text_stay_as_they_are(pqrun, tmp_path):
    (tmp_path / "jobs.yaml").write_text('jobs: [{run: "printenv USED", env: {USED: "é$RAW"}}]\n')
    done = subprocess.run([sys.executable, "-m", "pqrun", "run", "-q", "jobs.yaml"], cwd=tmp_path, capture_output=True,
                          env={**os.environb, b"RAW": b"\xff\xe9"})  # fmt: skip
    assert done.stdout == "é".encode() + b"\xff\xe9\n", done.stderr


# Where jobs have been elsewhere before


@pytest.mark.slow
def test_it_is_kept_for_a_resume_and_expanded_anew(pqrun, run_file):
    text = """\
jobs:
  - run: 'test -e go && echo "$A $B"'
    env: {A: "a-$CALLER", B: "b-$PQRUN_ATTEMPT"}
"""
    run_file(text, code=1, env={"CALLER": "first"})
    done = pqrun("resume", "latest", "--failed", "-q", "--shell", "/bin/sh -c 'touch go; eval \"$0\"'",
                 env={"CALLER": "second"})  # fmt: skip
    assert done.out == "a-second b-2\n", done.err


@pytest.mark.slow
def test_a_value_of_the_resumes_command_line_is_literal(pqrun, run_file):
    run_file('jobs: [{run: "echo $A; false", env: {A: "$CALLER"}}]', code=1, env={"CALLER": "x"})
    assert (
        pqrun("resume", "latest", "--failed", "-q", "--env", "A=$CALLER", env={"CALLER": "x"}).out
        == "$CALLER\n"
    )


# What `check` says


def test_check_warns_of_names_that_are_not_set(pqrun, tmp_path):
    (tmp_path / "jobs.yaml").write_text("""\
pools: {net: 1}
env:
  A: "$HOME $NOWHERE"
jobs:
  - {run: "true", pools: {net: 1}, env: {B: "$A $PQRUN_POOL_NET ${PQRUN_JOBS} $M"}, matrix: {M: [a, b]}}
  - {run: "true", env: {C: "$PQRUN_POOL_NET $$NOT $C"}}
""")
    done = pqrun("check", "jobs.yaml", env={"HOME": "/", "PQRUN_JOBS": "3"})
    assert done.code == 0
    said = [line for line in done.err.splitlines() if "warning" in line]
    assert said == [
        "jobs.yaml:3:6: warning: `$NOWHERE` is not set, so it is empty in `A`",
        "jobs.yaml:5:45: warning: `$PQRUN_JOBS` is not set, so it is empty in `B`",
        "jobs.yaml:6:28: warning: `$PQRUN_POOL_NET` is not set, so it is empty in `C`",
        "jobs.yaml:6:28: warning: `$C` is not set, so it is empty in `C`",
    ]
