"""Release folders: what a manufacturer hands out, made beforehand and from nothing but arguments.

A folder holds ``firmware.bin``, ``strategy.csv`` and ``settings.csv`` (one of
them at least) and ``release.toml``, which says what they are for:

    [release]
    release = "lakeside-1-2-4-0"
    device = "sc-lakeside-1"          # or: model = "SCD-220"

    [[artefact]]
    kind = "firmware"
    name = "firmware.bin"
    version = "2.4.0"

The manufacturer's own tool fingerprints the same files; nothing here is read
back from a device.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware_sim.contents import (
    ARTEFACT_BYTES_MAX,
    FILE_NAMES,
    FIRMWARE,
    SETTINGS,
    STRATEGY,
    Artefact,
    ContentsError,
    artefact,
)
from firmware_sim.errors import BadRequestError, ReleaseError
from firmware_sim.files.firmware import FirmwareSpec, firmware_image
from firmware_sim.files.setting_list import setting_list
from firmware_sim.files.strategy import strategy_table
from firmware_sim.settings import SettingsError, values_of
from kit.exitcodes import StorageError
from kit.files import read_bounded, write_atomic

MANIFEST = "release.toml"
MANIFEST_BYTES_MAX = 64 * 1024
IDENTIFIER = re.compile(r"[a-z0-9-]{1,64}")
FIRMWARE_BYTES_DEFAULT = 280 * 1024


@dataclass(frozen=True, slots=True)
class ReleaseSpec:
    """What a release is made from.

    Attributes:
        release: Identifier, ``[a-z0-9-]{1,64}``.
        device: Identifier of the one device that it is for, or None.
        model: Model that it is for, or None; exactly one of the two is set.
        product: Product text in the firmware header.
        version: Version of every artefact, 1..23 ASCII characters.
        build_date: Text in the firmware header, such as ``2026-03-17``.
        seed: Other seeds give other files; the same arguments give the same bytes.
        size_bytes: Size of the firmware image, 64 KiB..2 MiB.
        kinds: Which artefacts are written.
    """

    release: str
    version: str
    device: str | None = None
    model: str | None = None
    product: str = "SCD-220"
    build_date: str = "2026-03-17"
    seed: str = "gridwitness"
    size_bytes: int = FIRMWARE_BYTES_DEFAULT
    kinds: tuple[str, ...] = (FIRMWARE, STRATEGY, SETTINGS)


@dataclass(frozen=True, slots=True)
class Release:
    """A release folder as it was read.

    Attributes:
        release: Its identifier.
        folder: Where it came from.
        device: The device it is for, or None.
        model: The model it is for, or None.
        artefacts: Its files, at least one.
    """

    release: str
    folder: Path
    device: str | None
    model: str | None
    artefacts: tuple[Artefact, ...]


def make_release(folder: Path, spec: ReleaseSpec) -> Release:
    """Write a release folder; files that are there already are replaced.

    Args:
        folder: Made when missing.
        spec: What to write.

    Raises:
        BadRequestError: A name, version or size is out of its bounds.
        OSError: The folder cannot be written.
    """
    _check_spec(spec)
    target = spec.device or spec.model or ""
    makers: dict[str, Callable[[], bytes]] = {
        FIRMWARE: lambda: firmware_image(
            FirmwareSpec(spec.seed, spec.product, spec.version, spec.build_date, spec.size_bytes)
        ),
        STRATEGY: lambda: strategy_table(f"{spec.seed}/{target}", spec.version),
        SETTINGS: lambda: setting_list(f"{spec.seed}/{target}", spec.version),
    }
    try:
        contents = {kind: makers[kind]() for kind in makers if kind in spec.kinds}
    except ValueError as error:
        raise BadRequestError(str(error)) from error
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in contents.items():
        write_atomic(folder / FILE_NAMES[kind], content)
    write_atomic(folder / MANIFEST, _manifest(spec, tuple(contents)).encode())
    return load_release(folder)


def _check_spec(spec: ReleaseSpec) -> None:
    """Refuse what would make a release that cannot be read back.

    Raises:
        BadRequestError: With the argument that is wrong.
    """
    if (spec.device is None) == (spec.model is None):
        raise BadRequestError("a release is for one device or for one model; name exactly one")
    for what, text in (("release", spec.release), ("device", spec.device)):
        if text is not None and not IDENTIFIER.fullmatch(text):
            raise BadRequestError(f"{what} {text!r} is not of the form [a-z0-9-]{{1,64}}")
    unknown = [kind for kind in spec.kinds if kind not in FILE_NAMES]
    if unknown or not spec.kinds:
        raise BadRequestError(f"kinds {unknown}, expected some of {', '.join(FILE_NAMES)}")
    for what, text in (("model", spec.model), ("version", spec.version)):
        if text is not None and (not text.isprintable() or set(text) & {'"', "\\"}):
            raise BadRequestError(f"{what} {text!r} holds a character that TOML would have to quote")


def _manifest(spec: ReleaseSpec, kinds: tuple[str, ...]) -> str:
    """Write release.toml."""
    key, target = ("device", spec.device) if spec.device else ("model", spec.model)
    lines = ["[release]", f'release = "{spec.release}"', f'{key} = "{target}"']
    for kind in kinds:
        lines += ["", "[[artefact]]", f'kind = "{kind}"', f'name = "{FILE_NAMES[kind]}"']
        lines.append(f'version = "{spec.version}"')
    return "\n".join(lines) + "\n"


def load_release(folder: Path) -> Release:
    """Read a release folder.

    Args:
        folder: Holds release.toml and the files it names.

    Raises:
        ReleaseError: Something is missing, unknown or out of its bounds.
    """
    manifest = folder / MANIFEST
    try:
        table = tomllib.loads(read_bounded(manifest, bytes_max=MANIFEST_BYTES_MAX).decode())
    except (OSError, StorageError) as error:
        raise ReleaseError(f"{manifest} cannot be read: {error}") from error
    except ValueError as error:
        raise ReleaseError(f"{manifest} is not TOML: {error}") from error
    head = table.get("release")
    entries = table.get("artefact")
    if not isinstance(head, dict) or not isinstance(entries, list) or not entries:
        raise ReleaseError(f"{manifest} needs [release] and at least one [[artefact]]")
    release = _text(manifest, head, "release")
    device = _text(manifest, head, "device") if "device" in head else None
    model = _text(manifest, head, "model") if "model" in head else None
    if not IDENTIFIER.fullmatch(release):
        raise ReleaseError(f"{manifest}: release {release!r} is not of the form [a-z0-9-]{{1,64}}")
    if (device is None) == (model is None):
        raise ReleaseError(f"{manifest}: [release] names a device or a model, exactly one")
    artefacts = tuple(_load_artefact(manifest, entry) for entry in entries)
    if len({item.kind for item in artefacts}) != len(artefacts):
        raise ReleaseError(f"{manifest}: a kind stands twice")
    return Release(release, folder, device, model, artefacts)


def _text(manifest: Path, table: Mapping[str, object], key: str) -> str:
    """Read a text from the manifest.

    Raises:
        ReleaseError: It is missing or no text.
    """
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise ReleaseError(f"{manifest}: {key} is missing or no text")
    return value


def _load_artefact(manifest: Path, entry: object) -> Artefact:
    """Read one file of the release.

    Raises:
        ReleaseError: The file is missing, too large, or a setting list that does not parse.
    """
    if not isinstance(entry, dict):
        raise ReleaseError(f"{manifest}: [[artefact]] is not a table")
    name = _text(manifest, entry, "name")
    if Path(name).name != name:
        raise ReleaseError(f"{manifest}: name {name!r} leads out of the folder")
    path = manifest.parent / name
    try:
        content = read_bounded(path, bytes_max=ARTEFACT_BYTES_MAX)
        found = artefact(_text(manifest, entry, "kind"), _text(manifest, entry, "version"), content)
        if found.kind == SETTINGS:
            values_of(content)
    except (OSError, StorageError, ContentsError, SettingsError) as error:
        raise ReleaseError(f"{path}: {error}") from error
    return found
