from __future__ import annotations

from dataclasses import replace

import pytest

from agent.attest import (
    Confirmation,
    Confirmed,
    DeviceState,
    ReadAgain,
    Signer,
    Unsettled,
    after_failure,
    after_read,
    after_receipt,
    build_evidence,
    changed_kinds,
    entry_of,
    same_content,
    to_item,
    without_receipt,
)
from tests.unit.agent.bench import EVIDENCE_CLOCK, IDENTITY, NOW_MS, file, plain, reading, state
from tests.unit.wire.samples import GENESIS, key_of, public_of
from wire.evidence import Evidence, SeenBlock, decode_evidence
from wire.tx import open_tx
from wire.types import EVIDENCE_BYTES_MAX

BLOCK = SeenBlock(41, bytes(32))
LATER_MS = NOW_MS + 60_000


def evidence_of(*states: DeviceState, devices_max: int = 64) -> tuple[Evidence, ...]:
    return build_evidence("gw-1", (3, 7), EVIDENCE_CLOCK, BLOCK, states, devices_max=devices_max)


def test_items_read_at_other_times_have_the_same_content() -> None:
    before, after = to_item(plain()), to_item(plain(at_ms=LATER_MS))
    assert same_content(before, after)
    assert changed_kinds(before, after) == frozenset()
    assert before.digest() != after.digest()


def test_items_differing_in_one_byte_have_other_content() -> None:
    before, after = to_item(plain(b"firmware")), to_item(plain(b"firmwarE"))
    assert not same_content(before, after)
    assert changed_kinds(before, after) == {"firmware"}


def test_item_with_another_serial_number_has_other_content() -> None:
    before = to_item(plain())
    assert not same_content(before, replace(before, identity=replace(IDENTITY, serial="SN-0002")))


@pytest.mark.parametrize("missing", ["firmware", "settings"])
def test_changed_kinds_counts_files_that_came_or_went(missing: str) -> None:
    both = to_item(plain())
    fewer = replace(both, artefacts=tuple(part for part in both.artefacts if part.kind != missing))
    assert changed_kinds(both, fewer) == changed_kinds(fewer, both) == {missing}


def test_first_reading_is_confirmed_by_a_second_one() -> None:
    confirmation = Confirmation(None)
    assert confirmation.take(plain()) == ReadAgain(frozenset({"firmware", "settings"}))
    verdict = confirmation.take(plain(at_ms=NOW_MS + 100))
    assert isinstance(verdict, Confirmed)
    assert verdict.is_change
    assert (verdict.read_from_ms, verdict.read_to_ms) == (NOW_MS, NOW_MS + 120)


def test_unchanged_reading_keeps_the_last_item_and_moves_the_times() -> None:
    last = to_item(plain())
    verdict = Confirmation(last).take(plain(at_ms=LATER_MS))
    assert isinstance(verdict, Confirmed)
    assert verdict.item is last
    assert not verdict.is_change
    assert verdict.read_from_ms == LATER_MS


def test_changed_file_is_read_again_alone_and_reported_when_two_reads_agree() -> None:
    confirmation = Confirmation(to_item(plain(b"old")))
    assert confirmation.take(plain(b"new")) == ReadAgain(frozenset({"firmware"}))
    verdict = confirmation.take(replace(plain(b"new"), files=(file("firmware", b"new"),)))
    assert isinstance(verdict, Confirmed)
    assert verdict.is_change
    assert verdict.item == to_item(plain(b"new"))


def test_file_swapped_in_during_a_read_never_becomes_an_item() -> None:
    confirmation = Confirmation(to_item(plain(b"old old")))
    assert isinstance(confirmation.take(plain(b"old new")), ReadAgain)  # half of each: nobody ever released it
    assert isinstance(confirmation.take(plain(b"new new")), ReadAgain)
    verdict = confirmation.take(plain(b"new new"))
    assert isinstance(verdict, Confirmed)
    assert verdict.item == to_item(plain(b"new new"))


def test_change_that_went_back_during_confirmation_is_no_change() -> None:
    last = to_item(plain(b"old"))
    confirmation = Confirmation(last)
    confirmation.take(plain(b"odd"))
    assert isinstance(confirmation.take(plain(b"old")), ReadAgain)
    verdict = confirmation.take(plain(b"old"))
    assert isinstance(verdict, Confirmed)
    assert verdict.item is last


