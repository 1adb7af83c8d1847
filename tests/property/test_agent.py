"""The gateway over generated files, devices and readings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu.file_message import FileRecord, ReadFileRecordRequest

from agent.attest import Confirmation, Confirmed, DeviceState, ReadAgain, build_evidence, to_item
from agent.drivers.modbus_files import RECORDS_PER_FILE, REGISTERS_MAX, FileRecords
from agent.drivers.modbus_link import _FILE_REQUEST
from agent.drivers.text import device_text
from rules.fingerprint import Fingerprint, fingerprint
from tests.unit.agent.bench import EVIDENCE_CLOCK, plain, state
from wire.cbor import check_text
from wire.evidence import SeenBlock, decode_evidence
from wire.types import EVIDENCE_BYTES_MAX

pytestmark = pytest.mark.property

BLOCK = SeenBlock(0, bytes(32))


class Memory:
    """A device's files as the layout text has them: registers in files of 10,000 records."""

    def __init__(self, content: bytes, first_file: int) -> None:
        self._content = content + b"\x00" * (len(content) % 2)
        self._first = first_file

    def read(self, number: int, record: int, count: int) -> bytes | None:
        assert 1 <= count <= REGISTERS_MAX
        assert record + count <= RECORDS_PER_FILE
        start = 2 * ((number - self._first) * RECORDS_PER_FILE + record)
        part = self._content[start : start + 2 * count]
        return part if len(part) == 2 * count else None


def walk(memory: Memory, first_file: int, size: int) -> tuple[Fingerprint, FileRecords, int]:
    running = Fingerprint()
    records = FileRecords(first_file, size, running)
    requests = 0
    while (span := records.wanted()) is not None:
        requests += 1
        part = memory.read(*span)
        if part is not None:
            records.took(part)
        elif not records.refused(2):
            break
    records.flush()
    return running, records, requests


@given(size=st.integers(0, 70_000), first_file=st.integers(0, 60_000))
def test_file_of_any_size_at_any_number_is_read_byte_for_byte(size: int, first_file: int) -> None:
    content = bytes(number * 31 % 251 for number in range(size))
    running, records, requests = walk(Memory(content, first_file), first_file, size)
    assert running.result() == fingerprint(content)
    assert records.code == 0
    assert requests <= size // (2 * REGISTERS_MAX) + size // (2 * RECORDS_PER_FILE) + 2


@given(held=st.integers(0, 50_000), missing=st.integers(2, 50_000))
def test_file_that_ends_anywhere_is_read_to_its_last_register(held: int, missing: int) -> None:
    content = bytes(number * 31 % 251 for number in range(held))
    running, records, requests = walk(Memory(content, 1), 1, held + missing)
    assert running.result() == fingerprint(content + b"\x00" * (held % 2))
    assert records.code == 2
    assert requests <= held // (2 * REGISTERS_MAX) + held // (2 * RECORDS_PER_FILE) + 20


@given(
    transaction=st.integers(0, 65_535),
    unit=st.integers(0, 255),
    number=st.integers(0, 65_535),
    record=st.integers(0, 9_999),
    count=st.integers(1, REGISTERS_MAX),
)
def test_request_for_records_is_what_another_library_sends(
    transaction: int, unit: int, number: int, record: int, count: int
) -> None:
    request = ReadFileRecordRequest(
        [FileRecord(file_number=number, record_number=record, record_length=2 * count)], dev_id=unit
    )
    pdu = bytes((request.function_code,)) + request.encode()
    header = transaction.to_bytes(2, "big") + b"\x00\x00" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit,))
    assert _FILE_REQUEST.pack(transaction, 0, 10, unit, 20, 7, 6, number, record, count) == header + pdu


@given(st.binary(max_size=255))
def test_text_of_a_device_always_fits_into_evidence(raw: bytes) -> None:
    text = device_text(raw)
    check_text(text)
    assert len(text) <= 256
    assert all(character.isprintable() for character in text)


@given(contents=st.lists(st.binary(max_size=2), min_size=3, max_size=3), last=st.none() | st.binary(max_size=2))
def test_what_is_confirmed_was_read_twice_in_a_row_or_is_marked(contents: list[bytes], last: bytes | None) -> None:
    known = None if last is None else to_item(plain(last))
    confirmation = Confirmation(known)
    reads = 1
    while not isinstance(verdict := confirmation.take(plain(contents[reads - 1])), Confirmed):
        assert isinstance(verdict, ReadAgain)
        reads += 1
    firmware = verdict.item.artefacts[0]
    if not verdict.is_change:
        assert verdict.item is known
    elif firmware.errors:
        assert reads == 3
        assert contents[1] != contents[2]
    else:
        assert contents[reads - 1] == contents[reads - 2]
        assert firmware.sha256 == fingerprint(contents[reads - 1]).sha256


@given(
    count=st.integers(1, 150),
    with_item=st.integers(0, 150),
    width=st.integers(0, 250),
    boot=st.integers(1, 2**63 - 200),
    seq=st.integers(1, 2**63 - 200),
)
def test_report_of_any_size_is_split_into_parts_that_fit_and_miss_nobody(
    count: int, with_item: int, width: int, boot: int, seq: int
) -> None:
    states: list[DeviceState] = []
    for number in range(count):
        known = state(f"sps-{number:03}", has_receipt=number >= with_item)
        assert known.item is not None
        item = replace(known.item, identity=replace(known.item.identity, vendor="x" * width))
        states.append(replace(known, item=item, item_digest=item.digest()))
    parts = build_evidence("gw-1", (boot, seq), EVIDENCE_CLOCK, BLOCK, states)
    assert [part.seq for part in parts] == list(range(seq, seq + len(parts)))
    assert [entry.device for part in parts for entry in part.devices] == [known.device for known in states]
    for part in parts:
        raw = part.encode()
        assert len(raw) <= EVIDENCE_BYTES_MAX
        assert decode_evidence(raw) == part
