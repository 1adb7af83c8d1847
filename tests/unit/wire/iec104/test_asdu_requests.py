"""Requests of the controlling station and responses of the controlled one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.wire.iec104.times import TIME, TIME_OCTETS
from wire.iec104.asdu import (
    CallFile,
    ClockSynchronisation,
    CounterInterrogation,
    Directory,
    DirectoryEntry,
    Element,
    EndOfInitialisation,
    FileAck,
    FileReady,
    Interrogation,
    LastSection,
    ReadCommand,
    SectionReady,
    Segment,
    decode_asdu,
    decode_head,
)
from wire.iec104.errors import AsduError, ParameterError
from wire.iec104.points import Point
from wire.iec104.requests import (
    AcknowledgeFile,
    FileCall,
    FileVerdict,
    Interrogate,
    InterrogateCounters,
    ReadPoint,
    Request,
    RequestFile,
    encode_request,
)
from wire.iec104.responses import (
    DIRECTORY_ENTRIES_MAX,
    SEGMENT_BYTES_MAX,
    Response,
    encode_point_asdus,
    encode_response,
    mirror,
)
from wire.iec104.types import Cause, TypeId

REQUESTS: list[tuple[Request, str, Element]] = [
    (Interrogate(1), "64 01 06 00 01 00 000000 14", Interrogation(20)),
    (Interrogate(0xFFFF, 36), "64 01 06 00 ff ff 000000 24", Interrogation(36)),
    (InterrogateCounters(1), "65 01 06 00 01 00 000000 05", CounterInterrogation(5, 0)),
    (InterrogateCounters(1, 1), "65 01 06 00 01 00 000000 01", CounterInterrogation(1, 0)),
    (ReadPoint(1, 0x012345), "66 01 05 00 01 00 452301", ReadCommand()),
    (RequestFile(1, 5, FileCall.DIRECTORY), "7a 01 05 00 01 00 050000 0000 00 00", CallFile(0, 0, 0)),
    (RequestFile(1, 5, FileCall.SELECT_FILE, 0x102), "7a 01 0d 00 01 00 050000 0201 00 01", CallFile(0x102, 0, 1)),
    (RequestFile(1, 5, FileCall.REQUEST_FILE, 2), "7a 01 0d 00 01 00 050000 0200 00 02", CallFile(2, 0, 2)),
    (RequestFile(1, 5, FileCall.SELECT_SECTION, 2, 3), "7a 01 0d 00 01 00 050000 0200 03 05", CallFile(2, 3, 5)),
    (RequestFile(1, 5, FileCall.REQUEST_SECTION, 2, 3), "7a 01 0d 00 01 00 050000 0200 03 06", CallFile(2, 3, 6)),
    (AcknowledgeFile(1, 5, FileVerdict.FILE_TAKEN, 2), "7c 01 0d 00 01 00 050000 0200 00 01", FileAck(2, 0, 1)),
    (AcknowledgeFile(1, 5, FileVerdict.FILE_NOT_TAKEN, 2), "7c 01 0d 00 01 00 050000 0200 00 22", FileAck(2, 0, 0x22)),
    (AcknowledgeFile(1, 5, FileVerdict.SECTION_TAKEN, 2, 3), "7c 01 0d 00 01 00 050000 0200 03 03", FileAck(2, 3, 3)),
    (
        AcknowledgeFile(1, 5, FileVerdict.SECTION_NOT_TAKEN, 2, 3),
        "7c 01 0d 00 01 00 050000 0200 03 24",
        FileAck(2, 3, 0x24),
    ),
]


# holds IC-15
@pytest.mark.parametrize(("request_", "octets", "element"), REQUESTS)
def test_request_has_the_octets_of_the_standard(request_: Request, octets: str, element: Element) -> None:
    raw = encode_request(request_)
    assert raw == bytes.fromhex(octets)
    assert decode_asdu(raw).element == element


# holds IC-15
def test_requests_are_a_closed_list_in_which_nothing_changes_anything() -> None:
    assert {type(request) for request, _, _ in REQUESTS} == set(Request.__args__)
    assert {call for request, _, _ in REQUESTS if isinstance(request, RequestFile) for call in [request.call]} == set(
        FileCall
    )
    assert {request.verdict for request, _, _ in REQUESTS if isinstance(request, AcknowledgeFile)} == set(FileVerdict)
    sent = {encode_request(request)[0] for request, _, _ in REQUESTS}
    assert sent == {TypeId.C_IC_NA_1, TypeId.C_CI_NA_1, TypeId.C_RD_NA_1, TypeId.F_SC_NA_1, TypeId.F_AF_NA_1}
    forbidden = {3, 4, 7}  # SCQ: deactivate file, delete file, deactivate section
    assert not {int(call) & 0x0F for call in FileCall} & forbidden


# holds IC-15
@pytest.mark.parametrize(
    "make",
    [
        lambda: Interrogate(1, 19),
        lambda: Interrogate(1, 37),
        lambda: InterrogateCounters(1, 0),
        lambda: InterrogateCounters(1, 6),
        lambda: InterrogateCounters(1, 0x45),  # would freeze
        lambda: InterrogateCounters(1, 0x85),  # would freeze and reset
        lambda: encode_request(Interrogate(0)),
        lambda: encode_request(Interrogate(65_536)),
        lambda: encode_request(ReadPoint(1, 2**24)),
        lambda: encode_request(ReadPoint(1, -1)),
        lambda: encode_request(RequestFile(1, 1, FileCall.SELECT_FILE, 65_536)),
        lambda: encode_request(RequestFile(1, 1, FileCall.SELECT_FILE, 1, 256)),
    ],
)
def test_request_out_of_range_is_not_encoded(make: Callable[[], object]) -> None:
    with pytest.raises(ParameterError):
        make()


# holds IC-15
@pytest.mark.parametrize("action", [3, 4, 7, 0x14])
def test_file_call_that_is_none_of_ours_is_not_encoded_even_as_a_number(action: int) -> None:
    with pytest.raises(ValueError, match="is not a valid FileCall"):
        encode_request(RequestFile(1, 1, action, 1))  # type: ignore[arg-type]


# holds IC-15 IC-16
def test_station_encodes_nothing_that_is_not_in_its_list() -> None:
    with pytest.raises(AssertionError):
        encode_request(ClockSynchronisation(TIME))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        encode_response(ClockSynchronisation(TIME), 1)  # type: ignore[arg-type]


ENTRY = DirectoryEntry(0x10, 3, 0x12_3456, 0x20, TIME)
RESPONSES: list[tuple[Response, int, str]] = [
    (EndOfInitialisation(2, is_changed=True), 0, "46 01 04 00 01 00 000000 82"),
    (FileReady(3, 0x12_3456, is_refused=False), 0x10, "78 01 0d 00 01 00 100000 0300 563412 00"),
    (FileReady(3, 0, is_refused=True), 0x10, "78 01 0d 00 01 00 100000 0300 000000 80"),
    (SectionReady(3, 1, 0x12_3456, is_refused=False), 0x10, "79 01 0d 00 01 00 100000 0300 01 563412 00"),
    (SectionReady(3, 1, 0, is_refused=True), 0x10, "79 01 0d 00 01 00 100000 0300 01 000000 80"),
    (LastSection(3, 1, 3, 0xAB), 0x10, "7b 01 0d 00 01 00 100000 0300 01 03 ab"),
    (Segment(3, 1, b"abc"), 0x10, "7d 01 0d 00 01 00 100000 0300 01 03 616263"),
    (Directory((ENTRY,)), 0x10, f"7e 81 05 00 01 00 100000 0300 563412 20 {TIME_OCTETS}"),
    (Directory(()), 0x10, "7e 80 05 00 01 00 100000"),
]


# holds IC-16
@pytest.mark.parametrize(("response", "address", "octets"), RESPONSES)
def test_response_has_the_octets_of_the_standard(response: Response, address: int, octets: str) -> None:
    raw = encode_response(response, 1, address)
    assert raw == bytes.fromhex(octets)
    found = decode_asdu(raw)
    assert (found.element, found.address, found.points) == (response, address, ())


# holds IC-16
def test_response_may_have_another_cause_and_an_originator() -> None:
    raw = encode_response(Directory(()), 1, 0, cause=Cause.SPONTANEOUS, originator=9)
    head = decode_head(raw)
    assert (head.cause, head.originator) == (3, 9)


# holds IC-16
@pytest.mark.parametrize(
    "make",
    [
        lambda: encode_response(EndOfInitialisation(128, is_changed=False), 1),
        lambda: encode_response(EndOfInitialisation(-1, is_changed=False), 1),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 0),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 65_536),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 1, 2**24),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 1, -1),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 1, cause=64),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 1, originator=256),
        lambda: encode_response(FileReady(1, 2**24, is_refused=False), 1),
        lambda: encode_response(FileReady(1, -1, is_refused=False), 1),
        lambda: encode_response(SectionReady(1, 256, 1, is_refused=False), 1),
        lambda: encode_response(LastSection(1, 1, 1, 256), 1),
        lambda: encode_response(Segment(1, 1, bytes(SEGMENT_BYTES_MAX + 1)), 1),
        lambda: encode_response(Segment(1, 1, bytes(256)), 1),
        lambda: encode_response(Directory((ENTRY,)), 1, 0x11),
        lambda: encode_response(Directory((DirectoryEntry(2**24, 1, 1, 0, TIME),)), 1, 2**24),
        lambda: list(encode_point_asdus(TypeId.M_SP_NA_1, 64, 1, [Point(1, 1, 0)])),
    ],
)
def test_response_out_of_range_is_not_encoded(make: Callable[[], object]) -> None:
    with pytest.raises(ParameterError):
        make()


# holds IC-16
def test_segment_and_directory_of_the_greatest_length_fit() -> None:
    assert len(encode_response(Segment(1, 1, bytes(SEGMENT_BYTES_MAX)), 1)) == 249
    entries = tuple(DirectoryEntry(address, 1, 1, 0, TIME) for address in range(DIRECTORY_ENTRIES_MAX))
    raw = encode_response(Directory(entries), 1, 0)
    assert len(raw) <= 249 < len(raw) + 13
    assert decode_asdu(raw).element == Directory(entries)


# holds IC-16
@pytest.mark.parametrize(
    ("cause", "is_negative", "octet"),
    [
        (Cause.ACTIVATION_CON, False, 0x07),
        (Cause.ACTIVATION_CON, True, 0x47),
        (Cause.DEACTIVATION_CON, False, 0x09),
        (Cause.ACTIVATION_TERMINATION, False, 0x0A),
        (Cause.UNKNOWN_TYPE, False, 0x6C),
        (Cause.UNKNOWN_CAUSE, False, 0x6D),
        (Cause.UNKNOWN_COMMON_ADDRESS, False, 0x6E),
        (Cause.UNKNOWN_OBJECT_ADDRESS, False, 0x6F),
    ],
)
def test_confirmation_is_the_request_with_another_cause(cause: Cause, is_negative: bool, octet: int) -> None:  # noqa: FBT001 a column
    asked = bytes.fromhex("67 01 06 05 01 00 000000") + bytes.fromhex(TIME_OCTETS)
    answer = mirror(asked, cause, is_negative=is_negative)
    assert answer == asked[:2] + bytes((octet,)) + asked[3:]
    assert decode_asdu(answer).element == ClockSynchronisation(TIME)
    assert mirror(asked[:2] + b"\x86" + asked[3:], cause)[2] & 0x80


# holds IC-16
def test_confirmation_of_nothing_or_with_an_active_cause_is_not_made() -> None:
    with pytest.raises(AsduError, match="6 octets, found 5"):
        mirror(bytes(5), Cause.ACTIVATION_CON)
    for cause in (Cause.ACTIVATION, Cause.DEACTIVATION, Cause.REQUEST, Cause.SPONTANEOUS):
        with pytest.raises(ParameterError, match="confirms nothing"):
            mirror(encode_request(Interrogate(1)), cause)