def test_file_that_never_reads_twice_alike_is_marked_unstable_and_others_are_not() -> None:
    confirmation = Confirmation(None)
    for content in (b"1", b"2"):
        assert isinstance(confirmation.take(plain(content)), ReadAgain)
    verdict = confirmation.take(plain(b"3"))
    assert isinstance(verdict, Confirmed)
    assert {part.kind: part.errors for part in verdict.item.artefacts} == {"firmware": ("unstable",), "settings": ()}


def test_file_that_stays_unstable_is_reported_once() -> None:
    def unstable(last: Confirmed | None, contents: tuple[bytes, ...]) -> Confirmed:
        confirmation = Confirmation(None if last is None else last.item)
        for content in contents:
            verdict = confirmation.take(plain(content))
        assert isinstance(verdict, Confirmed)
        return verdict

    first = unstable(None, (b"1", b"2", b"3"))
    second = unstable(first, (b"4", b"5", b"6"))
    assert first.is_change
    assert not second.is_change
    assert second.item is first.item


def test_unstable_file_that_settles_is_a_change_again() -> None:
    last = replace(to_item(plain()), artefacts=(replace(to_item(plain()).artefacts[0], errors=("unstable",)),))
    confirmation = Confirmation(last)
    confirmation.take(reading(file("firmware", b"x")))
    verdict = confirmation.take(reading(file("firmware", b"x")))
    assert isinstance(verdict, Confirmed)
    assert verdict.is_change
    assert verdict.item.artefacts[0].errors == ()


def test_identity_that_differs_each_time_is_unsettled() -> None:
    confirmation = Confirmation(None)
    for serial in ("1", "2"):
        assert isinstance(confirmation.take(replace(plain(), identity=replace(IDENTITY, serial=serial))), ReadAgain)
    verdict = confirmation.take(replace(plain(), identity=replace(IDENTITY, serial="3")))
    assert isinstance(verdict, Unsettled)
    assert "another device" in verdict.detail


def test_file_that_is_listed_anew_during_confirmation_is_read_and_never_missing() -> None:
    confirmation = Confirmation(to_item(plain(b"old")))
    confirmation.take(plain(b"new"))
    # the settings have another version now, but only the firmware was asked for
    again = reading(file("firmware", b"new"), file("settings", b"1,51", version="2"))
    asked = confirmation.take(replace(again, files=again.files[:1]))
    assert asked == ReadAgain(frozenset({"firmware", "settings"}))
    # the settings were read once so far, which is no sign that they are unstable
    assert isinstance(confirmation.take(again), ReadAgain)
    verdict = confirmation.take(again)
    assert isinstance(verdict, Confirmed)
    assert {part.kind: part.errors for part in verdict.item.artefacts} == {"firmware": (), "settings": ()}


def test_change_in_the_midst_of_a_read_is_no_sign_of_instability() -> None:
    # the device takes other files after its settings were read and before its firmware is: the counter tells it later
    before = replace(plain(b"new"), revision=7)
    after = replace(reading(file("firmware", b"new"), file("settings", b"1,48")), revision=8)
    confirmation = Confirmation(replace(to_item(plain(b"old")), revision=7))
    assert confirmation.take(before) == ReadAgain(frozenset({"firmware"}))
    assert confirmation.take(replace(after, files=after.files[:1])) == ReadAgain(frozenset({"firmware", "settings"}))
    # of the settings one read is from before the change, one from after it
    assert isinstance(confirmation.take(after), ReadAgain)
    verdict = confirmation.take(after)
    assert isinstance(verdict, Confirmed)
    assert verdict.item == replace(to_item(after), revision=8)


def test_files_that_come_and_change_until_the_last_read_are_unsettled_and_not_unstable() -> None:
    firmware, settings = file("firmware", b"x"), file("settings", b"1,50")
    confirmation = Confirmation(None)
    for files in ((firmware,), (file("firmware", b"y"),), (firmware, settings)):
        assert isinstance(confirmation.take(reading(*files)), ReadAgain)
    assert isinstance(confirmation.take(reading(firmware, settings, file("strategy", b"1"))), ReadAgain)
    verdict = confirmation.take(reading(firmware, settings, file("strategy", b"2")))
    assert isinstance(verdict, Unsettled)
    assert "strategy" in verdict.detail


def test_directory_that_differs_each_time_is_unsettled() -> None:
    confirmation = Confirmation(to_item(plain(b"old")))
    confirmation.take(plain(b"new"))
    for version in ("2", "3", "4", "5"):
        listing = reading(file("firmware", b"new"), file("settings", b"1,51", version=version))
        verdict = confirmation.take(replace(listing, files=listing.files[:1]))
    assert isinstance(verdict, Unsettled)
    assert "other files" in verdict.detail


