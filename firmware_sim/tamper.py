"""What can happen to a device: the actions of the control port and of the timeline.

May live here: planners. Each action looks at the present state and returns
what will be done; ``tamper`` then does all of it at once, so a refused request
changes nothing and nobody reads half a change.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from firmware_sim.contents import FILE_NAMES, FIRMWARE, GROUPS_MAX, SETTINGS, Artefact, Contents, ContentsError
from firmware_sim.device import Device
from firmware_sim.errors import BadRequestError, RefusedError, ReleaseError, UnknownDeviceError
from firmware_sim.faults import (
    CATALOGUE,
    DELAY_MS_MAX,
    OFFSET_MS_DEFAULT,
    OFFSET_MS_MAX,
    REQUESTS_MAX,
    Fault,
)
from firmware_sim.fields import Fields
from firmware_sim.files.stream import Stream
from firmware_sim.release import load_release
from firmware_sim.scenario import Place
from firmware_sim.settings import SettingsError, change_setting, other_value, parse_settings

OFFSET_MAX = 4 * 1024 * 1024
FLIP_MASK_DEFAULT = 0xFF
SETTING_NUMBER_MAX = 65_535
SETTING_NUMBER_DEFAULT = 17
DOWN_MS_DEFAULT = 1_000

Change = Mapping[str, str | int | None]
"""What was changed: device, artefact and the action's own figures."""


@dataclass(frozen=True, slots=True)
class Step:
    """One device's part of an action, not done yet.

    Attributes:
        device: Whose.
        do: Does it; cannot fail.
        changes: What it will have changed.
    """

    device: Device
    do: Callable[[], None]
    changes: tuple[Change, ...]


def _load(device: Device, contents: Contents, changes: Sequence[Change], *, noticed: bool = True) -> Step:
    """Plan other contents; ``noticed`` says whether the device's revision counter sees them."""
    return Step(device, partial(device.load, contents, noticed=noticed), tuple(changes))


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
    touched: set[str] = set()
    for device in [bench.device(name) for name in names]:
        fields = Fields(body)
        action = ACTIONS.get(fields.text("action"))
        if action is None:
            raise BadRequestError(f"unknown action, expected one of {', '.join(ACTIONS)}")
        planned = action(bench, device, fields)
        mine = {step.device.name for step in planned}
        if mine & touched:
            raise RefusedError("the request touches a device twice")
        touched |= mine
        steps.extend(planned)
    for step in steps:
        step.do()
    return [change for step in steps for change in step.changes]


def _artefact(device: Device, kind: str) -> Artefact:
    """Find an artefact of a device.

    Raises:
        BadRequestError: Unknown kind.
        RefusedError: The device has none of this kind.
    """
    if kind not in FILE_NAMES:
        raise BadRequestError(f"artefact is {kind!r}, expected one of {', '.join(FILE_NAMES)}")
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
    return [_load(device, contents, [{"device": device.name, "artefact": found.kind, **change}], noticed=False)]


