# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page about tuning names commands, numbers and presets that exist."""

import json
import re

import pytest

from pqrun import Config
from pqrun.cli.settings import PRESETS
from pqrun.core.metrics import Metrics
from pqrun.core.values import duration

from .pages import page

PAGE = page("tuning.md")
COMMANDS = sorted(set(re.findall(r"^\| `(pqrun [^`]+)` \|", PAGE, re.MULTILINE)))
FIELDS = {"active_workers", "workers", "memory_peak_bytes"}  # of a run and of a job, beside its metrics


@pytest.mark.slow
def test_each_command_to_look_at_works_on_a_live_queue(console):
    console.run("pqrun serve --detach -j2 --pool gpu=1")
    try:
        console.run("pqrun add --id bad 'echo broken; exit 3'")
        console.run("pqrun wait bad")
        for name in ("JOB", "other"):
            console.run(f"pqrun add --id {name} --pools gpu 'sleep 600'")
        assert len(COMMANDS) >= 7
        for command in COMMANDS:
            given = command.replace("RUN", "queue").replace("COMMAND", "true")
            printed = console.run(f"{given}; echo exit $?")
            assert printed.endswith("exit 0\n"), f"$ {given}\n{printed}"
        assert console.run("pqrun logs queue state:failed") == "broken\n"
        assert "workers" in json.loads(console.run("pqrun show queue --json"))["run"]
    finally:
        console.run("pqrun stop --now")


def test_the_numbers_to_look_for_are_there():
    named = set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`", PAGE))
    assert len(named) > 10 and named - set(Metrics._fields) - FIELDS == set()
    assert '"memory_peak_bytes"' in page("schema/document.json")


def test_the_presets_are_those_of_the_command_line_and_of_the_library():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\w+) \|", PAGE, re.MULTILINE)
    shown = {name: (workers, int(queue), duration(limit)) for name, workers, queue, limit in rows}
    assert shown == PRESETS
    for name, (workers, queue, limit) in shown.items():
        config = getattr(Config, name)()
        assert (config.max_workers, config.max_queue_size, config.default_timeout) == (
            int(workers), queue, limit,
        )  # fmt: skip
