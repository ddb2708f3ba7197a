# SPDX-License-Identifier: LGPL-3.0-or-later
"""The settings of a run: groups of fields, and the options that the fields declare."""

from pqrun.cli.options import EachOptions, JobOptions, ListOptions, RunOptions
from pqrun.core.settings import GROUP_OF, Each, LimitSettings, OutputSettings, Settings

NOT_FIELDS = {"pool", "preset", "fail_fast", "arg_file", "delimiter", "colsep", "header"}
OF_EACH = {name for name in EachOptions.declared() if name in Each._fields} | {
    "max_replace_args",
    "m",
    "x",
    "xargs",
}
"""Options of which a function makes fields."""


def test_no_two_groups_have_a_field_of_the_same_name():
    fields = [name for group in Settings() for name in group._fields]
    assert sorted(fields) == sorted(GROUP_OF)


def test_values_go_into_the_group_that_has_the_field():
    settings = Settings().with_values({"jobs": "4", "deadline": 3.0, "tag": True})
    assert settings == Settings(limits=LimitSettings("4", deadline=3.0), output=OutputSettings(tag=True))
    assert settings.value_of("tag") and settings.value_of("keep_order") is False


def test_each_option_of_a_run_is_a_field_of_that_name_or_is_turned_into_fields():
    of_a_run = {**RunOptions.declared(), **ListOptions.declared(), **EachOptions.declared()}
    assert of_a_run.keys() - JobOptions.declared().keys() - GROUP_OF.keys() == NOT_FIELDS | OF_EACH


def test_a_default_of_an_option_is_that_of_its_field():
    defaults = Settings()
    for name, one in RunOptions.declared().items():
        if name in GROUP_OF and not one.is_repeated and name != "output":
            assert one.default == defaults.value_of(name), name
