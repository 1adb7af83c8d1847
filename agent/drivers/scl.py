"""What an SCL file (IEC 61850-6: CID, ICD, SCD) says of its IEDs: their names and configuration revisions.

Only that is looked at, element by element, so that memory does not grow with the file. A file with a document type is
refused: SCL has none, and entities could make a small file large.

Source: IEC 61850-6, 9.3 (IED), 9.3.4 (LDevice), 9.3.6 (DOI, DAI, Val).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from wire.fields import is_plain

SCL_BYTES_MAX: Final = 16 * 1024 * 1024
IEDS_MAX: Final = 1000
REVISIONS_MAX: Final = 1000
DEPTH_MAX: Final = 64
TEXT_CHARACTERS_MAX: Final = 256
NAMESPACE: Final = "http://www.iec.ch/61850/2003/SCL"

_REVISION_PATH: Final = ("SCL", "IED", "AccessPoint", "Server", "LDevice", "LN0", "DOI", "DAI", "Val")
_IED_DEPTH, _DEVICE_DEPTH, _OBJECT_DEPTH, _ATTRIBUTE_DEPTH = 2, 5, 7, 8


class SclError(ValueError):
    """The file is no SCL file, or has more of something than is taken."""


@dataclass(frozen=True, slots=True)
class SclIed:
    """One IED of the file."""

    name: str
    version: str
    """Attribute ``configVersion``, empty without one."""
    revisions: tuple[tuple[str, str], ...]
    """Instance of each logical device and the value of its ``LLN0.NamPlt.configRev``, where the file gives one."""


@dataclass(slots=True)
class _Found:
    name: str
    version: str
    revisions: list[tuple[str, str]] = field(default_factory=list)


class _Walk:
    """Follows the parser through the elements."""

    def __init__(self) -> None:
        self.ieds: list[_Found] = []
        self._path: list[str] = []
        self._names: list[dict[str, str]] = []
        self._text: list[str] | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take an element's beginning."""
        local = name.removeprefix(f"{NAMESPACE} ")
        if not self._path and local != "SCL":
            raise SclError(f"the outermost element is {_shown(local)}, not SCL")
        if len(self._path) == DEPTH_MAX:
            raise SclError(f"elements stand more than {DEPTH_MAX} deep")
        self._path.append(local)
        self._names.append(attributes)
        path = tuple(self._path)
        if path == _REVISION_PATH[:_IED_DEPTH]:
            if len(self.ieds) == IEDS_MAX:
                raise SclError(f"more than {IEDS_MAX} IEDs")
            self.ieds.append(_Found(_attribute(attributes, "name"), _attribute(attributes, "configVersion")))
        elif path == _REVISION_PATH and self._is_revision():
            self._text = []

    def text(self, text: str) -> None:
        """Take text between elements."""
        if self._text is not None:
            self._text.append(text)
            if sum(map(len, self._text)) > TEXT_CHARACTERS_MAX:
                raise SclError(f"a configRev has more than {TEXT_CHARACTERS_MAX} characters")

    def end(self, name: str) -> None:  # noqa: ARG002 - expat's signature
        """Take an element's end."""
        if self._text is not None and tuple(self._path) == _REVISION_PATH:
            ied = self.ieds[-1]
            if len(ied.revisions) == REVISIONS_MAX:
                raise SclError(f"more than {REVISIONS_MAX} revisions in one IED")
            instance = _attribute(self._names[_DEVICE_DEPTH - 1], "inst")
            ied.revisions.append((instance, "".join(self._text).strip()))
            self._text = None
        self._path.pop()
        self._names.pop()

    def refuse_type(self, *_: object) -> None:
        """Take a document type."""
        raise SclError("a document type, which SCL does not have")

    def _is_revision(self) -> bool:
        of_object, of_attribute = self._names[_OBJECT_DEPTH - 1], self._names[_ATTRIBUTE_DEPTH - 1]
        return of_object.get("name") == "NamPlt" and of_attribute.get("name") == "configRev"


def parse_scl(raw: bytes) -> tuple[SclIed, ...]:
    """Return the IEDs of an SCL file in their order.

    Args:
        raw: The file, at most `SCL_BYTES_MAX` bytes.

    Raises:
        SclError: It is too long, no XML, no SCL, holds a document type, or names no IED.
    """
    if len(raw) > SCL_BYTES_MAX:
        raise SclError(f"the file is longer than {SCL_BYTES_MAX} bytes")
    walk = _Walk()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = walk.start
    parser.EndElementHandler = walk.end
    parser.CharacterDataHandler = walk.text
    parser.StartDoctypeDeclHandler = walk.refuse_type
    try:
        parser.Parse(raw, True)  # noqa: FBT003 - expat's signature
    except expat.ExpatError as error:
        raise SclError(f"no XML: {expat.errors.messages[error.code]} in line {error.lineno}") from None
    except (UnicodeError, LookupError, ValueError) as error:
        if isinstance(error, SclError):
            raise
        raise SclError("no XML: its characters cannot be read") from None
    if not walk.ieds:
        raise SclError("no IED")
    return tuple(SclIed(ied.name, ied.version, tuple(ied.revisions)) for ied in walk.ieds)


def _attribute(attributes: dict[str, str], name: str) -> str:
    value = attributes.get(name, "")
    if len(value) > TEXT_CHARACTERS_MAX or not (value.isprintable() and is_plain(value)):
        raise SclError(f"the attribute {name} is no text of at most {TEXT_CHARACTERS_MAX} characters")
    return value


def _shown(text: str) -> str:
    return ascii(text)[:64]
