"""Models in CGMES: RDF/XML profiles, one file, or several in a zip archive. Solved states (SV) are no part of a model.

What several profiles say about one object is put together by its identifier.

Source: IEC 61970-552 (CIM XML), IEC 61970-600 (CGMES).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Final
from xml.parsers import expat

from client.grid.model import PIECES_MAX, GridModel, ModelError, plain, volts

NAME: Final = "cgmes"
ZIP_MARK: Final = b"PK\x03\x04"
FILES_MAX: Final = 256
BYTES_MAX: Final = 512 * 1024 * 1024
"""Of all profiles together, unpacked."""
_READ_BYTES: Final = 1024 * 1024
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ROOT, _ID, _ABOUT, _RESOURCE = (f"{_RDF} {name}" for name in ("RDF", "ID", "about", "resource"))
_HEADER: Final = "FullModel"
_SOLVED: Final = "Sv"
_BASE_VOLTAGE: Final = "BaseVoltage"
_NOMINAL: Final = "BaseVoltage.nominalVoltage"
_DEPTH_MAX: Final = 4


def recognise(content: bytes) -> bool:
    """Take RDF/XML with classes of the CIM, or an archive whose first XML file is that."""
    try:
        head = next(_heads(content), b"")
    except ModelError:
        return False
    return b"<rdf:RDF" in head and b"CIM-schema-cim" in head


def parse(content: bytes) -> GridModel:
    """Return all objects as pieces: kind is the class, name the identifier.

    Raises:
        ModelError: Not well-formed, with a document type, no RDF, or more than is allowed.
    """
    reader = _Reader()
    for name, parts in _files(content):
        reader.read(name, parts)
    levels = [volts(row.get(_NOMINAL, "")) for (kind, _), row in reader.pieces.items() if kind == _BASE_VOLTAGE]
    return GridModel(NAME, reader.pieces, frozenset(level for level in levels if level is not None))


def _heads(content: bytes) -> Iterator[bytes]:
    """Yield the beginnings of the XML files."""
    for _, parts in _files(content):
        yield next(parts, b"")[:4096]


def _files(content: bytes) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield name and pieces of every XML file.

    Raises:
        ModelError: The archive is damaged, or holds more than is allowed.
    """
    if not content.startswith(ZIP_MARK):
        yield "the file", iter((content,))
        return
    left = BYTES_MAX
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = sorted(member.filename for member in archive.infolist() if not member.is_dir())
            if len(members) > FILES_MAX or len(set(members)) != len(members):
                raise ModelError(f"the archive has more than {FILES_MAX} files, or one of them twice")
            for name in members:
                if not name.lower().endswith((".xml", ".rdf")):
                    continue
                with archive.open(name) as file:
                    parts = []
                    while part := file.read(_READ_BYTES):
                        left -= len(part)
                        if left < 0:
                            raise ModelError(f"the archive unpacks to more than {BYTES_MAX} bytes")
                        parts.append(part)
                yield name, iter(parts)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise ModelError(f"the archive is damaged: {error}") from error


class _Reader:
    """Collects the objects of several files."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[str, str], dict[str, str]] = {}
        self._depth = 0
        self._piece: dict[str, str] | None = None
        self._property = ""
        self._text: list[str] = []
        self._resource: str | None = None

    def read(self, name: str, parts: Iterator[bytes]) -> None:
        """Read one file."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._document_type
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        self._depth, self._piece = 0, None
        try:
            for part in parts:
                parser.Parse(part, False)  # noqa: FBT003 - the library's own signature
            parser.Parse(b"", True)  # noqa: FBT003 - the library's own signature
        except expat.ExpatError as error:
            raise ModelError(f"{name}, line {error.lineno}: {expat.ErrorString(error.code)}") from error

    def _document_type(self, *_: object) -> None:
        raise ModelError("a document type is not allowed")

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEPTH_MAX or (self._depth == 1 and tag != _ROOT):
            raise ModelError("it is no RDF/XML of the CIM")
        local = tag.rpartition(" ")[2]
        if self._depth == 2:  # noqa: PLR2004 - an object
            self._begin(local, attributes.get(_ID) or attributes.get(_ABOUT) or "")
        elif self._depth == 3:  # noqa: PLR2004 - one of its properties
            self._property, self._resource = local, attributes.get(_RESOURCE)
            self._text.clear()

    def _begin(self, kind: str, identifier: str) -> None:
        self._piece = None
        if kind == _HEADER or kind.startswith(_SOLVED):
            return
        if len(self.pieces) >= PIECES_MAX:
            raise ModelError(f"there are more than {PIECES_MAX} objects")
        self._piece = self.pieces.setdefault((kind, _identifier(identifier)), {})

    def _end(self, _tag: str) -> None:
        if self._depth == 3 and self._piece is not None:  # noqa: PLR2004 - a property
            if self._resource is not None:
                self._piece[self._property] = _identifier(self._resource)
            else:
                self._piece[self._property] = plain("".join(self._text))
        self._depth -= 1


def _identifier(text: str) -> str:
    """Return an identifier without what the forms of RDF put in front of it."""
    return text.removeprefix("urn:uuid:").removeprefix("#").removeprefix("_")
