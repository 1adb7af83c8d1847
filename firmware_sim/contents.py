"""What a device holds: its artefacts and the registers that follow from them.

May live here: frozen values and their derived bytes. A change of any kind
makes a new ``Contents``; the device then swaps one reference, so a reader sees
either the old state or the new one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from firmware_sim.modbus.pdu import FILE_BYTES_MAX, REGISTER_BYTES
from firmware_sim.settings import registers_of

FIRMWARE = "firmware"
STRATEGY = "strategy"
SETTINGS = "settings"

KIND_CODES = {FIRMWARE: 1, STRATEGY: 2, SETTINGS: 3}
"""Kind by the code that stands in the directory registers."""
FILE_NAMES = {FIRMWARE: "firmware.bin", STRATEGY: "strategy.csv", SETTINGS: "settings.csv"}

ARTEFACT_BYTES_MAX = 4 * 1024 * 1024
ARTEFACTS_MAX = 8
VERSION_BYTES_MAX = 24
FILES_PER_ARTEFACT = 1_000
"""Distance between the first file numbers of two kinds: firmware 1, strategy 1,001, settings 2,001."""

_ENTRY = struct.Struct(">HHI24s")


class ContentsError(ValueError):
    """An artefact breaks a bound of the device."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """One file of a device.

    Attributes:
        kind: ``firmware``, ``strategy`` or ``settings``.
        version: 1..24 printable ASCII characters.
        content: The bytes that can be read, at most 4 MiB.
        declared_bytes: The size that the directory announces; longer than the
            content when the file was truncated.
        pieces: The content cut into Modbus files of at most 20,000 bytes, an odd
            last byte padded with 0x00.
    """

    kind: str
    version: str
    content: bytes
    declared_bytes: int
    pieces: tuple[bytes, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the bounds and cut the content.

        Raises:
            ContentsError: Unknown kind, a bad version text, or a size above 4 MiB.
        """
        if self.kind not in KIND_CODES:
            raise ContentsError(f"unknown artefact kind {self.kind!r}, expected one of {', '.join(KIND_CODES)}")
        printable = self.version.isascii() and self.version.isprintable()
        if not 1 <= len(self.version) <= VERSION_BYTES_MAX or not printable:
            raise ContentsError(f"version {self.version!r} is not 1..{VERSION_BYTES_MAX} printable ASCII characters")
        if not len(self.content) <= self.declared_bytes <= ARTEFACT_BYTES_MAX:
            raise ContentsError(f"{self.kind} of {self.declared_bytes} bytes, at most {ARTEFACT_BYTES_MAX}")
        content = self.content
        padded = content + b"\x00" if len(content) % REGISTER_BYTES else content
        starts = range(0, len(padded), FILE_BYTES_MAX)
        cut = tuple(padded[start : start + FILE_BYTES_MAX] for start in starts)
        object.__setattr__(self, "pieces", cut)

    @property
    def first_file(self) -> int:
        """First Modbus file number of this kind."""
        return (KIND_CODES[self.kind] - 1) * FILES_PER_ARTEFACT + 1

    def with_content(self, content: bytes, declared_bytes: int | None = None) -> Artefact:
        """Return this artefact with other bytes; the directory follows unless told otherwise."""
        size = len(content) if declared_bytes is None else declared_bytes
        return replace(self, content=content, declared_bytes=size)


def artefact(kind: str, version: str, content: bytes) -> Artefact:
    """Make an untouched artefact.

    Raises:
        ContentsError: See ``Artefact``.
    """
    return Artefact(kind, version, content, len(content))


@dataclass(frozen=True, slots=True)
class Contents:
    """All artefacts of a device and what its registers say about them.

    Attributes:
        artefacts: By kind.
        files: Pieces by Modbus file number.
        directory: The directory registers, from address 100.
        holding: Setting values, from address 0.
    """

    artefacts: Mapping[str, Artefact]
    holding: bytes = field(repr=False)
    files: Mapping[int, bytes] = field(init=False, repr=False, compare=False)
    directory: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Derive the register views.

        Raises:
            ContentsError: No artefact at all.
        """
        if not self.artefacts:
            raise ContentsError("a device needs at least one artefact")
        held = [self.artefacts[kind] for kind in KIND_CODES if kind in self.artefacts]
        files = {item.first_file + index: piece for item in held for index, piece in enumerate(item.pieces)}
        entries = b"".join(
            _ENTRY.pack(KIND_CODES[item.kind], item.first_file, item.declared_bytes, item.version.encode("ascii"))
            for item in held
        )
        whole = len(held).to_bytes(2, "big") + entries.ljust(_ENTRY.size * ARTEFACTS_MAX, b"\x00")
        object.__setattr__(self, "files", files)
        object.__setattr__(self, "directory", whole)

    @classmethod
    def of(cls, artefacts: Iterable[Artefact]) -> Contents:
        """Make contents of artefacts; a later one replaces an earlier one of its kind.

        Raises:
            ContentsError: No artefact at all.
            SettingsError: The setting list cannot be put into registers.
        """
        held = {item.kind: item for item in artefacts}
        settings = held.get(SETTINGS)
        return cls(held, b"" if settings is None else registers_of(settings.content))

    def loaded(self, *changed: Artefact) -> Contents:
        """Return these contents after the device took ``changed`` over; registers follow.

        Raises:
            SettingsError: The setting list cannot be put into registers.
        """
        return Contents.of([*self.artefacts.values(), *changed])

    def overwritten(self, changed: Artefact) -> Contents:
        """Return these contents with one file changed in its storage.

        The running device does not notice: its registers keep their values.
        """
        return Contents({**self.artefacts, changed.kind: changed}, self.holding)
