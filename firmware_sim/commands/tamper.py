"""``gridwitness-sim tamper``: actions on devices of a running simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from firmware_sim.commands.common import (
    ArtefactOption,
    ControlOption,
    JsonOption,
    StateOption,
    control_of,
    emit,
)
from firmware_sim.contents import FIRMWARE
from firmware_sim.control import Control
from firmware_sim.scenario import WHOLE_FLEET

tamper_app = typer.Typer(
    help="Let something happen to DEVICE; 'all' means every device.",
    epilog="Example: gridwitness-sim tamper sc-lakeside-1 change-setting 17 48.50",
    rich_markup_mode=None,
)

DownOption = Annotated[int | None, typer.Option("--down-ms", help="How long it is away; else one second.")]


@tamper_app.callback()
def tamper(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help=f"Device of the scenario, or '{WHOLE_FLEET}'.")],
) -> None:
    """Remember which device is meant."""
    context.obj = device


def _tamper(context: typer.Context, control: Control, body: dict[str, Any], *, as_json: bool) -> None:
    """Send one action and say what it changed."""
    given = {name: value for name, value in body.items() if value is not None}
    device = str(context.obj)
    whole = device == WHOLE_FLEET
    answer = control.tamper_fleet(given) if whole else control.tamper(device, given)
    lines = [
        ", ".join(f"{name} {value}" for name, value in change.items() if value is not None)
        for change in answer["changes"]
    ]
    emit(answer, lines or ["nothing to change"], as_json=as_json)


def _named(folder: Path | None) -> str | None:
    """Name a release folder: from here when it is there, else as the simulator finds it from its scenario."""
    return None if folder is None else str(folder.resolve() if folder.is_dir() else folder)


@tamper_app.command("flip-byte")
def flip_byte(
    context: typer.Context,
    artefact: ArtefactOption = FIRMWARE,
    offset: Annotated[int | None, typer.Option(help="Zero-based; else one that follows from the seed.")] = None,
    mask: Annotated[int | None, typer.Option(help="Bits to turn, 1..255; else all eight.")] = None,
    seed: Annotated[str | None, typer.Option(help="Makes a random offset repeatable.")] = None,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Turn bits of one byte of a file.

    Example: gridwitness-sim tamper sc-lakeside-1 flip-byte --artefact firmware --offset 70000
    """
    body = {"action": "flip-byte", "artefact": artefact, "offset": offset, "mask": mask, "seed": seed}
    _tamper(context, control_of(control, state_file), body, as_json=as_json)


@tamper_app.command("change-setting")
def change_setting(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Number of the setting.")],
    value: Annotated[str, typer.Argument(help="New value, such as 48.50.")],
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Take a value outside the range.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Change one setting, in the list and in its register.

    Example: gridwitness-sim tamper sc-lakeside-1 change-setting 17 48.50
    """
    body = {"action": "change-setting", "number": number, "value": value, "force": force}
    _tamper(context, control_of(control, state_file), body, as_json=as_json)


@tamper_app.command("swap")
def swap(
    context: typer.Context,
    other: Annotated[str, typer.Argument(help="The other device.")],
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Exchange all files of two devices.

    Example: gridwitness-sim tamper sc-lakeside-1 swap sc-lakeside-2
    """
    body = {"action": "swap", "with": other}
    _tamper(context, control_of(control, state_file), body, as_json=as_json)


@tamper_app.command("old-release")
def old_release(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Argument(help="Release folder; else the scenario's old_release.")] = None,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Load another release; a relative folder starts here or, if not found, at the scenario.

    Example: gridwitness-sim tamper sc-lakeside-1 old-release releases/lakeside-1-2.3.1
    """
    body = {"action": "old-release", "release": _named(folder)}
    _tamper(context, control_of(control, state_file), body, as_json=as_json)


@tamper_app.command("truncate")
def truncate(
    context: typer.Context,
    artefact: ArtefactOption = FIRMWARE,
    size: Annotated[int | None, typer.Option(help="Bytes that stay; else half.")] = None,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Cut a file short; the directory still announces its old size.

    Example: gridwitness-sim tamper sc-lakeside-1 truncate --artefact strategy --size 1000
    """
    body = {"action": "truncate", "artefact": artefact, "size": size}
    _tamper(context, control_of(control, state_file), body, as_json=as_json)


@tamper_app.command("restore")
def restore(
    context: typer.Context,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Load again what the scenario loaded at the start.

    Example: gridwitness-sim tamper all restore
    """
    _tamper(context, control_of(control, state_file), {"action": "restore"}, as_json=as_json)


@tamper_app.command("change-back")
def change_back(
    context: typer.Context,
    number: Annotated[int | None, typer.Argument(help="Number of the setting.")] = None,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Change a setting and change it back at once; only the revision counter shows it.

    Example: gridwitness-sim tamper sc-lakeside-1 change-back 17
    """
    _tamper(context, control_of(control, state_file), {"action": "change-back", "number": number}, as_json=as_json)


@tamper_app.command("switch-group")
def switch_group(
    context: typer.Context,
    group: Annotated[int | None, typer.Argument(help="Setting group, from 1 on; else the next.")] = None,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Make another setting group the active one.

    Example: gridwitness-sim tamper sc-lakeside-1 switch-group 2
    """
    _tamper(context, control_of(control, state_file), {"action": "switch-group", "group": group}, as_json=as_json)


@tamper_app.command("restart")
def restart(
    context: typer.Context,
    down_ms: DownOption = None,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Drop all connections and take none for a while.

    Example: gridwitness-sim tamper sc-lakeside-1 restart --down-ms 5000
    """
    _tamper(context, control_of(control, state_file), {"action": "restart", "down_ms": down_ms}, as_json=as_json)


@tamper_app.command("upgrade")
def upgrade(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Argument(help="Release folder; else the scenario's old_release.")] = None,
    down_ms: DownOption = None,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Load a release and restart with it, as an engineer does.

    Example: gridwitness-sim tamper sc-lakeside-1 upgrade releases/lakeside-1-2.5.0
    """
    body = {"action": "upgrade", "release": _named(folder), "down_ms": down_ms}
    _tamper(context, control_of(control, state_file), body, as_json=as_json)
