"""What a device holds: its artefacts, its setting groups and the setting values that it runs with.

May live here: frozen values that no protocol has a part in. A change of any kind makes a new ``Contents``; the device
then swaps one reference, so a reader sees either the old state or the new one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from firmware_sim.settings import values_of

FIRMWARE = "firmware"
STRATEGY = "strategy"
SETTINGS = "settings"

FILE_NAMES = {FIRMWARE: "firmware.bin", STRATEGY: "strategy.csv", SETTINGS: "settings.csv"}
"""Every artefact kind, in the order in which devices list them, with the name of its file."""

ARTEFACT_BYTES_MAX = 4 * 1024 * 1024
VERSION_BYTES_MAX = 24
GROUPS_MAX = 8


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
        crc32: Checksum of the content, as IEEE 802.3 has it.
    """

    kind: str
    version: str
    content: bytes = field(repr=False)
    declared_bytes: int
    crc32: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ContentsError: Unknown kind, a bad version text, or a size above 4 MiB.
        """
        if self.kind not in FILE_NAMES:
            raise ContentsError(f"unknown artefact kind {self.kind!r}, expected one of {', '.join(FILE_NAMES)}")
        printable = self.version.isascii() and self.version.isprintable()
        if not 1 <= len(self.version) <= VERSION_BYTES_MAX or not printable:
            raise ContentsError(f"version {self.version!r} is not 1..{VERSION_BYTES_MAX} printable ASCII characters")
        if not len(self.content) <= self.declared_bytes <= ARTEFACT_BYTES_MAX:
            raise ContentsError(f"{self.kind} of {self.declared_bytes} bytes, at most {ARTEFACT_BYTES_MAX}")
        object.__setattr__(self, "crc32", zlib.crc32(self.content))

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
    """All artefacts of a device and the settings that it runs with.

    Attributes:
        artefacts: By kind, in the order of ``FILE_NAMES``; the settings are those of the active group.
        setting_values: What the device runs with, one signed 16-bit number a setting, without its decimal point.
        groups: Setting lists from group 1 on, at most 8; none where the device has no settings.
        active_group: Counts from 1; 0 where there is no group.
    """

    artefacts: Mapping[str, Artefact]
    setting_values: tuple[int, ...] = field(repr=False)
    groups: tuple[Artefact, ...] = field(default=(), repr=False)
    active_group: int = 0

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ContentsError: No artefact at all, or too many setting groups.
        """
        if not self.artefacts:
            raise ContentsError("a device needs at least one artefact")
        if len(self.groups) > GROUPS_MAX:
            raise ContentsError(f"{len(self.groups)} setting groups, at most {GROUPS_MAX}")

    @classmethod
    def of(cls, artefacts: Iterable[Artefact], further_groups: Sequence[Artefact] = ()) -> Contents:
        """Make contents of artefacts; a later one replaces an earlier one of its kind.

        Args:
            artefacts: The settings among them are group 1, which is active.
            further_groups: Setting lists of group 2 and on.

        Raises:
            ContentsError: No artefact at all, or groups without settings.
            SettingsError: A setting list that cannot be put into registers.
        """
        held = {item.kind: item for item in artefacts}
        settings = held.get(SETTINGS)
        if settings is None:
            if further_groups:
                raise ContentsError("setting groups need a setting list for group 1")
            return cls(_ordered(held), ())
        for group in further_groups:
            values_of(group.content)
        return cls(_ordered(held), values_of(settings.content), (settings, *further_groups), 1)

    def loaded(self, *changed: Artefact) -> Contents:
        """Return these contents after the device took ``changed`` over; it runs with what it took.

        Raises:
            SettingsError: The setting list cannot be put into registers.
        """
        found = self
        for item in changed:
            found = found.overwritten(item)
            if item.kind == SETTINGS:
                found = replace(found, setting_values=values_of(item.content))
        return found

    def overwritten(self, changed: Artefact) -> Contents:
        """Return these contents with one file changed in its storage.

        The running device does not notice: it goes on with the values that it has.
        """
        held = _ordered({**self.artefacts, changed.kind: changed})
        if changed.kind != SETTINGS:
            return replace(self, artefacts=held)
        at = max(self.active_group, 1)
        groups = (*self.groups[: at - 1], changed, *self.groups[at:])
        return replace(self, artefacts=held, groups=groups, active_group=at)

    def switched(self, group: int) -> Contents:
        """Return these contents with another active setting group.

        Args:
            group: 1 up to the number of groups.

        Raises:
            ContentsError: There is no such group.
            SettingsError: Its list is broken.
        """
        if not 1 <= group <= len(self.groups):
            raise ContentsError(f"there is no setting group {group}, the device has {len(self.groups)}")
        chosen = self.groups[group - 1]
        held = _ordered({**self.artefacts, SETTINGS: chosen})
        return replace(self, artefacts=held, setting_values=values_of(chosen.content), active_group=group)


def _ordered(held: Mapping[str, Artefact]) -> dict[str, Artefact]:
    return {kind: held[kind] for kind in FILE_NAMES if kind in held}
