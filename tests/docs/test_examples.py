# SPDX-License-Identifier: LGPL-3.0-or-later
"""The examples do what they say: with real programs where they are everywhere, else with stand-ins."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

from .pages import ROOT

EXAMPLES = ROOT / "examples"
SAYS = 'echo "$(basename "$0") $*" >> "$CALLS"\n'
ELSEWHERE = {  # tested beside what they show
    "crawler.py": "tests/integration/control/test_examples.py",
    "pqrun.service": "tests/integration/control/test_examples.py",
    "export_queue.py": "tests/unit/library/test_recipes.py",
    "dashboard.py": "tests/unit/library/test_recipes.py",
    "try_later.py": "tests/unit/library/test_recipes.py",
    "idempotent.py": "tests/unit/library/test_recipes.py",
    "alerts.yml": "tests/unit/reports/test_alerts.py",
    "github-workflow.yml": "tests/unit/reports/test_documents.py",
    "gitlab-ci.yml": "tests/unit/reports/test_documents.py",
    "nightly-backup.service": "tests/unit/reports/test_documents.py",
    "nightly-backup.timer": "tests/unit/reports/test_documents.py",
    "nightly.txt": "tests/docs/test_readme.py",
    "quickstart.yaml": "tests/docs/test_readme.py",
}


@pytest.fixture
def place(console):
    """The console, with the examples beside it and a way to put stand-ins for programs on its path."""
    shutil.copytree(EXAMPLES, console.directory / "examples")
    console.environment["CALLS"] = str(console.directory / "calls")

    def stand_in(script, *names):
        for name in names:
            path = console.directory / ".bin" / name
            path.write_text(f"#!/bin/sh\n{script}")
            path.chmod(0o755)

    console.stand_in = stand_in
    console.says = lambda name: (console.directory / name).read_text()
    return console


def states(place):
    """Of the latest run, by id."""
    return {job["id"]: job["state"] for job in json.loads(place.run("pqrun show --json"))["jobs"]}


def test_each_has_a_row_in_the_index_and_a_test():
    names = {path.name for path in EXAMPLES.iterdir()} - {"README.md", "__pycache__"}
    index = (EXAMPLES / "README.md").read_text()
    assert {name for name in names if f"]({name})" not in index} == set()
    tested = set(
        re.findall(r"examples/([a-z_-]+\.[a-z]+)", (ROOT / "tests" / "docs" / "test_examples.py").read_text())
    )
    assert names - tested - set(ELSEWHERE) == set()
    assert [
        name
        for name, test in ELSEWHERE.items()
        if name not in (ROOT / test).read_text() and "readme" not in test
    ] == []


@pytest.mark.slow
def test_archives_are_whole(place):
    for name in ("north", "south wing"):
        (place.directory / "projects" / name).mkdir(parents=True)
        (place.directory / "projects" / name / "plan").write_text(name)
    assert place.run("pqrun run -q examples/archives.yaml") == "2\n"
    with tarfile.open(place.directory / "archives" / "south wing.tar.gz") as archive:
        assert archive.getnames() == ["south wing", "south wing/plan"]


@pytest.mark.slow
def test_images_are_made_once(place):
    place.stand_in(SAYS + 'for last; do :; done; echo x > "$last"\n', "convert")
    (place.directory / "photos").mkdir()
    for name in ("a b.jpg", "c.jpg"):
        (place.directory / "photos" / name).write_text("")
    for _ in range(2):
        assert place.run("pqrun run -q examples/images.yaml") == ""
    calls = place.says("calls").splitlines()
    assert (
        len(calls) == 4 and "convert photos/a b.jpg -auto-orient -resize 300x300 out/thumb/a b.jpg" in calls
    )
    assert sorted(os.listdir(place.directory / "out" / "web")) == ["a b.jpg", "c.jpg"]


@pytest.mark.slow
def test_a_film_tells_how_far_it_is_and_half_a_film_is_none(place):
    place.stand_in("echo 10.0\n", "ffprobe")
    place.stand_in(
        'for last; do :; done; echo film > "$last"; echo out_time_us=5000000\n'
        'case "$*" in *broken*) exit 1;; esac\n', "ffmpeg"
    )  # fmt: skip
    (place.directory / "incoming").mkdir()
    for name in ("good.mkv", "broken.mkv"):
        (place.directory / "incoming" / name).write_text("")
    place.run("pqrun run -q --events events --output none examples/transcode.yaml")
    assert states(place) == {
        "film[FILM=incoming/broken.mkv]": "failed", "film[FILM=incoming/good.mkv]": "ok", "directory": "ok",
    }  # fmt: skip
    assert "good.mkv" in os.listdir(place.directory / "done")
    assert "broken.mkv" not in os.listdir(place.directory / "done")


@pytest.fixture
def server(place):
    """The address of the flaky server."""
    process = subprocess.Popen(
        [sys.executable, place.directory / "examples/flaky_server.py", "0"], stderr=subprocess.PIPE, text=True
    )
    yield process.stderr.readline().strip()
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_what_is_busy_is_asked_again_and_what_is_gone_is_not(place, server):
    (place.directory / "urls.txt").write_text(f"{server}a.txt\n{server}gone/b.txt\n")
    said = place.run("pqrun run --output none examples/downloads.yaml")
    assert place.says("files/a.txt") == "200 /a.txt\n"
    assert os.listdir(place.directory / "files") == ["a.txt"]
    jobs = {job["id"]: job for job in json.loads(place.run("pqrun show --json"))["jobs"]}
    busy, gone = (jobs[f"get[URL={server}{name}]"] for name in ("a.txt", "gone/b.txt"))
    assert (busy["state"], busy["attempts"]) == ("ok", 2), said
    assert (gone["state"], gone["attempts"], gone["message"]) == ("failed", 1, "the server answers 404")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_links_are_checked_once_each(place, server):
    (place.directory / "page.md").write_text(f"[a]({server}a) and {server}a, [b]({server}gone).\n")
    said = place.run("sh examples/linkcheck.sh page.md || echo exit $?")
    assert said.endswith("exit 1\n") and f"{server}gone" in said
    assert sorted(states(place).values()) == ["failed", "ok"]


@pytest.mark.slow
def test_who_pays_more_is_served_first(place):
    place.stand_in('echo "$1"\n', "invoice")
    shutil.copy(place.directory / ".bin" / "invoice", place.directory / "invoice")
    (place.directory / "orders.csv").write_text(
        "order,tier,name\n1,free,A\n2,gold,B\n3,silver,C\n4,,D\n5,gold,E\n"
    )
    assert (
        place.run("sh examples/customers.sh < orders.csv > list; pqrun run -q -j1 list") == "2\n5\n3\n4\n1\n"
    )


@pytest.mark.slow
def test_a_sweep_ends_in_a_table_and_does_nothing_twice(place):
    table = place.run("pqrun run -q examples/sweep.yaml").splitlines()
    assert (
        len(table) == 13 and "2.8,0.1,0.642857" in table and table == place.says("results.csv").splitlines()
    )
    assert len(os.listdir(place.directory / "results")) == 12
    parts = [
        place.run(f"pqrun run --dry-run examples/sweep.yaml --only experiment --shard {n}/3")
        for n in (1, 2, 3)
    ]
    assert sum(part.count("awk -v") for part in parts) == 12


@pytest.mark.slow
def test_dumps_never_ask_a_server_twice_at_a_time(place):
    place.stand_in(
        'mkdir "$CALLS.$2" || { echo "two at a time" >&2; exit 9; }\n' + SAYS
        + 'echo dump > "$6"; rmdir "$CALLS.$2"; test "$7" != crm\n', "pg_dump"
    )  # fmt: skip
    place.stand_in("exit 0\n", "pg_restore")
    said = place.run("pqrun run -q --retry-delay 0 examples/dumps.yaml --max-delay 0")
    assert "two at a time" not in said
    found = states(place)
    assert found.pop("north[DB=crm]") == "failed" and set(found.values()) == {"ok"}
    assert sorted(os.listdir(place.directory / "dumps")) == [
        "crm.part",
        "mail.dump",
        "shop.dump",
        "stock.dump",
        "wiki.dump",
    ]


@pytest.mark.slow
def test_checks_of_a_project_go_side_by_side_and_a_new_python_may_fail(place):
    place.stand_in(SAYS + 'case "$*" in *py3.15*) exit 1;; esac\n', "ruff", "mypy", "tox", "python3")
    assert place.run("pqrun run -q --show failed examples/ci.yaml && echo fine").endswith("fine\n")
    calls = place.says("calls").splitlines()
    assert (len(calls) == 11 and calls[-1] == "python3 -m build") or "py3.15" in calls[-1]


@pytest.mark.slow
def test_a_night_is_dumped_copied_and_checked_in_this_order(place):
    place.stand_in(SAYS, "pg_dump", "rsync", "ssh", "logger")
    assert place.run("pqrun run -q examples/nightly-backup.yaml") == ""
    assert [line.split()[0] for line in place.says("calls").splitlines()] == ["pg_dump", "rsync", "ssh"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["examples/limits.yaml", "examples/pipeline.yaml"])
def test_the_others_run(place, name):
    assert place.run(f"pqrun run -q --output none {name} && echo fine").endswith("fine\n")


CANT_BE_TRIED = {  # for other programs, or used by another example
    "README.md", "__pycache__", "try.sh", "flaky_server.py", "alerts.yml", "github-workflow.yml", "gitlab-ci.yml",
    "nightly-backup.service", "nightly-backup.timer", "pqrun.service",
}  # fmt: skip


@pytest.mark.slow
def test_examples_that_can_be_tried_are_listed(place):
    names = {path.stem for path in EXAMPLES.iterdir() if path.name not in CANT_BE_TRIED}
    listed = place.run("sh examples/try.sh").partition("one of: ")[2].split()
    assert set(listed) == names and len(listed) == len(names)
    said = place.run("sh examples/try.sh nonsense; echo exit $?")
    assert said.startswith("try.sh: no example `nonsense`; there are: quickstart ") and said.endswith(
        "exit 2\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_no_example_ends_in_failure_in_a_fresh_clone(place):
    place.environment["TMPDIR"] = str(place.directory)
    said = place.run("sh examples/try.sh all; echo exit $?")
    assert said.endswith("\nexit 0\n"), said[-2000:]
    heads = re.findall(r"^── ([a-z_-]+), in /", said, re.MULTILINE)
    assert sorted(heads) == sorted(path.stem for path in EXAMPLES.iterdir() if path.name not in CANT_BE_TRIED)
    assert "FAILED" not in said and "no broken links" in said and "invoice for order 1042" in said