def _change_setting(_bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Put another value into the setting list and into its register."""
    contents, change = _with_other_setting(device, fields)
    return [_load(device, contents, [change])]


def _change_back(_bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Change a setting and change it back at once, so that nothing but the revision counter shows it."""
    before = device.contents
    contents, change = _with_other_setting(device, fields)

    def there_and_back() -> None:
        device.load(contents)
        device.load(before)

    return [Step(device, there_and_back, ({**change, "new_value": change["old_value"]},))]


def _with_other_setting(device: Device, fields: Fields) -> tuple[Contents, Change]:
    """Plan another value for a setting; without a value, one that lies in its range."""
    found = _artefact(device, SETTINGS)
    number = fields.optional_integer("number", 1, SETTING_NUMBER_MAX)
    value = fields.optional_text("value")
    force = fields.flag("force")
    fields.done()
    try:
        if number is None:
            number = _default_number(found)
        wanted = other_value(found.content, number) if value is None else value
        done = change_setting(found.content, number, wanted, force=force)
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
    return contents, change


def _default_number(found: Artefact) -> int:
    """Choose the first UFLS stage of a list that the simulator made, else the first setting.

    Raises:
        SettingsError: The list cannot be read, or is empty.
    """
    numbers = [setting.number for setting in parse_settings(found.content)]
    if not numbers:
        raise SettingsError("the setting list is empty")
    return SETTING_NUMBER_DEFAULT if SETTING_NUMBER_DEFAULT in numbers else numbers[0]


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
    return [_load(device, other.contents, mine), _load(other, device.contents, theirs)]


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
    contents, changes = _with_release(bench, device, fields)
    return [_load(device, contents, changes)]


def _upgrade(bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Load a release folder and restart with it, as an engineer does."""
    down_ms = fields.integer("down_ms", 1, DELAY_MS_MAX, DOWN_MS_DEFAULT)
    contents, changes = _with_release(bench, device, fields)

    def install() -> None:
        device.load(contents)
        device.restart(down_ms)

    return [Step(device, install, (*changes, {"device": device.name, "down_ms": down_ms}))]


def _with_release(bench: Bench, device: Device, fields: Fields) -> tuple[Contents, tuple[Change, ...]]:
    """Plan the files of a release folder."""
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
    return contents, tuple(_loaded(device, item, release.release) for item in release.artefacts)


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
    return [_load(device, device.contents.overwritten(cut), [change], noticed=False)]


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
    return [_load(device, device.baseline, changes)]


def _switch_group(_bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Make another setting group the active one; without a number, the next."""
    held = device.contents
    if not held.groups:
        raise RefusedError(f"{device.name} has no setting groups")
    group = fields.integer("group", 1, GROUPS_MAX, held.active_group % len(held.groups) + 1)
    fields.done()
    if group == held.active_group:
        raise RefusedError(f"setting group {group} of {device.name} is active already")
    try:
        contents = held.switched(group)
    except (ContentsError, SettingsError) as error:
        raise RefusedError(f"{device.name}: {error}") from error
    change: Change = {"device": device.name, "old_group": held.active_group, "new_group": group}
    return [_load(device, contents, [change])]


def _restart(_bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Drop every connection and be away for a while."""
    down_ms = fields.integer("down_ms", 1, DELAY_MS_MAX, DOWN_MS_DEFAULT)
    fields.done()
    return [Step(device, partial(device.restart, down_ms), ({"device": device.name, "down_ms": down_ms},))]


def _fault(bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """Bring about a fault of the catalogue: change the files as it says, and set the condition it names."""
    kind = fields.text("fault")
    entry = CATALOGUE.get(kind)
    if entry is None:
        raise BadRequestError(f"unknown fault {kind!r}, expected one of {', '.join(sorted(CATALOGUE))}")
    if device.protocol not in entry.protocols:
        raise RefusedError(f"{device.name} speaks {device.protocol}, where the fault {kind} does not exist")
    steps: list[Step] = []
    if entry.condition:
        fault = _condition(kind, fields)
        set_now: Change = {"device": device.name, "fault": kind}
        steps.append(Step(device, partial(device.set_fault, fault), (set_now,)))
    if entry.action:
        body = {**entry.action, **fields.rest()}
        done = ACTIONS[str(entry.action["action"])](bench, device, Fields(body, spared="action"))
        steps.extend(done)
    else:
        fields.done()
    return steps


def _condition(kind: str, fields: Fields) -> Fault:
    """Read how a fault is set."""
    delay_ms = fields.optional_integer("delay_ms", 1, DELAY_MS_MAX)
    functions = frozenset(fields.list_of("functions", int))
    requests = fields.optional_integer("requests", 1, REQUESTS_MAX)
    offset_ms = fields.integer("offset_ms", -OFFSET_MS_MAX, OFFSET_MS_MAX, OFFSET_MS_DEFAULT)
    try:
        return Fault(kind, delay_ms, functions, requests, offset_ms)
    except ValueError as error:
        raise BadRequestError(str(error)) from error


def _clear_fault(_bench: Bench, device: Device, fields: Fields) -> Sequence[Step]:
    """End the fault in force; files stay as they are."""
    fields.done()
    change: Change = {"device": device.name, "fault": None}
    return [Step(device, partial(device.set_fault, None), (change,))]


ACTIONS: dict[str, Action] = {
    "flip-byte": _flip_byte,
    "change-setting": _change_setting,
    "change-back": _change_back,
    "swap": _swap,
    "old-release": _old_release,
    "truncate": _truncate,
    "restore": _restore,
    "switch-group": _switch_group,
    "restart": _restart,
    "upgrade": _upgrade,
    "fault": _fault,
    "clear-fault": _clear_fault,
}
