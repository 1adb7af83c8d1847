"""Setting lists and strategy tables as XML (IT-6).

The parser is the standard library's expat. A document type is refused where it begins, so that there are no entities
but the five of XML itself, and nothing outside of the file is ever looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from rules.items.model import TEXT_CHARACTERS_MAX, Cell, Found, ItemList, ItemsError, lower, number_items
from rules.items.text import utf8

NAME: Final = "xml"
DEPTH_MAX: Final = 16
"""Elements inside one another."""
ELEMENTS_MAX: Final = 32_768
PATH_COLUMN: Final = "/"
"""No XML name: which elements an item stands in."""
TEXT_COLUMN: Final = "text"
_MARK: Final = b"\xef\xbb\xbf"
_BLANKS: Final = " \t\r\n"
_RUN: Final = re.compile(f"[{_BLANKS}]+")
_ENCODINGS: Final = ("utf-8", "us-ascii", "ascii")


def recognise(content: bytes) -> bool:
    """Take a file whose first character is ``<``."""
    return content.removeprefix(_MARK).lstrip(_BLANKS.encode())[:1] == b"<"


def parse(content: bytes) -> ItemList:
    """Return the elements that say something as items.

    An element with neither attributes nor elements inside is a cell of the element around it. Every other one with
    attributes, such cells or a text of its own is an item. If only the outermost is, each of its cells is one.

    Args:
        content: At most 256 KiB.

    Raises:
        ItemsError: Not well-formed, no UTF-8, a document type, or more than is allowed.
    """
    text = utf8(content)
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.XmlDeclHandler = reader.declaration
    parser.StartDoctypeDeclHandler = reader.document_type
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(text.encode(), True)  # noqa: FBT003 - the library's own signature
    except expat.ExpatError as error:
        raise ItemsError(f"line {error.lineno}: {expat.ErrorString(error.code)}") from error
    return number_items(NAME, reader.found())


@dataclass(slots=True)
class _Element:
    """One element that was begun."""

    name: str
    place: str
    """The names of the elements around it and its own."""
    path: str
    """The same, and which of several neighbours of one name it is: as the elements inside begin their place."""
    cells: list[Cell]
    """Its attributes, then the elements inside that are cells."""
    is_cell: bool
    """It has neither attributes nor elements inside."""
    texts: list[str] = field(default_factory=list)
    inside: Counter[str] = field(default_factory=Counter)
    """How many elements of a name stood inside so far."""
    columns: Counter[str] = field(default_factory=Counter)

    def own_text(self) -> str:
        """Return the text between its elements; blanks and line ends count as one blank, none at the ends."""
        return _RUN.sub(" ", "".join(self.texts)).strip(_BLANKS)

    def add(self, column: str, text: str) -> None:
        """Add a cell; to a name that is there already its place is added."""
        self.columns[column] += 1
        place = self.columns[column]
        self.cells.append(Cell(column if place == 1 else f"{column}[{place}]", text))


class _Reader:
    """Takes what expat finds."""

    def __init__(self) -> None:
        self._open: list[_Element] = []
        self._all: list[_Element] = []

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        """Refuse a file that says that it is in another encoding."""
        if encoding is not None and lower(encoding) not in _ENCODINGS:
            raise ItemsError("the file says that it is not in UTF-8")

    def document_type(self, *_: object) -> None:
        """Refuse every document type."""
        raise ItemsError("a document type is refused: it could bring entities in")

    def start(self, name: str, attributes: list[str]) -> None:
        """Begin an element."""
        if len(self._open) >= DEPTH_MAX or len(self._all) >= ELEMENTS_MAX:
            raise ItemsError(f"more than {ELEMENTS_MAX} elements, or more than {DEPTH_MAX} inside one another")
        place = path = name
        if self._open:
            around = self._open[-1]
            around.is_cell = False
            around.inside[name] += 1
            count = around.inside[name]
            place = f"{around.path}/{name}"
            path = place if count == 1 else f"{place}[{count}]"
        if len(path) > TEXT_CHARACTERS_MAX:  # else a long name is kept once more for each element inside
            raise ItemsError(
                f"the names of elements inside one another have more than {TEXT_CHARACTERS_MAX} characters"
            )
        element = _Element(name, place, path, [], is_cell=not attributes)
        for column, text in zip(attributes[::2], attributes[1::2], strict=True):
            element.add(column, text)
        self._open.append(element)
        self._all.append(element)

    def text(self, text: str) -> None:
        """Take a piece of the text of the element that is open."""
        self._open[-1].texts.append(text)

    def end(self, _name: str) -> None:
        """End an element; its text becomes a cell."""
        element = self._open.pop()
        text = element.own_text()
        element.texts.clear()
        if element.is_cell and self._open:
            self._open[-1].add(element.name, text)
        elif text:
            element.add(TEXT_COLUMN, text)

    def found(self) -> list[Found]:
        """Return the items in the order in which they begin; the outermost element is the head."""
        root, *others = self._all
        rows = [element for element in others if element.cells]
        if not rows:
            return [Found((Cell("name", cell.column), Cell("value", cell.text))) for cell in root.cells]
        found = [Found((Cell(PATH_COLUMN, row.place), *row.cells)) for row in rows]
        return [Found(tuple(root.cells), is_head=True), *found] if root.cells else found
