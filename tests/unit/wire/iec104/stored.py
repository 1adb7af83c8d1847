"""Files of a station, and how they are transferred in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from tests.unit.wire.iec104.file_station import FileServer, StoredFile
from tests.unit.wire.iec104.times import TIME
from wire.iec104.asdu import (
    Asdu,
    Element,
    decode_asdu,
)
from wire.iec104.fileread import FileReader
from wire.iec104.requests import (
    Request,
    encode_request,
)

STATION = 3
ADDRESS = 0x500
NAME = 7
MIB = 1024 * 1024
Change = Callable[[Element], list[Element]]


def content_of(size: int) -> bytes:
    return hashlib.shake_128(size.to_bytes(8, "big")).digest(size)


def stored(content: bytes, **changes: int) -> StoredFile:
    return replace(StoredFile(ADDRESS, NAME, content, TIME), **changes)  # type: ignore[arg-type]


def server_of(*files: StoredFile) -> FileServer:
    return FileServer(STATION, lambda: files)


def decoded(request: Request) -> Asdu:
    return decode_asdu(encode_request(request))


def unchanged(element: Element) -> list[Element]:
    return [element]


def transfer(
    server: FileServer, change: Change = unchanged, reader: FileReader | None = None
) -> tuple[FileReader, bytes]:
    """Carry a file over; ``change`` lies about what the server says."""
    reader = reader or FileReader(STATION, ADDRESS, NAME)
    requests: list[Request] = [reader.begin()]
    content = b""
    while requests:
        assert server.take(decoded(requests.pop(0)))
        while (raw := server.next_asdu()) is not None:
            asdu = decode_asdu(raw)
            assert asdu.element is not None
            for element in change(asdu.element):
                step = reader.take(replace(asdu, element=element))
                content += step.data
                requests += [step.reply] if step.reply is not None else []
    return reader, content
