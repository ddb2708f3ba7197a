# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whatever a file holds, it is jobs or problems: never a traceback, a hang, or much memory."""

import json
import subprocess
import sys

import mutated
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutated import WORDS, parse


@pytest.mark.slow
def test_10_000_mutated_files_are_jobs_or_problems():
    done = subprocess.run(
        [sys.executable, mutated.__file__], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    right, wrong, peak = map(int, done.stdout.split())
    assert right > 1000 and wrong > 1000
    assert peak < 150


@pytest.mark.slow
@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_jobs_or_problems(data):
    parse(data)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.sampled_from([*WORDS, b"jobs:\n  - ", b"a", b"b: c", b", "]), max_size=25))
def test_any_pieces_of_yaml_are_jobs_or_problems(parts):
    parse(b"".join(parts))


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**25) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "id",
        "name",
        "run",
        "cmd",
        "env",
        "cwd",
        "priority",
        "needs",
        "matrix",
        "timeout",
        "grace",
        "signal",
        "retries",
        "slots",
        "pools",
        "tags",
        "success_codes",
        "allow_failure",
        "rerun",
        "creates",
        "stdin",
        "shell",
        "leftovers",
        "include",
        "exclude",
        "max",
        "on",
        "ended",
        "<<",
    ]
)


@pytest.mark.slow
@settings(max_examples=400)
@given(
    st.fixed_dictionaries(
        {
            "jobs": st.lists(
                st.dictionaries(KEYS, VALUE | st.dictionaries(KEYS, VALUE, max_size=3), max_size=5),
                max_size=4,
            )
        },
        optional=dict.fromkeys(("workers", "max_queue", "defaults", "env", "pools", "x-a"), VALUE),
    )
)
def test_any_values_of_the_right_keys_are_jobs_or_problems(document):
    parse(json.dumps(document).encode())
    parse(json.dumps(document, indent=1, ensure_ascii=False).encode("utf-8", "replace"))
