"""What an IEC 104 device keeps where: the table ``[iec104]`` of a profile, and ``[device.iec104]`` of agent.toml.

An artefact is a file that is transferred in sections, a checksum in a point, or a version text alone. Texts are cut
into bitstrings (M_BO) of four octets each, at addresses that follow one another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from kit.config import rule
from wire.evidence import KINDS
from wire.iec104.errors import ParameterError
from wire.iec104.link import LinkParameters
from wire.iec104.points import ADDRESS_MAX, POINT_TYPES, untagged
from wire.iec104.types import TypeId

FULL_FILE: Final = "full-file"
VENDOR_CHECKSUM: Final = "vendor-checksum"
VERSION_STRING: Final = "version-string"
STATION_MAX: Final = 65_534
POINTS_MAX: Final = 200_000
"""Points that a profile may list in all."""
TEXT_POINTS_MAX: Final = 64
"""Points of one text: 256 octets."""

_ADDRESS = rule(minimum=0, maximum=ADDRESS_MAX)
_KIND = rule(choices=KINDS)
_TYPES: Final = tuple(sorted({untagged(type_id).name for type_id in POINT_TYPES}))


def _check_end(address: int, count: int) -> None:
    """Refuse points behind the last address.

    Raises:
        ValueError: With the points.
    """
    if address + count > ADDRESS_MAX + 1:
        raise ValueError(f"points {address}..{address + count - 1}: the last address is {ADDRESS_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPoints:
    """A text in bitstrings."""

    address: int = field(metadata=_ADDRESS)
    """Of the first one."""
    count: int = field(metadata=rule(minimum=1, maximum=TEXT_POINTS_MAX))

    def __post_init__(self) -> None:
        """Refuse points behind the last address.

        Raises:
            ValueError: With the points.
        """
        _check_end(self.address, self.count)

    def addresses(self) -> range:
        """Return the addresses in the order of the text."""
        return range(self.address, self.address + self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityTable:
    """``[iec104.identity]``: where the device says who it is."""

    vendor: TextPoints | None = None
    product: TextPoints | None = None
    revision: TextPoints | None = None
    serial: TextPoints | None = None
    model: TextPoints | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTable:
    """``[[iec104.file]]``: an artefact that is read by file transfer."""

    kind: str = field(metadata=_KIND)
    name: str = field(default="", metadata=rule(maximum=256))
    address: int = field(metadata=_ADDRESS)
    """Of the file's information object."""
    file: int = field(metadata=rule(minimum=0, maximum=65_535))
    """Name of the file as the protocol has it, a number."""
    version_at: TextPoints | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumTable:
    """``[[iec104.checksum]]``: the device says a checksum of content that it does not give."""

    kind: str = field(metadata=_KIND)
    name: str = field(default="", metadata=rule(maximum=256))
    address: int = field(metadata=_ADDRESS)
    """Of a bitstring or counter, which is taken as four octets, the highest first."""
    size_at: int | None = field(default=None, metadata=_ADDRESS)
    """Of a bitstring or counter with the size in octets."""
    version_at: TextPoints | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionTable:
    """``[[iec104.version]]``: of content that the device does not give, it says the version only."""

    kind: str = field(metadata=_KIND)
    name: str = field(default="", metadata=rule(maximum=256))
    version_at: TextPoints


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsTable:
    """``[[iec104.points]]``: measured values and states that a general interrogation has to bring."""

    type: str = field(metadata=rule(choices=_TYPES))
    """The one without a time tag; that with one is taken as well."""
    address: int = field(metadata=_ADDRESS)
    """Of the first one."""
    count: int = field(default=1, metadata=rule(minimum=1, maximum=POINTS_MAX))

    def __post_init__(self) -> None:
        """Refuse points behind the last address.

        Raises:
            ValueError: With the points.
        """
        _check_end(self.address, self.count)

    def is_counter(self) -> bool:
        """Tell whether a counter interrogation brings them."""
        return self.type == TypeId.M_IT_NA_1.name

    def addresses(self) -> range:
        """Return the addresses."""
        return range(self.address, self.address + self.count)


