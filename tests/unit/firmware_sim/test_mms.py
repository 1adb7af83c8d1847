"""What an IED shows and what faults do to its packets: no socket, no process, no library."""

from __future__ import annotations

import pytest

from firmware_sim.contents import Contents, artefact
from firmware_sim.device import Device
from firmware_sim.faults import Fault, link_faults
from firmware_sim.files.setting_list import setting_list
from firmware_sim.mms.ied import Ied, MmsOptions, setting_name
from firmware_sim.mms.packets import (
    FAULTS,
    FILE_BYTES_MIN,
    Delivery,
    PacketError,
    Packets,
    Passing,
    applies,
    disturb,
    is_data,
)
from firmware_sim.settings import parse_settings
from tests.unit.firmware_sim.bench import IDENTITY, clock_ms, device

DATA = b"\x03\x00\x00\x0b\x02\xf0\x80" + b"body"
SET_UP = b"\x03\x00\x00\x07\x02\xd0\x00"


def with_settings() -> Device:
    first, second = (artefact("settings", "1.0.0", setting_list("s", version)) for version in ("1.0.0", "2.0.0"))
    firmware = artefact("firmware", "2.4.0", b"image")
    return Device("dev-a", IDENTITY, Contents.of([firmware, first], [second]), clock_ms)


# --- packets ------------------------------------------------------------------------------------------------------


def test_packets_come_whole_however_the_stream_is_cut() -> None:
    packets = Packets()
    found = [packet for byte in SET_UP + DATA + DATA for packet in packets.feed(bytes((byte,)))]
    assert found == [SET_UP, DATA, DATA]
    assert [is_data(packet) for packet in found] == [False, True, True]


@pytest.mark.parametrize("raw", [b"\x02\x00\x00\x08", b"HTTP", b"\x03\x00\x00\x03"])
def test_stream_that_holds_no_packets_is_refused(raw: bytes) -> None:
    with pytest.raises(PacketError):
        Packets().feed(raw)


def test_mms_knows_exactly_the_link_faults_of_the_catalogue() -> None:
    assert set(FAULTS) == link_faults("mms")


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_fault_leaves_the_set_up_of_a_connection_alone(kind: str) -> None:
    assert not applies(Fault(kind), Passing(SET_UP))


@pytest.mark.parametrize(
    ("kind", "delivery"),
    [
        ("slow", Delivery(DATA, delay_ms=20)),
        ("late", Delivery(DATA, delay_ms=5000)),
        ("never", Delivery(b"")),
        ("single-connection", Delivery(DATA)),
        ("offline", Delivery(DATA)),
        ("mixed-transactions", Delivery(b"before")),
        ("half-open", Delivery(b"", dead=True)),
        ("restart-in-transfer", Delivery(b"", close=True, restart_ms=500)),
        ("oversize-length", Delivery(b"\x03\x00\xff\xff" + DATA[4:])),
        ("too-short", Delivery(b"\x03\x00\x00\x07\x02\xf0\x80")),
        ("cut-frame", Delivery(DATA[:5])),
        ("close", Delivery(b"", close=True)),
    ],
)
def test_fault_delivers_what_the_catalogue_says(kind: str, delivery: Delivery) -> None:
    assert disturb(Fault(kind), Passing(DATA, b"before")) == delivery


def test_garbage_is_no_packet() -> None:
    with pytest.raises(PacketError):
        Packets().feed(disturb(Fault("garbage"), Passing(DATA)).payload)


def test_restart_waits_for_the_middle_of_a_file() -> None:
    fault = Fault("restart-in-transfer")
    assert not applies(fault, Passing(DATA, b"", FILE_BYTES_MIN - 1))
    assert applies(fault, Passing(DATA, b"", FILE_BYTES_MIN))


# --- the IED ------------------------------------------------------------------------------------------------------


def test_attributes_show_identity_revision_and_settings() -> None:
    shown = with_settings()
    found = {name: value for name, _, _, value in Ied(shown, MmsOptions(config_rev="17")).attributes()}
    assert found["LPHD1.PhyNam.serNum"] == IDENTITY.serial
    assert found["LPHD1.PhyNam.model"] == IDENTITY.model
    assert found["LLN0.NamPlt.swRev"] == "2.4.0"
    assert found["LLN0.NamPlt.configRev"] == "17"
    assert found["LLN0.NamPlt.paramRev"] == 1
    for setting in parse_settings(shown.contents.artefacts["settings"].content):
        assert found[setting_name(setting.number)] == pytest.approx(float(setting.text))


def test_switched_group_shows_its_own_values_and_moves_the_revision() -> None:
    shown = with_settings()
    ied = Ied(shown, MmsOptions())
    before = ied.attributes()
    shown.load(shown.contents.switched(2))
    after = ied.attributes()
    assert ied.groups == 2
    moved = {name for (name, _, _, old), (_, _, _, new) in zip(before, after, strict=True) if old != new}
    assert "LLN0.NamPlt.paramRev" in moved
    assert any(name.startswith("GAPC1.") for name in moved)


def test_ied_without_settings_has_no_groups() -> None:
    assert Ied(device(), MmsOptions()).groups == 0
    assert Ied(with_settings(), MmsOptions(settings=False)).groups == 0
    broken = Contents.of([artefact("firmware", "1", b"x")]).overwritten(artefact("settings", "1", b"no list"))
    assert Ied(Device("dev-a", IDENTITY, broken, clock_ms), MmsOptions()).groups == 0


def test_files_are_the_artefacts_and_the_scl_file() -> None:
    files = Ied(with_settings(), MmsOptions(ied="BAY1", config_rev="17")).files()
    assert sorted(files) == ["device.cid", "firmware.bin", "settings.csv"]
    assert files["firmware.bin"] == b"image"
    assert b'<IED name="BAY1" configVersion="17">' in files["device.cid"]
    assert "device.cid" not in Ied(device(), MmsOptions(scl=False)).files()
    assert b"<Val>18</Val>" in Ied(device(), MmsOptions(scl_config_rev="18")).scl()


def test_wrong_identity_shows_on_the_name_plate() -> None:
    shown = with_settings()
    shown.set_fault(Fault("wrong-identity"))
    found = {name: value for name, _, _, value in Ied(shown, MmsOptions()).attributes()}
    assert found["LPHD1.PhyNam.serNum"] == f"#{IDENTITY.serial}"
