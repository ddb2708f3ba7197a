# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is torn is left out, what is damaged is refused and left as it is, what grows is read as it grows."""

import json

import pytest

from pqrun.core.errors import InternalFailure
from pqrun.journal.format import VERSION
from pqrun.journal.index import query_index
from pqrun.journal.reader import JournalReader
from pqrun.journal.recovery import recover

from .records import BEGAN, Record, random_story

TWO_WAYS = pytest.mark.parametrize(
    "read",
    [recover, lambda run: query_index(run, lambda index: index.facts)],
    ids=["resume", "show"],
)


@pytest.fixture
def record(tmp_path):
    record = Record(tmp_path / "abc")
    record.tell(*random_story(3))
    return record


def test_lines_come_back_in_order_with_where_the_reader_is(record):
    lines = JournalReader(str(record.journal))
    kinds = [line.get("e", "run") for line in lines]
    assert kinds[0] == "run" and "end" in kinds
    assert lines.position.offset == record.journal.stat().st_size
    assert (lines.position.line, lines.position.crc, lines.torn) == (len(kinds), record.crc, False)


def test_a_reader_goes_on_where_an_earlier_one_stopped(record):
    lines = JournalReader(str(record.journal))
    before = list(lines)
    record.tell(*random_story(4))
    assert lines.still_fits()
    after = list(JournalReader(str(record.journal), lines.position))
    assert before + after == list(JournalReader(str(record.journal)))


@pytest.mark.slow
def test_cut_anywhere_in_its_last_two_lines_a_journal_is_read_up_to_the_last_whole_one(record):
    whole = record.journal.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(ends[-3], len(whole)):
        record.journal.write_bytes(whole[:size])
        lines = JournalReader(str(record.journal))
        count = len(list(lines))
        assert (count, lines.torn) == (sum(end <= size for end in ends), size not in ends), size


def test_a_last_line_with_a_wrong_checksum_counts_as_torn(record):
    whole = record.journal.read_bytes()
    record.journal.write_bytes(whole[:-4] + b"x" + whole[-3:])
    lines = JournalReader(str(record.journal))
    assert len(list(lines)) == whole.count(b"\n") - 1
    assert lines.torn


def test_a_line_that_grows_while_it_is_read_is_not_damage(record):
    whole = record.journal.read_bytes()
    half = whole.rindex(b"\n", 0, -1) + 20
    record.journal.write_bytes(whole[:half])
    lines = JournalReader(str(record.journal))
    batches = lines.batches()
    seen = next(batches)
    with record.journal.open("ab") as file:
        file.write(whole[half:])
    assert list(batches) == []
    rest = list(JournalReader(str(record.journal), lines.position))
    assert seen + rest == list(JournalReader(str(record.journal)))


@pytest.mark.slow
@TWO_WAYS
def test_damage_anywhere_before_the_last_line_is_noticed_and_the_file_left_as_it_is(record, read):
    whole = record.journal.read_bytes()
    last = whole.rindex(b"\n", 0, -1)
    for at in range(0, last, 31):
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        record.journal.write_bytes(damaged)
        with pytest.raises(InternalFailure, match=r"was not changed|newer pqrun") as caught:
            read(record.run)
        assert caught.value.code == 4
        assert record.journal.read_bytes() == damaged


@TWO_WAYS
def test_a_line_left_out_or_in_the_wrong_place_is_damage(record, read):
    lines = record.journal.read_bytes().splitlines(keepends=True)
    for others in (lines[:2] + lines[3:], [*lines[:2], lines[3], lines[2], *lines[4:]], lines[1:]):
        record.journal.write_bytes(b"".join(others))
        with pytest.raises(InternalFailure):
            read(record.run)


@TWO_WAYS
@pytest.mark.parametrize("how", ["", "all of it unknown"])
def test_a_newer_version_is_refused_by_its_name(tmp_path, read, how):
    record = Record(tmp_path / "abc")
    header = json.loads(record.journal.read_text())
    header["pqrun"] = VERSION + 1
    if how:
        record.journal.write_text(json.dumps(header) + "\nand then something else\n")
    else:
        record.journal.write_bytes(b"")
        record.crc = 0
        record.note({key: value for key, value in header.items() if key != "c"})
    before = record.journal.read_bytes()
    with pytest.raises(
        InternalFailure, match=f"newer pqrun \\(format {VERSION + 1}; this pqrun reads up to {VERSION}\\)"
    ):
        read(record.run)
    assert record.journal.read_bytes() == before


@TWO_WAYS
@pytest.mark.parametrize(
    "content", [b"", b"\n", b"hello\nworld\n", b"\0" * 5000, b'{"pqrun":"x"}\n', b"[1]\n[2]\n", b"1\n2\n"]
)
def test_what_is_no_journal_is_refused(tmp_path, read, content):
    record = Record(tmp_path / "abc")
    record.journal.write_bytes(content)
    with pytest.raises(InternalFailure) as caught:
        read(record.run)
    assert caught.value.code == 4
    assert record.journal.read_bytes() == content


@TWO_WAYS
@pytest.mark.parametrize(
    "line",
    [
        {"e": "end", "s": 1},
        {"e": "done", "t": BEGAN, "s": 99, "o": "ok", "n": 1},
        {"e": "start", "t": BEGAN, "s": [], "n": 1, "w": 0},
    ],
    ids=str,
)
def test_lines_with_right_checksums_that_make_no_sense_are_damage_too(record, read, line):
    record.note(line)
    record.tell(*random_story(5))
    with pytest.raises(InternalFailure, match="is damaged"):
        read(record.run)


def test_a_last_second_that_the_disk_has_filled_with_nothing_is_torn(record):
    whole = record.journal.read_bytes()
    record.journal.write_bytes(whole + b"\0" * 3000)
    assert len(list(JournalReader(str(record.journal)))) == whole.count(b"\n")


def test_a_list_of_jobs_that_is_incomplete_is_not_gone_on_with(tmp_path):
    record = Record(tmp_path / "abc", listed=100)
    record.tell(*random_story(3)[:2])
    with pytest.raises(InternalFailure, match="list of jobs is incomplete"):
        recover(record.run)


def test_first_reads_one_line_of_however_many(record, monkeypatch):
    monkeypatch.setattr("pqrun.journal.reader._READ_CHUNK_BYTES", 0)
    lines = JournalReader(str(record.journal))
    assert lines.first()["run"] == "abc"
    assert lines.position.line == 1