Place = FileTable | ChecksumTable | VersionTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Iec104Profile:
    """``[iec104]``: what a kind of device keeps where."""

    k: int = field(default=12, metadata=rule(minimum=1, maximum=32_767))
    w: int = field(default=8, metadata=rule(minimum=1, maximum=32_767))
    t1_ms: int = field(default=15_000, metadata=rule(minimum=2, maximum=255_000, unit="ms"))
    t2_ms: int = field(default=10_000, metadata=rule(minimum=1, maximum=254_999, unit="ms"))
    t3_ms: int = field(default=20_000, metadata=rule(minimum=1, maximum=172_800_000, unit="ms"))
    texts: str = field(default="interrogation", metadata=rule(choices=("interrogation", "read")))
    """How identity, versions and checksums are read: with C_IC, or point by point with C_RD."""
    texts_qualifier: int = field(default=20, metadata=rule(minimum=20, maximum=36))
    """Interrogation that brings them: 20 the whole station, 21 to 36 group 1 to 16."""
    revision_at: int | None = field(default=None, metadata=_ADDRESS)
    """Bitstring or counter that goes up whenever the device takes something else; invalid where it has none."""
    directory: int | None = field(default=None, metadata=_ADDRESS)
    """Address at which the directory of files is called; without it, files are selected to learn their length."""
    identity: IdentityTable = field(default=IdentityTable())
    files: tuple[FileTable, ...] = field(default=(), metadata=rule(key="file", maximum=len(KINDS)))
    checksums: tuple[ChecksumTable, ...] = field(default=(), metadata=rule(key="checksum", maximum=len(KINDS)))
    versions: tuple[VersionTable, ...] = field(default=(), metadata=rule(key="version", maximum=len(KINDS)))
    points: tuple[PointsTable, ...] = field(default=(), metadata=rule(maximum=1000))

    def __post_init__(self) -> None:
        """Refuse a profile of nothing, a kind in two places, windows and timers or points that do not fit.

        Raises:
            ValueError: With what is too much or missing.
        """
        try:
            self.link_parameters()
        except ParameterError as error:
            raise ValueError(f"k, w, t1_ms, t2_ms, t3_ms: {error}") from None
        kinds = [place.kind for place in self.places()]
        if not kinds:
            raise ValueError("no artefact: name files, checksums or versions")
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise ValueError(f"'{kind}' is in two places; an artefact of each kind is read from one")
        spans = sorted((table.addresses() for table in self.points), key=lambda span: span.start)
        for before, after in itertools.pairwise(spans):
            if after.start < before.stop:
                raise ValueError(f"points: address {after.start} is listed twice")
        if sum(len(span) for span in spans) > POINTS_MAX:
            raise ValueError(f"points: more than {POINTS_MAX} are listed")

    def link_parameters(self) -> LinkParameters:
        """Return windows and timers as the link takes them.

        Raises:
            ParameterError: They do not fit together.
        """
        return LinkParameters(self.k, self.w, self.t1_ms, self.t2_ms, self.t3_ms)

    def places(self) -> tuple[Place, ...]:
        """Return where artefacts are, sorted by kind."""
        return tuple(sorted((*self.files, *self.checksums, *self.versions), key=lambda place: place.kind))

    def counts_changes(self) -> bool:
        """Tell whether the device's own counter of changes is read."""
        return self.revision_at is not None

    def methods(self) -> Mapping[str, str]:
        """Return the method of each artefact kind."""
        return {place.kind: _METHODS[type(place)] for place in self.places()}

    def texts_at(self) -> tuple[int, ...]:
        """Return every address that a reading needs, ascending."""
        return tuple(sorted(set(self._texts_at())))

    def _texts_at(self) -> Iterator[int]:
        identity = self.identity
        for text in (identity.vendor, identity.product, identity.revision, identity.serial, identity.model):
            yield from () if text is None else text.addresses()
        for place in self.places():
            yield from addresses_of(place)
        yield from () if self.revision_at is None else (self.revision_at,)


def addresses_of(place: Place) -> tuple[int, ...]:
    """Return the addresses of all points that an artefact has."""
    version = () if place.version_at is None else tuple(place.version_at.addresses())
    if not isinstance(place, ChecksumTable):
        return version
    return (*version, place.address, *(() if place.size_at is None else (place.size_at,)))


_METHODS: Final[dict[type, str]] = {
    FileTable: FULL_FILE,
    ChecksumTable: VENDOR_CHECKSUM,
    VersionTable: VERSION_STRING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Iec104Options:
    """``[device.iec104]``: what only this device has."""

    common_address: int | None = field(default=None, metadata=rule(minimum=1, maximum=STATION_MAX))
    """Station; without it the device's ``unit_id``."""
    second_host: str = field(default="", metadata=rule(minimum=0, maximum=253))
    """Other end of a redundancy group with two links."""
    second_port: int | None = field(default=None, metadata=rule(minimum=1, maximum=65_535))
    """Its port; without it that of the first."""

    def __post_init__(self) -> None:
        """Refuse a port without a host.

        Raises:
            ValueError: ``second_port`` alone.
        """
        if self.second_port is not None and not self.second_host:
            raise ValueError("second_port: second_host is missing")
