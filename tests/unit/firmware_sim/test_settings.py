from __future__ import annotations

from decimal import Decimal

import pytest

from firmware_sim.files.setting_list import setting_list
from firmware_sim.settings import (
    SettingsError,
    change_setting,
    parse_settings,
    scaled,
    values_of,
)

HEAD = "number,name,value,unit,min,max\n"
LIST = setting_list("station")


def test_list_holds_frequency_voltage_and_step_settings_in_range() -> None:
    settings = parse_settings(LIST)
    assert [item.number for item in settings] == list(range(1, len(settings) + 1))
    assert (settings[16].name, settings[16].text, settings[16].unit) == ("UFLS stage 1 frequency", "49.00", "Hz")
    names = " ".join(item.name for item in settings)
    assert all(part in names for part in ("UVLS", "Out-of-step", "OFGT", "DC modulation", "overload"))
    assert all(item.low <= Decimal(item.text) <= item.high for item in settings)


def test_change_moves_one_cell_and_nothing_else() -> None:
    done = change_setting(LIST, 17, "48.5")
    old, new = LIST.splitlines(), done.content.splitlines()
    differing = [index for index, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
    assert differing == [17]
    assert new[17] == old[17].replace(b",49.00,Hz", b",48.50,Hz")
    assert (done.old, done.new, done.unit, done.register) == ("49.00", "48.50", "Hz", 16)
    assert done.content[: done.offset] == LIST[: done.offset]
    assert done.content[done.offset] != LIST[done.offset]
    assert values_of(done.content)[16] == 4850


def test_change_keeps_quotes_and_line_ends() -> None:
    content = (HEAD.replace("\n", "\r\n") + '1,"a, b",-5,MW,-10,10\r\n2,c,1,,0,1').encode()
    done = change_setting(change_setting(content, 1, "7").content, 2, "0")
    assert done.content == content.replace(b",-5,", b",7,").replace(b"c,1,", b"c,0,")


def test_change_that_makes_the_text_longer_has_its_offset() -> None:
    content = (HEAD + "1,a,1,,0,99\n").encode()
    done = change_setting(content, 1, "12")
    assert done.content[done.offset :] == b"2,,0,99\n"


def test_change_out_of_range_is_taken_only_by_force() -> None:
    with pytest.raises(SettingsError, match=r"60.00 is outside the range 45.00..49.50 of setting 17"):
        change_setting(LIST, 17, "60")
    assert change_setting(LIST, 17, "60", force=True).new == "60.00"


@pytest.mark.parametrize(
    ("number", "value", "reason"),
    [
        (0, "1", r"no setting 0, expected 1\.\."),
        (9999, "1", "no setting 9999"),
        (17, "49.00", "49.00 Hz already"),
        (17, "49.0", "49.00 Hz already"),
        (17, "48.555", "2 decimals, 48.555 has more"),
        (17, "high", "'high' is not a decimal number"),
        (17, "NaN", "not a decimal number"),
        (17, "1e9", "does not fit in a 16-bit register"),
    ],
)
def test_change_without_sense_is_refused(number: int, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        change_setting(LIST, number, value, force=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not start with"),
        (b"a,b\n", "does not start with"),
        (b"\xff\xfe", "not UTF-8"),
        ((HEAD + "1,a,1,,0\n").encode(), "line 2 has 5 cells"),
        ((HEAD + "x,a,1,,0,2\n").encode(), "number 'x'"),
        ((HEAD + "1,a,1,,0,?\n").encode(), "not a decimal"),
        ((HEAD + "1,a,1,,0,2\n1,b,1,,0,2\n").encode(), "line 3: setting 1 stands twice"),
        ((HEAD + "\n" * 4_097).encode(), "more than 4096 lines"),
    ],
)
def test_parse_what_is_no_list_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        parse_settings(content)


@pytest.mark.parametrize(("text", "number"), [("49.00", 4900), ("-0.5", -5), ("0", 0), ("-32768", -32768)])
def test_scaled_drops_the_point(text: str, number: int) -> None:
    assert scaled(text) == number


@pytest.mark.parametrize("text", ["32768", "-327.69", "1.00000", "", "1e999999999"])
def test_scaled_beyond_a_register_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        scaled(text)
