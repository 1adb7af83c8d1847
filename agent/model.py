"""Frozen values that pass between the drivers, the attestation and the rest of the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from agent.profile import Quiet, ReadPlan
from rules.fingerprint import FileDigest, fingerprint_word
from wire.difference import Difference
from wire.evidence import Identity


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """How a connection to a device is protected, and how this side shows itself."""

    ca: Path
    """Certificates that the device's own must follow from."""
    certificate: Path
    key: Path
    server_name: str = ""
    """Name in the device's certificate, where it is not the host."""


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """One device as the configuration names it."""

    id: str
    """Identifier, unique in the consortium."""
    protocol: str
    """A key of `agent.drivers.table.DRIVERS`."""
    profile: str
    """Name of an `agent.profile.Profile` of this protocol."""
    host: str
    """Empty where the protocol has no network address."""
    port: int
    """1..65535, or 0 where the protocol has none."""
    unit_id: int = 1
    """0..255; protocols without units ignore it."""
    timeout_ms: int = 2000
    """Longest wait for one answer, and for the connection."""
    retries: int = 2
    """New connections that one read may make after a failure."""
    pacing_ms: int = 0
    """Pause before each request, for devices that do not like to be hurried."""
    interval_ms: int = 1000
    """From the start of one read to the start of the next."""
    deadline_ms: int = 1_800_000
    """Longest time that one read may take in all."""
    quiet: Quiet = field(default=Quiet())
    plan: ReadPlan = field(default=ReadPlan())
    tls: TlsFiles | None = None
    options: object = None
    """The device's own table named as the protocol, of the type that the driver's entry says; None without one."""


@dataclass(frozen=True, slots=True)
class DeviceFile:
    """One file of a device as it was read."""

    kind: str
    """One of `wire.evidence.KINDS`."""
    name: str
    version: str
    """Version that the device declares."""
    size: int
    """Bytes that the device declares."""
    digest: FileDigest
    """Digests of the bytes that were read, and their number."""
    method: str
    """One of `wire.evidence.METHODS`."""
    read_from_ms: int
    read_to_ms: int
    errors: tuple[str, ...]
    """Sorted codes of `wire.evidence.ERROR_CODES`."""
    word: bytes | None = None
    """What the device says of its content, where the method reads none; see `word_file`."""
    content: bytes | None = field(default=None, repr=False)
    """The bytes of a whole setting list or strategy table of at most 256 KiB, else None."""
    difference: Difference | None = None
    """Where it differs from the reference value that this gateway holds; drivers leave it alone."""


def word_file(listed: ListedFile, method: str, word: bytes, read_from_ms: int, read_to_ms: int) -> DeviceFile:
    """Return what is known of an artefact by the device's word alone.

    Args:
        listed: Kind, name, version, and the size that the device declares, 0 if it declares none.
        method: ``vendor-checksum`` or ``version-string``.
        word: The checksum as the device keeps it, or the version text in UTF-8; 1..256 bytes.
        read_from_ms: When it was asked.
        read_to_ms: When it had answered.
    """
    return DeviceFile(
        kind=listed.kind,
        name=listed.name,
        version=listed.version,
        size=listed.size,
        digest=fingerprint_word(method, word),
        method=method,
        read_from_ms=read_from_ms,
        read_to_ms=read_to_ms,
        errors=(),
        word=word,
    )


@dataclass(frozen=True, slots=True)
class ListedFile:
    """What a device says of one of its files before it is read."""

    kind: str
    name: str
    version: str
    size: int
    """Bytes that the device declares."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One completed read of a device."""

    device: str
    identity: Identity
    listed: tuple[ListedFile, ...]
    """All files that the device has, sorted by kind."""
    files: tuple[DeviceFile, ...]
    """The files that were read, sorted by kind: all that are listed, unless fewer were asked for."""
    read_from_ms: int
    read_to_ms: int
    revision: int | None = None
    """What the device's own counter of changes says, 0..2^63-1, asked before the files; None where it has none."""


class MeasuredPoint(NamedTuple):
    """One measured value or state, as the protocol carries it."""

    address: int
    """Of the point in its device."""
    type: str
    """The protocol's name of its type, which says how ``value`` and ``quality`` are to be read."""
    value: int
    """A short float is its 32 bits: `wire.iec104.points.scaled_float`."""
    quality: int
    """The protocol's own flags; 0 is good."""
    time_ms: int | None
    """The device's time tag in milliseconds since 1970, where it has one that is a time."""


@dataclass(frozen=True, slots=True)
class MeasurementFrame:
    """All points of one interrogation of a device."""

    device: str
    points: tuple[MeasuredPoint, ...]
    """Ascending by address."""
    read_from_ms: int
    read_to_ms: int
