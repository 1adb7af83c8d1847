"""What a tester can do to the files of a device.

May live here: planners. Each action looks at the present state and returns
what the devices will hold; ``tamper`` then puts all of it in place at once, so
a refused request changes nothing and nobody reads half a change.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_sim.contents import FIRMWARE, KIND_CODES, SETTINGS, Artefact, Contents
from firmware_sim.device import Device
from firmware_sim.errors import BadRequestError, RefusedError, ReleaseError, UnknownDeviceError
from firmware_sim.fields import Fields
from firmware_sim.files.stream import Stream
from firmware_sim.release import load_release
from firmware_sim.scenario import Place
from firmware_sim.settings import SettingsError, change_setting

OFFSET_MAX = 4 * 1024 * 1024
FLIP_MASK_DEFAULT = 0xFF
SETTING_NUMBER_MAX = 65_535

Change = Mapping[str, str | int | None]
"""What was changed: device, artefact and the action's own figures."""


@dataclass(frozen=True, slots=True)
class Step:
    """One device's part of an action, not done yet."""

    device: Device
    contents: Contents
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Bench:
    """What the actions may look at.

    Attributes:
        places: All devices of the scenario.
        base: Relative release folders start here.
    """

    places: Mapping[str, Place]
    base: Path

    def device(self, name: str) -> Device:
        """Find a device.

        Raises:
            UnknownDeviceError: There is none of that name.
        """
        place = self.places.get(name)
        if place is None:
            raise UnknownDeviceError(f"there is no device {name!r}")
        return place.device


Action = Callable[[Bench, Device, Fields], Sequence[Step]]


def tamper(bench: Bench, names: Sequence[str], body: object) -> list[Change]:
    """Do one action on each named device, on all or on none.

    Args:
        bench: The fleet.
        names: Devices, at least one.
        body: JSON object with ``action`` and what that action takes.

    Returns:
        What was changed, in the order of ``names``.

    Raises:
        BadRequestError: Unknown action, or a member that is missing, wrong or unknown.
        UnknownDeviceError: One of the devices does not exist.
        RefusedError: The action would change nothing, or break a bound.
    """
    steps: list[Step] = []
    for device in [bench.device(name) for name in names]:
        fields = Fields(body)
        action = ACTIONS.get(fields.text("action"))
        if action is None:
            raise BadRequestError(f"unknown action, expected one of {', '.join(ACTIONS)}")
        steps.extend(action(bench, device, fields))
    touched = [step.device.name for step in steps]
    if len(set(touched)) != len(touched):
        raise RefusedError("the request touches a device twice")
    for step in steps:
        step.device.load(step.contents)
    return [change for step in steps for change in step.changes]


def _artefact(device: Device, kind: str) -> Artefact:
    """Find an artefact of a device.

    Raises:
        BadRequestError: Unknown kind.
        RefusedError: The device has none of this kind.
    """
    if kind not in KIND_CODES:
        raise BadRequestError(f"artefact is {kind!r}, expected one of {', '.join(KIND_CODES)}")
    found = device.contents.artefacts.get(kind)
    if found is None:
        raise RefusedError(f"{device.name} has no {kind}")
    return found


