"""A release folder: the files of a release, ``release.toml``, and the salt of its items.

``release.toml``::

    [release]
    release = "linden-sc-1-r24"
    device = "linden-sc-1"  # or: model = "SCD-220"
    effective_time = "2027-01-01T06:00:00+01:00"  # or: effective_height = 120000; without both: once it is approved

    [[artefact]]
    kind = "firmware"  # firmware, settings or strategy
    name = "firmware.bin"  # a file in this folder
    version = "2.4.0"

    [[artefact]]
    kind = "settings"
    name = "settings.bin"
    version = "7"
    format = "registers"  # how its items are read, where the file does not tell: csv, xml, registers

Of a device that gives no file, what it must say instead of its content is named, and no file is there::

    [[artefact]]
    kind = "strategy"
    name = "strategy table"
    version = "7"
    checksum = "9f8a6c01"  # the device's own checksum; or: version_only = true

``release.salt`` holds 32 random bytes in hex. Who has it can find out by trying what the items' root stands for, so it
goes to those alone who may see the values.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kit.config import load, rule
from kit.exitcodes import DataError
from kit.files import MODE_PRIVATE, read_bounded, write_new
from wire.evidence import KINDS
from wire.release import FIRMWARE, EffectiveFrom
from wire.types import IDENTIFIER_PATTERN

MANIFEST: Final = "release.toml"
SALT_FILE: Final = "release.salt"
SALT_BYTES: Final = 32
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_YEAR_MIN: Final = 1971
_CHECKSUM: Final = re.compile("(?:[0-9a-f]{2}){1,256}")
_SALT: Final = re.compile(rb"[0-9a-f]{64}\n?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHead:
    """``[release]``: what it is called, and what it is for."""

    release: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    device: str | None = field(default=None, metadata=rule(pattern=IDENTIFIER_PATTERN))
    model: str | None = field(default=None, metadata=rule(maximum=256))
    effective_height: int | None = field(default=None, metadata=rule(minimum=1))
    """Block from which on it is to count."""
    effective_time: str | None = None
    """Time from which on it is to count, in the form of ISO 8601 with its offset from UTC."""

    def __post_init__(self) -> None:
        """Refuse a release for nothing or for two things, and one that is to count from two dates or from none.

        Raises:
            ValueError: With what is wrong.
        """
        if (self.device is None) == (self.model is None):
            raise ValueError("a release is for one device or for one model; name exactly one of them")
        if self.effective_height is not None and self.effective_time is not None:
            raise ValueError("a release counts from a block or from a time; name one of them")
        self.effective_from()

    def effective_from(self) -> EffectiveFrom | None:
        """Return the block or time from which on it is to count.

        Raises:
            ValueError: The time is none, or does not say which offset from UTC it has.
        """
        if self.effective_time is None:
            return None if self.effective_height is None else EffectiveFrom(self.effective_height, None)
        moment = dt.datetime.fromisoformat(self.effective_time)
        if moment.tzinfo is None:
            raise ValueError(f"effective_time {self.effective_time} has no offset from UTC, such as Z or +01:00")
        if moment.year < _YEAR_MIN:
            raise ValueError(f"effective_time {self.effective_time} is before {_YEAR_MIN}")
        return EffectiveFrom(None, (moment - _EPOCH) // dt.timedelta(milliseconds=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseArtefact:
    """``[[artefact]]``: one file, or what the device says in its place."""

    kind: str = field(metadata=rule(choices=KINDS))
    name: str = field(metadata=rule(maximum=256))
    version: str = field(metadata=rule(maximum=256))
    checksum: str | None = field(default=None, metadata=rule(pattern=_CHECKSUM))
    version_only: bool = False
    format: str | None = field(default=None, metadata=rule(pattern=IDENTIFIER_PATTERN))

    def __post_init__(self) -> None:
        """Refuse a name that leads out of the folder, and two words for one artefact.

        Raises:
            ValueError: With what is wrong.
        """
        if self.checksum is not None and self.version_only:
            raise ValueError("what a device says is its checksum or its version; name one of them")
        if self.format is not None and (self.kind == FIRMWARE or not self.is_file()):
            raise ValueError("a format is for the file of a setting list or strategy table")
        if not self.is_file():
            return
        if Path(self.name).name != self.name:
            raise ValueError(f"name {self.name!r} leads out of the folder")

    def is_file(self) -> bool:
        """Tell whether the reference value is the content of a file."""
        return self.checksum is None and not self.version_only


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole of release.toml."""

    release: ReleaseHead
    artefacts: tuple[ReleaseArtefact, ...] = field(
        metadata=rule(key="artefact", minimum=1, maximum=len(KINDS), unique="kind")
    )


def load_manifest(folder: Path) -> Manifest:
    """Read release.toml.

    Raises:
        ConfigProblemsError: It is wrong; the message names the line.
    """
    return load(folder / MANIFEST, Manifest, env_prefix="GRIDWITNESS_RELEASE", environ={})


def file_of(folder: Path, artefact: ReleaseArtefact) -> Path:
    """Return where an artefact's file is.

    Raises:
        DataError: It is not there.
    """
    path = folder / artefact.name
    if not path.is_file():
        raise DataError(f"{path} is missing, but {MANIFEST} names it")
    return path


def read_salt(folder: Path) -> bytes | None:
    """Return the salt of a release, or None when the folder has none.

    Raises:
        DataError: The file holds something else.
    """
    path = folder / SALT_FILE
    if not path.is_file():
        return None
    text = read_bounded(path, bytes_max=1024)
    if _SALT.fullmatch(text) is None:
        raise DataError(f"{path} holds no salt: {2 * SALT_BYTES} hex digits are due")
    return bytes.fromhex(text.decode("ascii"))


def ensure_salt(folder: Path) -> bytes:
    """Return the salt of a release; make one if the folder has none.

    Raises:
        DataError: The file holds something else.
        OSError: The folder cannot be written.
    """
    salt = read_salt(folder)
    if salt is None:
        salt = secrets.token_bytes(SALT_BYTES)
        write_new(folder / SALT_FILE, f"{salt.hex()}\n".encode("ascii"), mode=MODE_PRIVATE)
    return salt
