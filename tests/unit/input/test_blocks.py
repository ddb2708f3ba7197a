# SPDX-License-Identifier: LGPL-3.0-or-later
"""The cutting of bytes into blocks of whole records."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pqrun.core import events as ev
from pqrun.core.errors import UserError
from pqrun.core.job import Command, InputBlock, JobSpec, Outcome
from pqrun.core.job_row import JobRow
from pqrun.input.each.block_files import BlockFiles, reopened_blocks
from pqrun.input.each.blocks import DEFAULT_BLOCK_BYTES, _header_size
from pqrun.input.each.pipe import Block, BlockCutter, record_rules, split_positions

RECORD_ENDS = [
    {"recstart": None, "recend": None},
    {"recstart": ">", "recend": None},
    {"recstart": None, "recend": "\\n\\n"},
    {"recstart": "a", "recend": "\n"},
    {"recstart": None, "recend": ""},
    {"recstart": "[ab]", "recend": "[>\n]", "regexp": True},
    {"recstart": "^>", "recend": "\n", "regexp": True},
    {"recstart": None, "recend": "", "regexp": True},
]
inputs = st.lists(st.sampled_from(b"ab\n>"), max_size=80).map(bytes) | st.binary(max_size=80)
ends = st.sampled_from(RECORD_ENDS)
pieces = st.lists(st.integers(1, 9), min_size=1, max_size=30)


def blocks_of(data, rules, size, sizes=(1 << 20,), *, header=False):
    """The header and the blocks of a stream whose reads bring so many bytes."""
    cutter, found, at, turn = BlockCutter(rules, size, header=header), [], 0, 0
    while not cutter.finished:
        if cutter.due:
            block = cutter.take()
            found += [] if block is None else [block]
            continue
        piece = data[at : at + min(cutter.room, sizes[turn % len(sizes)])]
        at, turn = at + len(piece), turn + 1
        cutter.feed(piece)
    return cutter.header, found


def is_end(data, place, options):
    """Whether a record ends at this place."""
    if place == len(data) or options["recend"] == "":
        return True
    regexp = options.get("regexp", False)
    start, end = options["recstart"] or "", options["recend"] or ""
    if not (start or end):
        end = "\n"
    end = end if regexp else re.escape(end.replace("\\n", "\n"))
    start = start if regexp else re.escape(start)
    return any(
        found.end() == place
        for begin in range(place + 1)
        for found in [re.compile(end.encode(), re.MULTILINE).match(data, begin)]
        if found and re.compile(start.encode(), re.MULTILINE).match(data, place)
    )


@given(inputs, ends, st.integers(1, 40), pieces, st.sampled_from([None, 1, 2, 5]), st.booleans())
def test_the_blocks_are_the_input_and_each_ends_at_a_record_end(data, options, size, sizes, records, header):
    head, blocks = blocks_of(data, record_rules(**options, records=records), size, sizes, header=header)
    assert head + b"".join(block.data for block in blocks) == data
    assert head == (data[: data.find(b"\n") + 1] if header else b"")
    for block in blocks:
        assert block.data
        assert data[block.offset :].startswith(block.data)
        assert is_end(data, block.offset + len(block.data), options)


@given(inputs, ends, st.integers(1, 40), pieces)
def test_blocks_do_not_depend_on_the_sizes_of_the_reads(data, options, size, sizes):
    rules = record_rules(**options)
    assert blocks_of(data, rules, size, sizes) == blocks_of(data, rules, size)


@pytest.mark.slow
@given(inputs, ends, st.integers(1, 40), st.integers(0, 20))
def test_the_parts_of_a_file_end_at_record_ends(data, options, step, begin):
    begin = min(begin, len(data))

    def read_at(size, at):
        return data[at : at + size]

    positions = list(split_positions(read_at, begin, len(data), step, record_rules(**options)))
    assert positions == sorted(set(positions))
    assert positions[-1:] == ([len(data)] if begin < len(data) else [])
    assert all(is_end(data, place, options) for place in positions)
    assert all(
        after - before >= step for before, after in zip([begin, *positions], positions[:-1], strict=False)
    )


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 60), st.integers(1, 30))
def test_a_number_of_records(records, lines, total, size):
    data = b"".join(b"%d\n" % number for number in range(total))
    rules = record_rules(None, None, records=records, lines=lines)
    _, blocks = blocks_of(data, rules, size)
    each = records * lines
    assert [block.data.count(b"\n") for block in blocks] == [each] * (total // each) + [total % each] * (
        total % each > 0
    )


@given(st.integers(2, 4), st.integers(0, 60), st.integers(10, 50), st.booleans())
def test_records_of_several_lines_fill_a_block(lines, total, size, header):
    data = b"".join(b"%d\n" % number for number in range(total))
    first, blocks = blocks_of(data, record_rules(None, None, lines=lines), size, header=header)
    assert first + b"".join(block.data for block in blocks) == data
    assert all(block.data.count(b"\n") % lines == 0 for block in blocks[:-1])


def test_a_long_record_of_a_file_is_not_cut():
    data = b"x" * 9999 + b"\n" + b"y" * 30_000 + b"\n" + b"z\n"
    ends = split_positions(lambda size, at: data[at : at + size], 0, len(data), 100, record_rules(None, None))
    assert list(ends) == [10_000, 40_001, len(data)]


def test_a_header_may_be_longer_than_one_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * DEFAULT_BLOCK_BYTES + b"yz\n1\n")
    fd = os.open(path, os.O_RDONLY)
    assert _header_size(fd) == DEFAULT_BLOCK_BYTES + 3
    os.close(fd)


def test_blocks_are_as_large_as_asked_but_for_records_that_are_larger():
    data = b"a\n" * 100 + b"x" * 50 + b"\n" + b"b\n" * 20
    sizes = [len(block.data) for block in blocks_of(data, record_rules(None, None), 10)[1]]
    assert sizes[:20] == [10] * 20
    assert sum(size > 30 for size in sizes) == 1


@pytest.mark.parametrize(
    ("options", "data", "blocks"),
    [
        ({"recstart": ">", "recend": None, "records": 1}, b">a\n>b\n", [b"a\n", b"b\n"]),
        ({"recstart": ">", "recend": "\n", "records": 1}, b">a>b\n>c\n", [b"a>b", b"c"]),
        ({"recstart": None, "recend": "--", "records": 2}, b"a--b--c--", [b"ab", b"c"]),
        ({"recstart": None, "recend": "-+", "records": 1, "regexp": True}, b"a--b-c", [b"a", b"b", b"c"]),
    ],
)
def test_separators_are_removed(options, data, blocks):
    found = blocks_of(data, record_rules(**options, removes=True), 100)[1]
    assert [block.data for block in found] == blocks


def test_a_wrong_regular_expression_is_refused():
    with pytest.raises(UserError, match="invalid regular expression"):
        record_rules("(", None, regexp=True)


@pytest.mark.slow
def test_many_small_records_are_cut_in_linear_time():
    data = b"a\n" * 500_000
    assert len(blocks_of(data, record_rules(None, None, records=10), 1 << 20)[1]) == 50_000


def test_a_number_of_records_is_not_kept_waiting():
    cutter = BlockCutter(record_rules(None, None, records=1), 1 << 20)
    cutter.feed(b"a\nb")
    assert cutter.take().data == b"a\n"
    assert cutter.take() is None


def test_a_long_record_is_searched_in_linear_time():
    piece = b"x" * 4096
    cutter = BlockCutter(record_rules(None, None, records=1), 1 << 16)
    tries = 0
    for _ in range(4096):
        cutter.feed(piece)
        if cutter.due:
            tries += 1
            assert cutter.take() is None
    assert tries < 40


def kept_job(number, directory):
    block = InputBlock(number, 0, 1, f"{directory}/{number}", kept=True)
    return JobRow(number, JobSpec(str(number), Command("true", stdin=block)))


@pytest.mark.parametrize("outcome, recorded, stays", [
    (Outcome.OK, True, False), (Outcome.FAILED, True, True), (Outcome.FAILED, False, False),
])  # fmt: skip
def test_a_block_stays_for_a_resume_of_its_failed_job(tmp_path, outcome, recorded, stays):
    files = BlockFiles(str(tmp_path), recorded=recorded)
    files.write(1, b"", Block(0, b"x"))
    files.handlers[ev.JobEnded](ev.JobEnded(0.0, 1, outcome, 1), kept_job(1, tmp_path))
    assert (tmp_path / "1").exists() == stays


def test_a_resume_removes_the_blocks_that_no_job_needs(tmp_path):
    rows = [kept_job(number, "/moved") for number in (1, 2)]
    rows[0].state = "ok"
    for name in ("1", "2", "3"):
        (tmp_path / name).touch()
    assert reopened_blocks(str(tmp_path), rows, remove=False)
    assert len(list(tmp_path.iterdir())) == 3, "a dry run changes nothing"
    assert reopened_blocks(str(tmp_path), rows, remove=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "2"], "job 1 was ok, and block 3 was not recorded"
    assert rows[1].spec.work.stdin.file == f"{tmp_path}/2"
