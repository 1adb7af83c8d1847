"""What a Modbus device keeps where: the table ``[modbus]`` of a profile.

An artefact comes from one of these places: a file that the device lists in its directory or one of a known number (both
by function 20), holding or input registers (functions 3 and 4), a checksum that it lists or that is in known registers,
or a version in registers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kit.config import rule
from wire.evidence import KINDS, WORD_BYTES_MAX

REGISTERS_END: Final = 65_536
BLOCKS_MAX: Final = 64
SPAN_REGISTERS_MAX: Final = 4096
"""Registers of one block: 8 KiB."""
FORMATS: Final = ("text", "hex", "number", "dotted")
ACCESS: Final = {"basic": 1, "regular": 2, "extended": 3}
"""Categories of function 43, MEI type 14, by name."""
FULL_FILE: Final = "full-file"
RECORD_READ: Final = "record-read"
VENDOR_CHECKSUM: Final = "vendor-checksum"
VERSION_STRING: Final = "version-string"

_ADDRESS = rule(minimum=0, maximum=REGISTERS_END - 1)
_TABLE = rule(choices=("holding", "input"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Registers that follow one another."""

    table: str = field(default="holding", metadata=_TABLE)
    """``holding`` is read with function 3, ``input`` with function 4."""
    address: int = field(metadata=_ADDRESS)
    """As it is on the wire, from 0."""
    count: int = field(default=1, metadata=rule(minimum=1, maximum=SPAN_REGISTERS_MAX))

    def __post_init__(self) -> None:
        """Refuse registers behind the last one.

        Raises:
            ValueError: The last register is beyond 65,535.
        """
        if self.address + self.count > REGISTERS_END:
            raise ValueError(f"registers {self.address}..{self.address + self.count - 1}: the last one is 65535")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSpan:
    """Registers that hold a text, or a number that is shown as one."""

    table: str = field(default="holding", metadata=_TABLE)
    address: int = field(metadata=_ADDRESS)
    count: int = field(default=1, metadata=rule(minimum=1, maximum=WORD_BYTES_MAX // 2))
    format: str = field(default="text", metadata=rule(choices=FORMATS))
    """``text``: two characters each; ``hex``; ``number``: unsigned, the higher register first; ``dotted``: 3.1.4."""

    def span(self) -> Span:
        """Return where it is.

        Raises:
            ValueError: The last register is beyond 65,535.
        """
        return Span(table=self.table, address=self.address, count=self.count)

    def __post_init__(self) -> None:
        """Refuse registers behind the last one.

        Raises:
            ValueError: The last register is beyond 65,535.
        """
        self.span()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityTable:
    """``[modbus.identity]``: which objects function 43 is asked for, and what is in registers instead."""

    access: str = field(default="extended", metadata=rule(choices=("none", *ACCESS)))
    vendor: ShownSpan | None = None
    product: ShownSpan | None = None
    revision: ShownSpan | None = None
    serial: ShownSpan | None = None
    model: ShownSpan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryTable:
    """``[modbus.directory]``: the device lists its files itself."""

    address: int = field(metadata=_ADDRESS)
    """Input register that holds the number of files; 16 registers for each file follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTable:
    """``[[modbus.file]]``: a file under a number that the model always has."""

    kind: str = field(metadata=rule(choices=KINDS))
    name: str = field(default="", metadata=rule(maximum=256))
    number: int = field(metadata=rule(minimum=1, maximum=65_535))
    """Modbus file number of the first 10,000 records; longer files go on under the next ones."""
    size: int | None = field(default=None, metadata=rule(minimum=1, unit="bytes"))
    size_at: Span | None = None
    """One or two registers with the size in bytes."""
    version_at: ShownSpan | None = None

    def __post_init__(self) -> None:
        """Refuse a file of no size or of two.

        Raises:
            ValueError: With what is asked instead.
        """
        if (self.size is None) == (self.size_at is None):
            raise ValueError("a file has either a size or registers that hold it (size_at)")
        if self.size_at is not None and self.size_at.count > 2:  # noqa: PLR2004 - a size of 64 bits has no use
            raise ValueError("size_at: a size is in one or two registers")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTable:
    """``active_group``: of several setting groups the active one is read."""

    table: str = field(default="holding", metadata=_TABLE)
    address: int = field(metadata=_ADDRESS)
    """Register with the number of the active group, from 1."""
    groups: int = field(metadata=rule(minimum=1, maximum=256))
    stride: int = field(metadata=rule(minimum=0, maximum=REGISTERS_END - 1))
    """Registers from a block of one group to the same of the next; 0 where the active group shows in one place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistersTable:
    """``[[modbus.registers]]``: an artefact whose content is rebuilt from registers."""

    kind: str = field(metadata=rule(choices=KINDS))
    name: str = field(default="", metadata=rule(maximum=240))
    blocks: tuple[Span, ...] = field(metadata=rule(minimum=1, maximum=BLOCKS_MAX))
    active_group: GroupTable | None = None
    version_at: ShownSpan | None = None

    def __post_init__(self) -> None:
        """Refuse groups behind the last register.

        Raises:
            ValueError: The last group would end beyond 65,535.
        """
        if self.active_group is not None:
            self.blocks_of(self.active_group.groups)

    def blocks_of(self, group: int) -> tuple[Span, ...]:
        """Return the blocks of one group, numbered from 1.

        Raises:
            ValueError: They end beyond 65,535.
        """
        moved = 0 if self.active_group is None else (group - 1) * self.active_group.stride
        return tuple(Span(table=block.table, address=block.address + moved, count=block.count) for block in self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumTable:
    """``[[modbus.checksum]]``: the device says a checksum of content that it does not give."""

    kind: str = field(metadata=rule(choices=KINDS))
    name: str = field(default="", metadata=rule(maximum=256))
    table: str = field(default="holding", metadata=_TABLE)
    address: int = field(metadata=_ADDRESS)
    count: int = field(default=2, metadata=rule(minimum=1, maximum=WORD_BYTES_MAX // 2))
    version_at: ShownSpan | None = None

    def span(self) -> Span:
        """Return where it is.

        Raises:
            ValueError: The last register is beyond 65,535.
        """
        return Span(table=self.table, address=self.address, count=self.count)

    def __post_init__(self) -> None:
        """Refuse registers behind the last one.

        Raises:
            ValueError: The last register is beyond 65,535.
        """
        self.span()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumListTable:
    """``[modbus.checksum_list]``: the device lists checksums as it would list files in a directory."""

    address: int = field(metadata=_ADDRESS)
    """Input register that holds the number of entries; 16 registers for each follow."""
    kinds: tuple[str, ...] = field(metadata=rule(choices=KINDS, minimum=1, maximum=len(KINDS)))
    """Kinds that are taken from it; others are passed over."""

    def __post_init__(self) -> None:
        """Refuse a kind that stands twice.

        Raises:
            ValueError: Naming it.
        """
        for kind in self.kinds:
            if self.kinds.count(kind) > 1:
                raise ValueError(f"kinds: '{kind}' stands twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionTable:
    """``[[modbus.version]]``: of content that the device does not give, it says the version only."""

    kind: str = field(metadata=rule(choices=KINDS))
    name: str = field(default="", metadata=rule(maximum=256))
    version_at: ShownSpan


Place = FileTable | RegistersTable | ChecksumTable | VersionTable


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusProfile:
    """``[modbus]``: what a kind of device keeps where."""

    registers_max: int = field(default=125, metadata=rule(minimum=1, maximum=125))
    """Registers that one request of function 3 or 4 may ask for."""
    records_max: int = field(default=121, metadata=rule(minimum=1, maximum=121))
    """Registers that one request of function 20 may ask for: 121 stay within the byte count 0xF5 of the standard."""
    revision_at: Span | None = None
    """Up to four registers with a counter that goes up whenever the device changes."""
    identity: IdentityTable = field(default=IdentityTable())
    directory: DirectoryTable | None = None
    files: tuple[FileTable, ...] = field(default=(), metadata=rule(key="file", maximum=len(KINDS)))
    registers: tuple[RegistersTable, ...] = field(default=(), metadata=rule(maximum=len(KINDS)))
    checksum_list: ChecksumListTable | None = None
    checksums: tuple[ChecksumTable, ...] = field(default=(), metadata=rule(key="checksum", maximum=len(KINDS)))
    versions: tuple[VersionTable, ...] = field(default=(), metadata=rule(key="version", maximum=len(KINDS)))

    def __post_init__(self) -> None:
        """Refuse a profile of nothing, and a kind that is in two places.

        Raises:
            ValueError: With what is too much or missing.
        """
        if self.revision_at is not None and self.revision_at.count > 4:  # noqa: PLR2004 - 64 bits
            raise ValueError("revision_at: a counter is in one to four registers")
        kinds = [place.kind for place in self.places()]
        kinds += () if self.checksum_list is None else self.checksum_list.kinds
        if not kinds and self.directory is None:
            raise ValueError("no artefact: name a directory, files, registers, a checksum list, checksums or versions")
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise ValueError(f"'{kind}' is in two places; an artefact of each kind is read from one")

    def places(self) -> tuple[Place, ...]:
        """Return where artefacts are, the directory left out."""
        return (*self.files, *self.registers, *self.checksums, *self.versions)

    def counts_changes(self) -> bool:
        """Tell whether the device's own counter of changes is read."""
        return self.revision_at is not None

    def methods(self) -> Mapping[str, str]:
        """Return the method of each artefact kind; a directory may list any kind."""
        found = dict.fromkeys(KINDS, FULL_FILE) if self.directory is not None else {}
        if self.checksum_list is not None:
            found |= dict.fromkeys(self.checksum_list.kinds, VENDOR_CHECKSUM)
        return found | {place.kind: _METHODS[type(place)] for place in self.places()}


_METHODS: Final[dict[type, str]] = {
    FileTable: FULL_FILE,
    RegistersTable: RECORD_READ,
    ChecksumTable: VENDOR_CHECKSUM,
    VersionTable: VERSION_STRING,
}
