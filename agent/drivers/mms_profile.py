"""What an IEC 61850 device keeps where: the table ``[mms]`` of a profile, and ``[device.mms]`` of one device."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kit.config import rule
from wire.evidence import KINDS

SETTINGS: Final = "settings"
_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}(\.[A-Za-z][A-Za-z0-9]{0,63}){2}")
_BLOCK: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}\.SGCB")
_INSTANCE: Final = re.compile(r"[A-Za-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityTable:
    """``[mms.identity]``: attributes as ``LPHD1.PhyNam.serNum``, under functional constraint DC; empty: not read."""

    vendor: str = field(default="", metadata=rule(pattern=_ATTRIBUTE))
    product: str = field(default="", metadata=rule(pattern=_ATTRIBUTE))
    revision: str = field(default="", metadata=rule(pattern=_ATTRIBUTE))
    serial: str = field(default="", metadata=rule(pattern=_ATTRIBUTE))
    model: str = field(default="", metadata=rule(pattern=_ATTRIBUTE))


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsTable:
    """``[mms.settings]``: the settings are the values of the active setting group."""

    control_block: str = field(default="LLN0.SGCB", metadata=rule(pattern=_BLOCK))
    param_rev: str = field(default="", metadata=rule(pattern=_ATTRIBUTE))
    """Attribute under ST that counts changes of parameters; it becomes the version. Empty: not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTable:
    """``[[mms.file]]``: an artefact that is a file of the device."""

    kind: str = field(metadata=rule(choices=KINDS))
    path: str = field(metadata=rule(maximum=200))
    """From the outermost folder, such as ``/firmware/image.bin``."""
    version: str = field(default="", metadata=rule(pattern=_ATTRIBUTE))
    """Attribute under DC that names the file's version. Empty: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MmsProfile:
    """``[mms]``: what a kind of device keeps where."""

    logical_device: str = field(metadata=rule(pattern=_INSTANCE))
    """Instance of the logical device that all attributes are of; in MMS the IED's name stands before it."""
    config_rev: str = field(default="LLN0.NamPlt.configRev", metadata=rule(pattern=_ATTRIBUTE))
    """Attribute under DC that an SCL file must agree with."""
    revision_at: str = field(default="", metadata=rule(pattern=_ATTRIBUTE))
    """Attribute under ST that goes up whenever the device takes other parameters, as paramRev does. Empty: not read."""
    scl: str = field(default="", metadata=rule(minimum=0, maximum=200))
    """Path of an SCL file that the device keeps; empty: it keeps none."""
    identity: IdentityTable = field(default=IdentityTable())
    files: tuple[FileTable, ...] = field(default=(), metadata=rule(key="file", maximum=len(KINDS), unique="kind"))
    settings: SettingsTable | None = None

    def __post_init__(self) -> None:
        """Refuse a profile without artefacts, and two sources of settings.

        Raises:
            ValueError: With what is wrong.
        """
        if not self.files and self.settings is None:
            raise ValueError("at least one [[mms.file]] or [mms.settings] is due")
        if self.settings is not None and any(file.kind == SETTINGS for file in self.files):
            raise ValueError("settings: they are a [[mms.file]] or [mms.settings], not both")

    def counts_changes(self) -> bool:
        """Tell whether the device's own counter of changes is read."""
        return bool(self.revision_at)

    def methods(self) -> Mapping[str, str]:
        """Return the method of each artefact kind: files whole, settings from their attributes."""
        found = {file.kind: "full-file" for file in self.files}
        return found if self.settings is None else {**found, SETTINGS: "record-read"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MmsOptions:
    """``[device.mms]``: what is told of one device."""

    scl: Path | None = field(default=None, metadata=rule(exists="file"))
    """CID, ICD or SCD file that the device was configured from."""
