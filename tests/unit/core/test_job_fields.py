# SPDX-License-Identifier: LGPL-3.0-or-later
"""What follows from the table of fields: checks, options, and layers of settings."""

import pytest

from pqrun.cli.commands.add import AddOptions
from pqrun.cli.commands.set import SetOptions
from pqrun.cli.job_messages import jobs_of_file
from pqrun.cli.options import JobOptions
from pqrun.control.job_payload import CHANGEABLE
from pqrun.core.job import NO_RETRIES, Command, JobSpec, Need, RetryPolicy
from pqrun.core.job_fields import STORED_FIELDS, value_of, wrong_field
from pqrun.input.defaults import replaced

USUAL = JobSpec("", Command("true"))


def test_the_defaults_of_all_fields_are_allowed():
    assert wrong_field(USUAL) is None


def test_a_job_has_no_field_that_the_table_does_not_declare():
    kept = {*JobSpec._fields, *Command._fields, *RetryPolicy._fields}
    assert kept - {field.attribute for field in STORED_FIELDS} == {
        "id", "run", "work", "expand", "label", "named", "file", "line", "args", "arg_names",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout", -1.0), ("timeout", float("nan")), ("grace", None), ("slots", 0), ("slots", True),
        ("success_codes", (256,)), ("tags", "abc"), ("needs", (Need("a", "later"),)), ("on_lost", "again"),
        ("pools", (("net", 1), ("net", 2))), ("allow_failure", 1), ("priority", 1), ("creates", "a\0b"),
        ("env", ""), ("env", (("A=B", "c"),)), ("shell", ()), ("signal", "TERM"), ("nice", 20), ("nice", 1.5),
        ("delay", float("inf")), ("factor", 1001), ("backoff", "never"), ("on", frozenset({"TERM"})), ("max", 0.5),
    ],
)  # fmt: skip
def test_a_wrong_value_is_found_by_the_name_of_its_field(field, value):
    if field in RetryPolicy._fields:
        spec = USUAL._replace(retry=NO_RETRIES._replace(**{field: value}))
    elif field in Command._fields:
        spec = USUAL._replace(work=USUAL.work._replace(**{field: value}))
    else:
        spec = USUAL._replace(**{field: value})
    assert wrong_field(spec) == field


def test_what_a_run_and_set_can_give_add_can_give_too():
    run, add, set_ = (set(options.declared()) for options in (JobOptions, AddOptions, SetOptions))
    assert run <= add and set_ <= add
    assert set_ == set(CHANGEABLE) - {"not_before"} | {"at", "in_"}
    assert not any(one.flag.variable for one in SetOptions.declared().values())


def test_a_layer_replaces_the_values_of_a_job_and_is_merged_into_its_variables_and_retries():
    job = USUAL._replace(
        work=Command("true", env=(("A", "1"), ("B", "2")), nice=1), retry=RetryPolicy(max=1, delay=9.0)
    )
    changed = replaced(job, {"timeout": 0.0, "nice": 5, "env": {"B": "3"}, "retry": {"max": 2}})
    assert changed == job._replace(
        work=Command("true", env=(("A", "1"), ("B", "3")), nice=5), retry=RetryPolicy(max=2, delay=9.0)
    )
    nice = next(field for field in STORED_FIELDS if field.name == "nice")
    assert (value_of(job, nice), value_of(changed, nice)) == (1, 5)


def test_add_keeps_what_a_job_of_a_file_sets_itself_even_if_it_is_the_default(tmp_path):
    path = tmp_path / "jobs.yaml"
    path.write_text("jobs: [{run: a, grace: 5s, retries: 0}, b]\n")
    jobs = jobs_of_file(str(path), AddOptions(grace=10.0, retries=3))
    assert [(job["grace"], job["retry"]) for job in jobs] == [(5.0, {"max": 0}), (10.0, {"max": 3})]
