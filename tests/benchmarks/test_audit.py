"""How `benchmarks.audit` reads back what was recorded."""

import json
from pathlib import Path

import pytest

from benchmarks.audit import KINDS, SUBJECTS, _is_whole, typical
from front_proc.record.audit import EVENTS


def write(file: Path, numbers: list[int], **changed: object) -> None:
    records = [{"time": "t", "event": "command", **typical(number), **changed} for number in numbers]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_records_are_whole_when_all_are_there_in_order(tmp_path: Path):
    write(tmp_path / "log", [0, 1, 2])
    assert _is_whole(tmp_path / "log", 3)


@pytest.mark.parametrize("numbers", [[0, 1], [0, 2, 1], [0, 1, 2, 3], [0, 1, 1]])
def test_records_are_not_whole_when_one_is_missing_or_out_of_order(tmp_path: Path, numbers: list[int]):
    write(tmp_path / "log", numbers)
    assert not _is_whole(tmp_path / "log", 3)


def test_records_are_not_whole_when_a_field_has_changed(tmp_path: Path):
    write(tmp_path / "log", [0], outcome="other")
    assert not _is_whole(tmp_path / "log", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_writes_what_it_is_given(tmp_path: Path, kind: str):
    spent = KINDS[kind](tmp_path / "log", 20)
    assert _is_whole(tmp_path / "log", 20)
    assert spent.keys() == {"caller", "caller and writer", "until written"}
    assert kind in SUBJECTS


def test_the_typical_record_is_one_of_the_audits_events():
    assert "command" in EVENTS
