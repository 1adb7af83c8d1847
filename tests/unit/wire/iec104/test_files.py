"""Files and directories: the reader against the server, and against a server that lies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.iec104.file_station import FileServer, ServeState, StoredFile
from tests.unit.wire.iec104.stored import (
    ADDRESS,
    MIB,
    NAME,
    STATION,
    Change,
    content_of,
    decoded,
    server_of,
    stored,
    transfer,
)
from tests.unit.wire.iec104.times import TIME
from wire.iec104.asdu import (
    Asdu,
    CallFile,
    Directory,
    DirectoryEntry,
    Element,
    FileAck,
    FileReady,
    LastSection,
    SectionReady,
    Segment,
    decode_asdu,
)
from wire.iec104.errors import (
    BAD_CHECKSUM,
    NOT_READY,
    REFUSED,
    WRONG_FILE,
    WRONG_LENGTH,
    WRONG_ORDER,
    FileTransferError,
)
from wire.iec104.fileread import DIRECTORY_FILES_MAX, LAST_FILE, DirectoryReader, FileReader, ReadState
from wire.iec104.points import Point
from wire.iec104.requests import (
    AcknowledgeFile,
    FileCall,
    FileVerdict,
    Interrogate,
    Request,
    RequestFile,
    encode_request,
)
from wire.iec104.responses import encode_point_asdus, encode_response, mirror
from wire.iec104.types import Cause, TypeId


def answer(element: Element, address: int = ADDRESS, cause: int = Cause.FILE_TRANSFER) -> Asdu:
    asdu = decode_asdu(encode_response(FileReady(NAME, 0, is_refused=False), STATION, address, cause=cause))
    return replace(asdu, element=element)


def fails(change: Change, code: str, message: str, content: bytes = b"0123456789" * 3) -> None:
    with pytest.raises(FileTransferError, match=message) as caught:
        transfer(server_of(stored(content, section_bytes=20)), change)
    assert caught.value.code == code


# holds IC-17
@pytest.mark.parametrize("size", [0, 1, 235, 236, 237, 16_383, 16_384, 16_385, 40_000, MIB])
def test_file_of_any_size_arrives_byte_by_byte(size: int) -> None:
    server = server_of(stored(content_of(size)))
    reader, content = transfer(server)
    assert content == content_of(size)
    assert (reader.length, reader.read_bytes, reader.is_done) == (size, size, True)
    assert (server.state, server.file) == (ServeState.IDLE, None)


# holds IC-17
def test_file_is_asked_for_in_the_order_of_the_standard() -> None:
    server, said = server_of(stored(b"ab", section_bytes=1)), []
    reader = FileReader(STATION, ADDRESS, NAME)
    requests: list[Request] = [reader.begin()]
    while requests:
        request = requests.pop(0)
        said.append(request)
        server.take(decoded(request))
        while (raw := server.next_asdu()) is not None:
            reply = reader.take(decode_asdu(raw)).reply
            requests += [reply] if reply is not None else []
    call = RequestFile(STATION, ADDRESS, FileCall.SELECT_FILE, NAME)
    ack = AcknowledgeFile(STATION, ADDRESS, FileVerdict.SECTION_TAKEN, NAME)
    assert said == [
        call,
        replace(call, call=FileCall.REQUEST_FILE),
        replace(call, call=FileCall.REQUEST_SECTION, section=1),
        replace(ack, section=1),
        replace(call, call=FileCall.REQUEST_SECTION, section=2),
        replace(ack, section=2),
        replace(ack, verdict=FileVerdict.FILE_TAKEN),
    ]


# holds IC-17
def test_file_of_a_mebibyte_comes_in_sections_of_any_length() -> None:
    content = content_of(MIB)
    for section_bytes, sections in ((20_000, 53), (1, 255), (MIB, 1)):
        file = stored(content, section_bytes=section_bytes)
        assert len(file.sections()) == sections
        assert transfer(server_of(file))[1] == content


# holds IC-18
def test_section_comes_out_only_when_its_length_and_checksum_are_right() -> None:
    reader = FileReader(STATION, ADDRESS, NAME)
    reader.take(answer(FileReady(NAME, 4, is_refused=False)))
    reader.take(answer(SectionReady(NAME, 1, 4, is_refused=False)))
    assert reader.take(answer(Segment(NAME, 1, b"abcd"))).data == b""
    assert reader.take(answer(LastSection(NAME, 1, 3, sum(b"abcd") & 0xFF))).data == b"abcd"


def lying_once(lie: Change, *, repeats: int = 1) -> Change:
    """Lie in the first so many elements that the lie changes."""
    left = [repeats]

    def change(element: Element) -> list[Element]:
        changed = lie(element)
        if changed != [element] and left[0]:
            left[0] -= 1
            return changed
        return [element]

    return change


def flip(element: Element) -> list[Element]:
    if isinstance(element, Segment):
        return [replace(element, data=bytes((element.data[0] ^ 1,)) + element.data[1:])]
    return [element]


def drop(element: Element) -> list[Element]:
    return [] if isinstance(element, Segment) else [element]


def shorten(element: Element) -> list[Element]:
    return [replace(element, data=element.data[:-1])] if isinstance(element, Segment) else [element]


# holds IC-18
@pytest.mark.parametrize("lie", [flip, drop, shorten])
@pytest.mark.parametrize("repeats", [1, 2])
def test_section_that_comes_damaged_is_asked_for_again(lie: Change, repeats: int) -> None:
    content = b"0123456789" * 3
    reader, found = transfer(server_of(stored(content, section_bytes=20)), lying_once(lie, repeats=repeats))
    assert (found, reader.is_done) == (content, True)


# holds IC-18
@pytest.mark.parametrize(("lie", "code"), [(flip, BAD_CHECKSUM), (drop, WRONG_LENGTH), (shorten, WRONG_LENGTH)])
def test_section_that_comes_damaged_three_times_ends_the_read(lie: Change, code: str) -> None:
    fails(lie, code, "section 1 came damaged 3 times")
    fails(lying_once(lie, repeats=3), code, "section 1 came damaged 3 times")


# holds IC-18
def test_each_section_may_come_damaged_twice() -> None:
    content = content_of(500)
    damaged: dict[int, int] = {}

    def change(element: Element) -> list[Element]:
        if isinstance(element, Segment) and damaged.setdefault(element.section, 0) < 2:
            damaged[element.section] += 1
            return flip(element)
        return [element]

    assert transfer(server_of(stored(content, section_bytes=200)), change)[1] == content
    assert damaged == {1: 2, 2: 2, 3: 2}


def swap(kind: type[Element], **changes: object) -> Change:
    """Change fields of every element of one kind."""
    return lambda element: [replace(element, **changes) if isinstance(element, kind) else element]  # type: ignore[arg-type]


def instead(kind: type[Element], other: Element) -> Change:
    return lambda element: [other if isinstance(element, kind) else element]


# holds IC-17 IC-18 IC-19
@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (swap(FileReady, is_refused=True), NOT_READY, "the device has it not ready"),
        (swap(SectionReady, is_refused=True), NOT_READY, "has section 1 not ready"),
        (swap(FileReady, name=8), WRONG_FILE, "file 8 at address 1280 came"),
        (swap(SectionReady, name=8), WRONG_FILE, "file 8 "),
        (swap(Segment, name=8), WRONG_FILE, "file 8 "),
        (swap(LastSection, name=8), WRONG_FILE, "file 8 "),
        (swap(SectionReady, section=2), WRONG_ORDER, "section 2 came, 1 is next"),
        (swap(SectionReady, section=0), WRONG_ORDER, "section 0 came, 1 is next"),
        (swap(Segment, section=2), WRONG_FILE, "section 1 was asked for, section 2 came"),
        (swap(LastSection, section=2), WRONG_FILE, "section 1 was asked for, section 2 came"),
        (swap(SectionReady, length=31), WRONG_LENGTH, "30 octets are announced, and section 1 goes beyond"),
        (swap(FileReady, length=29), WRONG_LENGTH, "29 octets are announced, and section 2 goes beyond"),
        (swap(SectionReady, length=19), WRONG_LENGTH, "section 1 of 19 octets comes with more"),
        (swap(Segment, data=b""), WRONG_LENGTH, "comes with an empty segment"),
        (swap(LastSection, qualifier=4), WRONG_ORDER, "LastSection came, due was a segment"),
        (swap(LastSection, qualifier=1), WRONG_ORDER, "LastSection came, due was a segment"),
        (lambda element: [element, element] if isinstance(element, FileReady) else [element], WRONG_ORDER, "FileReady"),
        (
            lambda element: [element, element] if isinstance(element, SectionReady) else [element],
            WRONG_ORDER,
            "SectionReady came, due was a segment",
        ),
        (
            lambda element: [element, element] if isinstance(element, LastSection) else [element],
            WRONG_ORDER,
            "LastSection came, due was another section",
        ),
        (instead(FileReady, Segment(NAME, 1, b"a")), WRONG_ORDER, "Segment came, due was the file to be ready"),
        (instead(FileReady, CallFile(NAME, 0, 1)), WRONG_ORDER, "CallFile came"),
        (instead(SectionReady, FileAck(NAME, 0, 1)), WRONG_ORDER, "FileAck came"),
    ],
)
def test_answer_that_is_wrong_or_out_of_order_ends_the_read(change: Change, code: str, message: str) -> None:
    fails(change, code, message)


# holds IC-18
def test_file_whose_own_checksum_is_wrong_ends_the_read() -> None:
    def change(element: Element) -> list[Element]:
        if isinstance(element, LastSection) and element.qualifier == 1:
            return [replace(element, checksum=element.checksum ^ 1)]
        return [element]

    fails(change, BAD_CHECKSUM, "the checksum of 30 octets is 39, the device says 38")


# holds IC-19
@pytest.mark.parametrize("cause", [Cause.UNKNOWN_TYPE, Cause.UNKNOWN_CAUSE, Cause.UNKNOWN_OBJECT_ADDRESS])
def test_file_that_the_device_does_not_offer_is_refused(cause: Cause) -> None:
    reader = FileReader(STATION, ADDRESS, NAME)
    mirrored = decode_asdu(mirror(encode_request(reader.begin()), cause))
    with pytest.raises(FileTransferError, match=f"answers with cause {int(cause)}") as caught:
        reader.take(mirrored)
    assert caught.value.code == REFUSED


# holds IC-19
def test_file_answered_at_another_address_or_negatively_is_refused() -> None:
    ready = FileReady(NAME, 1, is_refused=False)
    with pytest.raises(FileTransferError, match="address 1281 came") as caught:
        FileReader(STATION, ADDRESS, NAME).take(answer(ready, ADDRESS + 1))
    assert caught.value.code == WRONG_FILE
    found = answer(ready)
    with pytest.raises(FileTransferError, match="cause 13"):
        FileReader(STATION, ADDRESS, NAME).take(replace(found, head=replace(found.head, is_negative=True)))


# holds IC-19
def test_what_belongs_to_no_file_or_another_station_is_passed_over() -> None:
    reader = FileReader(STATION, ADDRESS, NAME)
    (points,) = encode_point_asdus(TypeId.M_SP_NA_1, 3, STATION, [Point(1, 1, 0)])
    other = encode_response(FileReady(NAME, 0, is_refused=True), STATION + 1, ADDRESS)
    for raw in (points, other, encode_request(Interrogate(STATION)), encode_response(Directory(()), STATION)):
        step = reader.take(decode_asdu(raw))
        assert (step.reply, step.data) == (None, b"")
    assert reader.state is ReadState.FILE_READY


# holds IC-18
def test_file_above_the_callers_bound_is_not_read() -> None:
    with pytest.raises(FileTransferError, match="30 octets are announced, 29 are the most") as caught:
        transfer(server_of(stored(bytes(30))), reader=FileReader(STATION, ADDRESS, NAME, bytes_max=29))
    assert caught.value.code == WRONG_LENGTH
    assert transfer(server_of(stored(bytes(30))), reader=FileReader(STATION, ADDRESS, NAME, bytes_max=30))[0].is_done


# holds IC-18
def test_file_that_ends_before_its_announced_length_says_how_much_there_was() -> None:
    reader, content = transfer(server_of(stored(b"abc", length=10)))
    assert content == b"abc"
    assert (reader.is_done, reader.length, reader.read_bytes) == (True, 10, 3)


# holds IC-17
def test_section_behind_the_last_number_is_refused() -> None:
    reader = FileReader(STATION, ADDRESS, NAME)
    reader.take(answer(FileReady(NAME, 256, is_refused=False)))
    for section in range(1, 256):
        reader.take(answer(SectionReady(NAME, section, 1, is_refused=False)))
        reader.take(answer(Segment(NAME, section, b"\x00")))
        reader.take(answer(LastSection(NAME, section, 3, 0)))
    for section in (0, 256):
        with pytest.raises(FileTransferError, match="256 is next"):
            reader.take(answer(SectionReady(NAME, section, 1, is_refused=False)))


def directory_of(server: FileServer, reader: DirectoryReader) -> list[bytes]:
    """Read the directory and return the ASDUs that brought it."""
    assert server.take(decoded(reader.begin()))
    raws = []
    while (raw := server.next_asdu()) is not None:
        raws.append(raw)
        reader.take(decode_asdu(raw))
    return raws


# holds IC-20
@pytest.mark.parametrize(
    "addresses",
    [[], [5], [5, 6, 7], [5, 7, 9, 10], list(range(100, 118)), list(range(100, 119)), list(range(2, 90, 2))],
)
def test_directory_lists_every_file_with_its_length_and_time(addresses: list[int]) -> None:
    files = [StoredFile(address, address + 1, bytes(address), TIME) for address in addresses]
    reader = DirectoryReader(STATION)
    directory_of(server_of(*files), reader)
    assert reader.is_done
    last = [LAST_FILE if address == addresses[-1] else 0 for address in addresses]
    assert reader.entries == tuple(
        DirectoryEntry(address, address + 1, address, status, TIME)
        for address, status in zip(addresses, last, strict=True)
    )


# holds IC-20
def test_directory_is_done_only_behind_its_last_file() -> None:
    files = [StoredFile(address, 1, b"", TIME) for address in (1, 3)]
    raws = directory_of(server_of(*files), DirectoryReader(STATION))
    assert len(raws) == 2
    reader = DirectoryReader(STATION)
    reader.take(decode_asdu(raws[0]))
    assert (reader.is_done, len(reader.entries)) == (False, 1)
    reader.take(decode_asdu(raws[1]))
    assert (reader.is_done, len(reader.entries)) == (True, 2)
    reader.take(decode_asdu(raws[0]))
    assert len(reader.entries) == 2


def listed(*entries: DirectoryEntry, cause: int = Cause.REQUEST, station: int = STATION) -> Asdu:
    return decode_asdu(encode_response(Directory(entries), station, entries[0].address, cause=cause))


ENTRY = DirectoryEntry(1, 1, 0, 0, TIME)


# holds IC-20
def test_directory_of_another_station_or_that_nobody_asked_for_is_passed_over() -> None:
    reader = DirectoryReader(STATION)
    reader.take(listed(ENTRY, cause=Cause.SPONTANEOUS))
    reader.take(listed(ENTRY, station=STATION + 1))
    reader.take(decoded(Interrogate(STATION)))
    assert len(reader.entries) == 0
    reader.take(listed(ENTRY))
    assert list(reader.entries) == [ENTRY]


# holds IC-20
def test_directory_that_is_refused_or_lists_a_file_twice_ends_the_read() -> None:
    reader = DirectoryReader(STATION)
    with pytest.raises(FileTransferError, match="refused with cause 47") as caught:
        reader.take(decode_asdu(mirror(encode_request(reader.begin()), Cause.UNKNOWN_OBJECT_ADDRESS)))
    assert caught.value.code == REFUSED
    reader.take(listed(ENTRY))
    with pytest.raises(FileTransferError, match="lists file 1 twice"):
        reader.take(listed(ENTRY))
    behind = replace(ENTRY, status=LAST_FILE)
    with pytest.raises(FileTransferError, match="lists file 9"):
        DirectoryReader(STATION).take(listed(behind, replace(ENTRY, address=2, name=9)))


# holds IC-20
def test_directory_without_end_ends_the_read() -> None:
    reader = DirectoryReader(STATION)
    for address in range(DIRECTORY_FILES_MAX):
        reader.take(listed(replace(ENTRY, address=address)))
    with pytest.raises(FileTransferError, match="too many"):
        reader.take(listed(replace(ENTRY, address=DIRECTORY_FILES_MAX)))