def test_state_after_unchanged_read_keeps_item_and_receipt() -> None:
    before = state(has_receipt=True)
    assert before.item is not None
    verdict = Confirmation(before.item).take(plain(at_ms=LATER_MS))
    assert isinstance(verdict, Confirmed)
    after = after_read(before, "sps-1", verdict)
    assert (after.item_digest, after.has_receipt) == (before.item_digest, True)
    assert (after.read_from_ms, after.read_to_ms) == (LATER_MS, LATER_MS + 20)


def test_state_after_change_has_another_item_without_receipt() -> None:
    before = state(has_receipt=True)
    new = plain(b"new", at_ms=LATER_MS)
    after = after_read(before, "sps-1", Confirmed(to_item(new), True, LATER_MS, LATER_MS + 20))  # noqa: FBT003
    assert after.item_digest == to_item(new).digest() != before.item_digest
    assert not after.has_receipt


def test_state_after_failure_keeps_what_was_read_last() -> None:
    before = state()
    after = after_failure(before, "sps-1", "unreachable")
    assert after == replace(before, status="unreachable")
    assert after_failure(None, "sps-1", "protocol-error") == DeviceState("sps-1", "protocol-error")


def test_receipt_settles_the_item_that_the_report_carried() -> None:
    before = state()
    (report,) = evidence_of(before)
    assert after_receipt(before, report).has_receipt


def test_receipt_of_a_report_about_an_older_item_settles_nothing() -> None:
    (report,) = evidence_of(state(content=b"older"))
    assert not after_receipt(state(content=b"newer"), report).has_receipt
    assert not after_receipt(DeviceState("sps-1", "unreachable"), report).has_receipt


def test_receipt_of_a_report_that_named_the_item_only_by_digest_settles_nothing() -> None:
    (report,) = evidence_of(state(has_receipt=True))
    assert not after_receipt(state(), report).has_receipt


def test_entry_carries_the_item_only_until_it_has_a_receipt() -> None:
    assert entry_of(state()).item is not None
    assert entry_of(state(has_receipt=True)).item is None
    assert entry_of(without_receipt(state(has_receipt=True))).item is not None


def test_evidence_lists_all_devices_sorted_and_decodes_to_itself() -> None:
    (report,) = evidence_of(state("sps-2"), state("sps-1", has_receipt=True), DeviceState("sps-3", "unreachable"))
    assert [entry.device for entry in report.devices] == ["sps-1", "sps-2", "sps-3"]
    assert (report.boot, report.seq) == (3, 7)
    assert decode_evidence(report.encode()) == report


def test_evidence_of_65_devices_is_split_and_numbered_on() -> None:
    states = [state(f"sps-{number:02}", has_receipt=True) for number in range(65)]
    parts = evidence_of(*states)
    assert [len(part.devices) for part in parts] == [64, 1]
    assert [part.seq for part in parts] == [7, 8]


def test_evidence_that_would_be_too_large_is_split_and_every_part_fits() -> None:
    states = [state(f"sps-{number:02}", has_receipt=False) for number in range(64)]
    long = "x" * 250
    wide = []
    for entry in states:
        assert entry.item is not None
        item = replace(entry.item, identity=replace(entry.item.identity, vendor=long, product=long, revision=long))
        wide.append(replace(entry, item=item, item_digest=item.digest()))
    parts = evidence_of(*wide)
    assert len(parts) > 1
    assert all(len(part.encode()) <= EVIDENCE_BYTES_MAX for part in parts)
    assert [entry.device for part in parts for entry in part.devices] == [entry.device for entry in wide]


def test_evidence_with_one_device_in_each_part_keeps_a_refused_one_from_the_others() -> None:
    parts = evidence_of(state("sps-1"), state("sps-2"), devices_max=1)
    assert [[entry.device for entry in part.devices] for part in parts] == [["sps-1"], ["sps-2"]]


def test_transaction_is_signed_and_names_contract_and_sender() -> None:
    (report,) = evidence_of(state())
    raw = Signer("gw-1", GENESIS.chain(), key_of("gw-1")).transaction(report.encode(), 12, NOW_MS + 1000)
    signed = open_tx(raw)
    signed.verify(public_of("gw-1"))
    call = signed.tx
    assert (call.sender, call.contract, call.version, call.method) == ("gw-1", "consistency", 1, "report")
    assert (call.seq, call.valid_until_ms, call.args) == (12, NOW_MS + 1000, {"evidence": report.encode()})
