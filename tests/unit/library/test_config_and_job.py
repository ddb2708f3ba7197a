# SPDX-License-Identifier: LGPL-3.0-or-later
"""What may be in a config and in a job, and that a wrong field is named."""

import math

import pytest

from pqrun import Config, Job, Priority
from pqrun.core.job import Command

NOT_COUNTS = (0, -1, 1.5, "3", None, True)
NOT_SECONDS = (-1, -0.001, math.nan, math.inf, "3", True)


def test_the_three_sizes_are_those_that_are_promised():
    sizes = [
        (c.max_workers, c.max_queue_size, c.default_timeout)
        for c in (Config.small(), Config.medium(), Config.large())
    ]
    assert sizes == [(2, 100, 300), (10, 1000, 1800), (50, 10_000, 3600)]
    assert Config() == Config.medium()
    assert Config().enable_metrics is True


@pytest.mark.parametrize("value", NOT_COUNTS)
@pytest.mark.parametrize("field", ["max_workers", "max_queue_size"])
def test_a_config_has_at_least_one_worker_and_room_for_one_job(field, value):
    with pytest.raises(ValueError, match=f"^{field}: "):
        Config(**{field: value})


@pytest.mark.parametrize("value", NOT_SECONDS)
@pytest.mark.parametrize("field", ["default_timeout", "retry_delay", "max_delay", "grace"])
def test_times_of_a_config_are_seconds(field, value):
    with pytest.raises(ValueError, match=f"^{field}: "):
        Config(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("enable_metrics", 1),
        ("enable_metrics", "yes"),
        ("backoff", "quadratic"),
        ("backoff", None),
        ("grace", None),
        ("retry_delay", None),
    ],
)
def test_other_fields_of_a_config_are_looked_at_too(field, value):
    with pytest.raises(ValueError, match=f"^{field}: "):
        Config(**{field: value})


def test_a_config_may_do_without_a_limit():
    assert Config(default_timeout=None).default_timeout is None
    assert Config(default_timeout=0).default_timeout == 0


def test_a_config_can_not_be_changed():
    with pytest.raises(AttributeError):
        Config().max_workers = 3


def test_a_job_without_an_id_gets_one_of_its_own():
    ids = {Job().id for _ in range(100)}
    assert len(ids) == 100 and "" not in ids


def test_a_job_as_it_is_made():
    job = Job("export-1", priority=Priority.HIGH, payload=[1, 2], max_retries=3, timeout=7200)
    assert (job.id, job.priority, job.payload, job.max_retries, job.timeout) == (
        "export-1", Priority.HIGH, [1, 2], 3, 7200,
    )  # fmt: skip
    assert (job.submitted_at, job.retry_count) == (None, 0)
    assert (Job().priority, Job().max_retries, Job().timeout, Job().payload) == (
        Priority.NORMAL,
        0,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("id", value) for value in ("x" * 201, "a\nb", "\x1b[31m", 7, None)),
        *(("priority", value) for value in (4, -1, "high", None)),
        *(("max_retries", value) for value in (-1, 1.0, "1", None, True, False, 1_000_001)),
        *(("timeout", value) for value in NOT_SECONDS),
    ],
)
def test_a_wrong_field_of_a_job_is_named(field, value):
    with pytest.raises(ValueError, match=f"^{field}: "):
        Job(**{field: value})


def test_a_priority_may_be_given_as_its_number():
    assert Job(priority=3).priority is Priority.CRITICAL


def test_a_shell_job_is_a_job_with_a_command_for_a_payload(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Job.shell("make test", "check", cwd="sub", env={"A": "1"}, timeout=5, max_retries=1)
    assert job.payload == Command("make test", cwd=str(tmp_path / "sub"), env=(("A", "1"),))
    assert (job.id, job.timeout, job.max_retries) == ("check", 5, 1)
    assert Job.shell(["ls", "-l"]).payload == Command(("ls", "-l"))
    assert Job.shell("true", cwd=tmp_path).payload.cwd == str(tmp_path)


@pytest.mark.parametrize("command", [[], ["ls", 1], b"ls", "", None, 5])
def test_a_command_is_a_text_or_a_list_of_texts(command):
    with pytest.raises(ValueError, match="^command: "):
        Job.shell(command)


@pytest.mark.parametrize("env", [{"A": 1}, {"": "x"}, {"A=B": "x"}, {1: "x"}])
def test_variables_have_names_and_texts(env):
    with pytest.raises(ValueError, match="^env: "):
        Job.shell("true", env=env)