def _flip_byte(_bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Exclusive-or one byte of a file with ``mask``; without an offset, one that follows from ``seed``."""
    found = _artefact(device, fields.text("artefact", FIRMWARE))
    offset = fields.optional_integer("offset", 0, OFFSET_MAX)
    mask = fields.integer("mask", 1, 255, FLIP_MASK_DEFAULT)
    seed = fields.optional_text("seed")
    fields.done()
    size = len(found.content)
    if size == 0:
        raise RefusedError(f"the {found.kind} of {device.name} is empty")
    if offset is None:
        seed = secrets.token_hex(8) if seed is None else seed
        offset = Stream("flip-byte", seed, device.name, found.kind).below(size)
    if offset >= size:
        raise RefusedError(f"offset {offset} is past the end, the {found.kind} has {size} bytes")
    old = found.content[offset]
    flipped = found.content[:offset] + bytes((old ^ mask,)) + found.content[offset + 1 :]
    change = {"offset": offset, "old_byte": old, "new_byte": old ^ mask, "seed": seed}
    contents = device.contents.overwritten(found.with_content(flipped, found.declared_bytes))
    return [Step(device, contents, ({"device": device.name, "artefact": found.kind, **change},))]


def _change_setting(_bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Put another value into the setting list and into its register."""
    found = _artefact(device, SETTINGS)
    number = fields.integer("number", 1, SETTING_NUMBER_MAX)
    value = fields.text("value")
    force = fields.flag("force")
    fields.done()
    try:
        done = change_setting(found.content, number, value, force=force)
        contents = device.contents.loaded(found.with_content(done.content))
    except SettingsError as error:
        raise RefusedError(f"{device.name}: {error}") from error
    change: Change = {
        "device": device.name,
        "artefact": SETTINGS,
        "number": done.number,
        "name": done.name,
        "old_value": done.old,
        "new_value": done.new,
        "unit": done.unit,
        "register": done.register,
        "offset": done.offset,
    }
    return [Step(device, contents, (change,))]


def _swap(bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Exchange all files of two devices."""
    other = bench.device(fields.text("with"))
    fields.done()
    if other is device:
        raise BadRequestError("a device cannot be swapped with itself")
    if other.contents == device.contents:
        raise RefusedError(f"{device.name} and {other.name} hold the same files")
    mine = tuple(_loaded(device, item, other.name) for item in other.contents.artefacts.values())
    theirs = tuple(_loaded(other, item, device.name) for item in device.contents.artefacts.values())
    return [Step(device, other.contents, mine), Step(other, device.contents, theirs)]


def _loaded(device: Device, item: Artefact, source: str) -> Change:
    """Describe an artefact that takes the place of another."""
    old = device.contents.artefacts.get(item.kind)
    return {
        "device": device.name,
        "artefact": item.kind,
        "old_version": None if old is None else old.version,
        "new_version": item.version,
        "from": source,
    }


def _old_release(bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Load a release folder; without one, the ``old_release`` of the scenario."""
    named = fields.optional_text("release")
    fields.done()
    folder = bench.places[device.name].old_release if named is None else bench.base / named
    if folder is None:
        raise BadRequestError(f"{device.name} has no old_release in the scenario; name a release")
    try:
        release = load_release(folder)
    except ReleaseError as error:
        raise RefusedError(str(error)) from error
    contents = device.contents.loaded(*release.artefacts)
    if contents == device.contents:
        raise RefusedError(f"{device.name} holds the files of {release.release} already")
    changes = tuple(_loaded(device, item, release.release) for item in release.artefacts)
    return [Step(device, contents, changes)]


def _truncate(_bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Cut a file short; the directory still announces its old size."""
    found = _artefact(device, fields.text("artefact", FIRMWARE))
    old = len(found.content)
    size = fields.integer("size", 0, OFFSET_MAX, old // 2)
    fields.done()
    if size >= old:
        raise RefusedError(f"the {found.kind} of {device.name} has {old} bytes, not more than {size}")
    change: Change = {
        "device": device.name,
        "artefact": found.kind,
        "old_bytes": old,
        "new_bytes": size,
        "declared_bytes": found.declared_bytes,
    }
    cut = found.with_content(found.content[:size], found.declared_bytes)
    return [Step(device, device.contents.overwritten(cut), (change,))]


def _restore(_bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Load what the scenario loaded; a device that was not touched is left alone."""
    fields.done()
    if device.contents == device.baseline:
        return []
    changes = tuple(
        _loaded(device, item, "scenario")
        for kind, item in device.baseline.artefacts.items()
        if device.contents.artefacts.get(kind) != item
    )
    return [Step(device, device.baseline, changes)]


ACTIONS: dict[str, Action] = {
    "flip-byte": _flip_byte,
    "change-setting": _change_setting,
    "swap": _swap,
    "old-release": _old_release,
    "truncate": _truncate,
    "restore": _restore,
}
