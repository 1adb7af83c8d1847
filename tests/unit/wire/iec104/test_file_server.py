"""The server's side of file transfer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.iec104.file_station import FileServer, ServeState, StoredFile
from tests.unit.wire.iec104.stored import ADDRESS, NAME, STATION, content_of, decoded, server_of, stored, transfer
from tests.unit.wire.iec104.times import TIME
from wire.iec104.asdu import (
    Asdu,
    CallFile,
    Element,
    FileAck,
    FileReady,
    LastSection,
    SectionReady,
    decode_asdu,
)
from wire.iec104.errors import (
    ParameterError,
)
from wire.iec104.requests import (
    AcknowledgeFile,
    FileCall,
    FileVerdict,
    Interrogate,
    RequestFile,
)
from wire.iec104.responses import Response, encode_response


def said(server: FileServer) -> list[Element | None]:
    found = []
    while (raw := server.next_asdu()) is not None:
        found.append(decode_asdu(raw).element)
    return found


def call(action: FileCall, section: int = 0, name: int = NAME) -> Asdu:
    return decoded(RequestFile(STATION, ADDRESS, action, name, section))


def test_server_refuses_what_is_not_due() -> None:
    server = server_of(stored(b"abc"))
    no_file, no_section = FileReady(NAME, 0, is_refused=True), SectionReady(NAME, 1, 0, is_refused=True)
    server.take(call(FileCall.REQUEST_FILE))
    server.take(call(FileCall.REQUEST_SECTION, 1))
    assert said(server) == [no_file, no_section]
    server.take(call(FileCall.SELECT_FILE, name=8))
    assert said(server) == [replace(no_file, name=8)]
    server.take(call(FileCall.SELECT_FILE))
    server.take(call(FileCall.REQUEST_SECTION, 1))
    server.take(call(FileCall.REQUEST_FILE, name=8))
    assert said(server) == [FileReady(NAME, 3, is_refused=False), no_section, replace(no_file, name=8)]
    server.take(call(FileCall.REQUEST_FILE))
    server.take(call(FileCall.REQUEST_FILE))
    server.take(call(FileCall.REQUEST_SECTION, 2))
    server.take(call(FileCall.REQUEST_SECTION, 1, name=8))
    assert said(server) == [
        SectionReady(NAME, 1, 3, is_refused=False),
        no_file,
        replace(no_section, section=2),
        replace(no_section, name=8),
    ]


def test_server_leaves_to_its_caller_what_it_does_not_offer() -> None:
    server = server_of(stored(b"abc"))
    delete = replace(call(FileCall.SELECT_FILE), element=CallFile(NAME, 0, 4))
    other_station = decoded(RequestFile(STATION + 1, ADDRESS, FileCall.SELECT_FILE, NAME))
    other_directory = decoded(RequestFile(STATION, 9, FileCall.DIRECTORY))
    ack = decoded(AcknowledgeFile(STATION, ADDRESS, FileVerdict.SECTION_TAKEN, NAME, 1))
    for asdu in (delete, other_station, other_directory, ack, decoded(Interrogate(STATION))):
        assert not server.take(asdu)
    assert said(server) == []
    assert [file.content for file in server._listing()] == [b"abc"]
    server.take(call(FileCall.SELECT_FILE))
    assert not server.take(ack)
    assert not server.take(replace(ack, element=FileAck(NAME, 1, 0)))


def test_server_takes_only_a_verdict_that_is_due() -> None:
    server = server_of(stored(b"abc"))
    for action, section in ((FileCall.SELECT_FILE, 0), (FileCall.REQUEST_FILE, 0), (FileCall.REQUEST_SECTION, 1)):
        server.take(call(action, section))
    said(server)
    ack = decoded(AcknowledgeFile(STATION, ADDRESS, FileVerdict.FILE_TAKEN, NAME, 1))
    assert server.state is ServeState.SECTION_SENT
    assert not server.take(ack)
    assert not server.take(replace(ack, element=FileAck(NAME, 2, 3)))
    assert server.take(replace(ack, element=FileAck(NAME, 1, 3)))
    assert not server.take(replace(ack, element=FileAck(NAME, 0, 3)))
    assert server.take(replace(ack, element=FileAck(NAME, 0, 0x22)))
    assert (server.state, server.file) == (ServeState.IDLE, None)


def test_server_stops_when_file_or_section_is_deactivated_and_serves_again() -> None:
    server = server_of(stored(content_of(1000)))
    deactivate = replace(call(FileCall.SELECT_FILE), element=CallFile(NAME, 1, 7))
    for action, section in ((FileCall.SELECT_FILE, 0), (FileCall.REQUEST_FILE, 0), (FileCall.REQUEST_SECTION, 1)):
        server.take(call(action, section))
    for _ in range(3):
        assert server.next_asdu() is not None
    assert server.take(deactivate)
    assert not server.take(deactivate)
    assert server.next_asdu() is None
    server.take(call(FileCall.REQUEST_SECTION, 1))
    assert said(server)[-1] == LastSection(NAME, 1, 3, sum(content_of(1000)) & 0xFF)
    assert server.take(replace(deactivate, element=CallFile(NAME, 0, 3)))
    assert (server.state, server.file) == (ServeState.IDLE, None)
    assert transfer(server)[1] == content_of(1000)


def test_server_that_is_not_listened_to_stops_to_answer() -> None:
    server = server_of(stored(b"abc"))
    assert sum(server.take(call(FileCall.SELECT_FILE)) for _ in range(200)) == 65
    assert len(said(server)) == 65
    assert server.take(call(FileCall.SELECT_FILE))


def test_new_selection_ends_the_transfer_before() -> None:
    server = server_of(stored(content_of(1000)), StoredFile(ADDRESS + 1, 8, b"", TIME))
    for action, section in ((FileCall.SELECT_FILE, 0), (FileCall.REQUEST_FILE, 0), (FileCall.REQUEST_SECTION, 1)):
        server.take(call(action, section))
    server.take(decoded(RequestFile(STATION, ADDRESS + 1, FileCall.SELECT_FILE, 8)))
    assert said(server)[-1] == FileReady(8, 0, is_refused=False)


def test_file_that_has_no_encoding_is_not_stored() -> None:
    for changes in ({"length": 2**24}, {"section_bytes": 0}):
        with pytest.raises(ParameterError, match="file 7 of"):
            stored(b"abc", **changes)


def recorded(content: bytes, section_bytes: int) -> list[Element]:
    """Return what the server says while a file is read."""
    found: list[Element] = []

    def keep(element: Element) -> list[Element]:
        found.append(element)
        return [element]

    transfer(server_of(stored(content, section_bytes=section_bytes)), keep)
    return found


def test_responses_of_the_server_are_those_of_a_controlled_station() -> None:
    assert all(isinstance(element, Response) for element in recorded(b"abc", 2))


def served(content: bytes, section_bytes: int) -> list[bytes]:
    """Return the ASDUs that bring a file, for other tests."""
    return [
        encode_response(element, STATION, ADDRESS)
        for element in recorded(content, section_bytes)
        if isinstance(element, Response)
    ]
