from __future__ import annotations

from pathlib import Path

import pytest

from agent.drivers.table import DRIVERS, load_profiles, profile_schemas
from agent.profile import PACKAGED, Quiet, ReadPlan, read_profile
from kit.config import ConfigProblemsError
from wire.evidence import KINDS, METHODS

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
HEAD = 'protocol = "modbus"\nabout = "sample"\n'
TEXT = HEAD + "[modbus.directory]\naddress = 7\n"


def written(folder: Path, text: str, name: str = "sample.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(PACKAGED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_packaged_profile_is_sound_and_says_what_it_is_for(path: Path) -> None:
    profile = read_profile(path, profile_schemas())
    assert profile.name == path.stem
    assert profile.protocol in DRIVERS
    assert profile.about
    methods = profile.specifics.methods()
    assert methods
    assert set(methods) <= set(KINDS)
    assert set(methods.values()) <= set(METHODS)
    assert profile.specifics.counts_changes() == (profile.protocol != "folder")


# holds PF-1
def test_profile_beside_the_configuration_adds_to_the_packaged_and_wins_by_name(tmp_path: Path) -> None:
    written(tmp_path, TEXT)
    written(tmp_path, TEXT.replace("sample", "ours"), "stability-control-modbus.toml")
    written(tmp_path, "no TOML at all", ".editing.toml")
    profiles = load_profiles(tmp_path)
    assert profiles["sample"].about == "sample"
    assert profiles["stability-control-modbus"].about == "ours"
    assert load_profiles()["stability-control-modbus"].about != "ours"
    assert load_profiles(tmp_path / "missing") == load_profiles()


def test_head_gives_pacing_quiet_hours_and_read_plan(tmp_path: Path) -> None:
    more = '[pacing]\npause_ms = 5\nbusy_repeats = 3\n[quiet]\nhours = ["23:00-01:30"]\n[read]\nfirmware_s = 60\n'
    profile = read_profile(written(tmp_path, TEXT + more), profile_schemas())
    assert (profile.pacing.pause_ms, profile.pacing.busy_repeats, profile.pacing.connections) == (5, 3, 1)
    assert profile.quiet.hours == ("23:00-01:30",)
    assert profile.read.interval_ms("firmware") == 60_000
    assert profile.read.interval_ms("settings") == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace('"modbus"', '"profibus"'), "sample.toml:1: protocol: expected one of"),
        (TEXT.replace('protocol = "modbus"\n', ""), "sample.toml:1: key 'protocol' is missing"),
        (TEXT.replace('"modbus"', "7"), "sample.toml:1: protocol: expected one of"),
        (TEXT + "[speed]\n", "sample.toml:5: unknown key 'speed'"),
        (TEXT + "[pacing]\nconnections = 0\n", "sample.toml:6: pacing.connections: expected a whole number 1..16"),
        (TEXT + '[quiet]\nhours = ["25:00-26:00"]\n', "sample.toml:6: quiet.hours[0]: expected a text like"),
        (TEXT + '[quiet]\nhours = ["05:00-05:00"]\n', "sample.toml:5: quiet: hours: 05:00-05:00 begins when it ends"),
        (TEXT + '[quiet]\nhours = ["00:00-12:00", "11:00-00:00"]\n', "sample.toml:5: quiet: hours: they cover"),
        (TEXT.replace("address", "adress"), "unknown key 'adress' in [modbus.directory]; did you mean 'address'?"),
        ("protocol = ", "sample.toml:1: is no TOML"),
    ],
)
def test_wrong_profile_names_file_line_and_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigProblemsError) as caught:
        read_profile(path, profile_schemas())
    assert message in str(caught.value)
    assert caught.value.exit_code == 78


# holds PF-1
@pytest.mark.parametrize("name", ["Sample.toml", "sample profile.toml", "sample.txt"])
def test_profile_whose_file_has_no_identifier_for_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigProblemsError, match="a profile's file is named like"):
        read_profile(written(tmp_path, TEXT, name), profile_schemas())


def test_problems_of_all_profiles_are_told_at_once(tmp_path: Path) -> None:
    written(tmp_path, TEXT + "[speed]\n", "one.toml")
    written(tmp_path, TEXT + "[haste]\n", "two.toml")
    with pytest.raises(ConfigProblemsError, match="2 problems") as caught:
        load_profiles(tmp_path)
    assert "one.toml:5" in str(caught.value)
    assert "two.toml:5" in str(caught.value)


def test_folder_of_more_profiles_than_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.profile.PROFILES_MAX", 20)
    for number in range(21):
        written(tmp_path, TEXT, f"p{number}.toml")
    with pytest.raises(ConfigProblemsError, match="holds more than 20 profiles"):
        load_profiles(tmp_path)


# holds PF-2
@pytest.mark.parametrize(
    ("hours", "time_ms", "left_ms"),
    [
        ((), 0, 0),
        (("23:00-01:30",), 22 * HOUR_MS + 59 * MINUTE_MS + 59_999, 0),
        (("23:00-01:30",), 23 * HOUR_MS, 150 * MINUTE_MS),
        (("23:00-01:30",), DAY_MS + 30 * MINUTE_MS + 1, HOUR_MS - 1),
        (("23:00-01:30",), 90 * MINUTE_MS - 1, 1),
        (("23:00-01:30",), 90 * MINUTE_MS, 0),
        (("01:00-02:00", "01:30-04:00"), 90 * MINUTE_MS, 150 * MINUTE_MS),
    ],
)
def test_quiet_hours_begin_with_their_first_minute_and_end_before_their_last(
    hours: tuple[str, ...], time_ms: int, left_ms: int
) -> None:
    assert Quiet(hours=hours).left_ms(time_ms) == left_ms


def test_read_plan_knows_every_kind() -> None:
    assert [ReadPlan().interval_ms(kind) for kind in KINDS] == [0, 0, 0]
