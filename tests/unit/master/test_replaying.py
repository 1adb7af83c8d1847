"""The command that runs an event log again, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.exitcodes import run
from master.cli import PROGRAM, app
from master.io.ring import Ring, segments_of
from tests.unit.journal.test_replay import changed, told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(tmp_path: Path, *, spoiled: bool = False) -> Path:
    log = told(checkpoint_every=5)
    if spoiled:
        changed(log, 4, lambda value: value.__setitem__(7, []))
    ring = Ring(tmp_path / "events", tmp_path / "incidents", 8_000_000)
    for segment in log.segments:
        ring.open_segment()
        ring.append(segment)
    ring.close()
    return tmp_path / "events"


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    code = run(app, program=PROGRAM, args=["replay", *map(str, arguments)])
    return code, capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code, out = call(capsys, *arguments, "--json")
    return code, json.loads(out)


# holds EL-5
def test_replay_command_tells_what_happened_and_that_it_came_out_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = call(capsys, folder)
    assert code == 0
    lines = out.splitlines()
    assert lines[-1].endswith("steps came out the same, 3 checkpoints were met")
    assert lines[-2] == "at its end: waits for nothing"
    assert any("height 1 view 1: view-change: height 1 to view 1: no block in time" in line for line in lines)
    assert "the last of it:" in lines
    assert all(line.startswith("2023-11-14T") for line in lines if " step " in line and "start of" not in line)


def test_replay_command_for_programs_has_the_same_facts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value = as_json(capsys, folder)
    assert code == 0
    assert value["same"]
    assert (value["problem"], value["torn_bytes"], value["segments"]) == (None, 0, 4)
    assert (value["first_height"], value["last_height"], value["checkpoints"]) == (1, 2, 3)
    assert all(line["is_notable"] for line in value["timeline"])
    assert len(value["last"]) > len(value["timeline"])


def test_replay_command_of_one_segment_height_or_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = as_json(capsys, segments_of(folder)[1])[1]
    assert (one["segments"], one["same"]) == (1, True)
    everything = as_json(capsys, folder, "--all")[1]
    assert everything["timeline"] == everything["last"]
    second = as_json(capsys, folder, "--height", 2)[1]
    assert {line["height"] for line in second["timeline"]} == {2}
    until = as_json(capsys, folder, "--until", 1)[1]
    assert until["last_height"] == 1
    assert until["steps"] < everything["steps"] + 1
    assert "the last of it:" not in call(capsys, folder, "--height", 2)[1]


# holds EL-5
def test_replay_command_of_a_log_that_differs_stops_there_and_names_the_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path, spoiled=True)
    code, out = call(capsys, folder)
    assert code == 65
    assert out.splitlines()[-1].startswith("stopped: 00000001.events: step 4 (Executed): the vote key signs more")
    code, value = as_json(capsys, folder)
    assert (code, value["same"], value["steps"]) == (65, False, 3)


def test_replay_command_of_a_torn_log_says_how_much_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = segments_of(folder)[-1]
    newest.write_bytes(newest.read_bytes()[:-3])
    code, out = call(capsys, folder)
    assert code == 0
    assert "bytes that were not written whole" in out


def test_replay_command_of_a_damaged_log_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = segments_of(folder)[0]
    raw = bytearray(first.read_bytes())
    raw[60] ^= 1
    first.write_bytes(raw)
    code, out = call(capsys, folder)
    assert code == 65
    assert "damaged at byte" in out
    assert "nothing in it could be read" in out


def test_replay_command_without_a_log_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, tmp_path)[0] == 65
    assert call(capsys, tmp_path / "nowhere")[0] == 74
