"""The program ``gridwitness-sim``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from firmware_sim.app import run_scenario
from firmware_sim.contents import FILE_NAMES, FIRMWARE
from firmware_sim.control import CONTROL_VARIABLE, Control, find_control
from firmware_sim.faults import CATALOGUE
from firmware_sim.release import ReleaseSpec, make_release
from firmware_sim.scenario import WHOLE_FLEET
from kit.exitcodes import run
from kit.logs import configure_logs
from kit.terminal import Terminal
from kit.version import offer_version

PROGRAM = "gridwitness-sim"
_KIB = 1_024

ControlOption = Annotated[
    str | None,
    typer.Option("--control", metavar="URL", help=f"Control port; else {CONTROL_VARIABLE}."),
]
StateOption = Annotated[
    Path | None,
    typer.Option("--state-file", metavar="FILE", help="File that 'up --state-file' wrote."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ArtefactOption = Annotated[str, typer.Option("--artefact", metavar="KIND", help=f"One of {', '.join(FILE_NAMES)}.")]

app = typer.Typer(
    help="Simulated stability control devices for a test bench.",
    epilog="Example: gridwitness-sim up bench.toml --state-file bench.json",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
offer_version(app, PROGRAM)
tamper_app = typer.Typer(
    help="Change the files of DEVICE; 'all' means every device.",
    epilog="Example: gridwitness-sim tamper sc-lakeside-1 change-setting 17 48.50",
    rich_markup_mode=None,
)
fault_app = typer.Typer(
    help="Make DEVICE answer wrongly on the line.",
    epilog="Example: gridwitness-sim fault sc-lakeside-1 set late --delay-ms 3000",
    rich_markup_mode=None,
)
release_app = typer.Typer(
    help="Make release folders, as a manufacturer hands them out.",
    epilog="Example: gridwitness-sim release make releases/lakeside-1-2.4.0 --device sc-lakeside-1",
    rich_markup_mode=None,
)
app.add_typer(tamper_app, name="tamper")
app.add_typer(fault_app, name="fault")
app.add_typer(release_app, name="release")


def main() -> int:
    """Run the program and return its exit code."""
    return run(app, program=PROGRAM)


def _emit(answer: Mapping[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print the answer for a program or for a person."""
    Terminal(as_json=as_json).show(answer, lambda: lines)


def _table(rows: Sequence[Sequence[object]]) -> list[str]:
    """Align cells in columns; the first row is the heading."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in texts) for index in range(len(texts[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]


def _control(url: str | None, state_file: Path | None) -> Control:
    return Control(find_control(url, state_file, os.environ))


@app.command()
def up(
    scenario: Annotated[Path, typer.Argument(help="Scenario file (TOML).")],
    state_file: Annotated[
        Path | None,
        typer.Option("--state-file", metavar="FILE", help="Write the resolved addresses here."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Start all devices of SCENARIO and run until SIGTERM or Ctrl-C.

    Example: gridwitness-sim up bench.toml --state-file bench.json
    """
    configure_logs()

    def announce(state: dict[str, Any]) -> None:
        rows: list[Sequence[object]] = [("DEVICE", "ADDRESS", "UNIT")]
        for name, at in state["devices"].items():
            rows.append((name, f"{at['host']}:{at['port']}", at["unit_id"]))
        lines = [f"{state['scenario']}: control port {state['control']}", *_table(rows)]
        _emit(state, lines, as_json=as_json)

    run_scenario(scenario, state_file, announce)


@app.command("list")
def list_devices(control: ControlOption = None, state_file: StateOption = None, *, as_json: JsonOption = False) -> None:
    """List the devices of a running simulator.

    Example: gridwitness-sim list --state-file bench.json
    """
    answer = _control(control, state_file).devices()
    rows: list[Sequence[object]] = [("DEVICE", "ADDRESS", "UNIT", "FIRMWARE", "FILES", "FAULT")]
    for item in answer["items"]:
        fault = "-" if item["fault"] is None else item["fault"]["fault"]
        address = f"{item['host']}:{item['port']}"
        cells = (item["device"], address, item["unit_id"], item["revision"], item["state"], fault)
        rows.append(cells)
    _emit(answer, _table(rows), as_json=as_json)


@tamper_app.callback()
def tamper(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help=f"Device of the scenario, or '{WHOLE_FLEET}'.")],
) -> None:
    """Remember which device is meant."""
    context.obj = device


@fault_app.callback()
def fault(context: typer.Context, device: Annotated[str, typer.Argument(help="Device of the scenario.")]) -> None:
    """Remember which device is meant."""
    context.obj = device


@release_app.callback()
def release() -> None:
    """Group the release commands."""


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
    _emit(answer, lines or ["nothing to change"], as_json=as_json)


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
    _tamper(context, _control(control, state_file), body, as_json=as_json)


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
    _tamper(context, _control(control, state_file), body, as_json=as_json)


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
    _tamper(context, _control(control, state_file), body, as_json=as_json)


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
    named = None
    if folder is not None:
        named = str(folder.resolve() if folder.is_dir() else folder)
    body = {"action": "old-release", "release": named}
    _tamper(context, _control(control, state_file), body, as_json=as_json)


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
    _tamper(context, _control(control, state_file), body, as_json=as_json)


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
    _tamper(context, _control(control, state_file), {"action": "restore"}, as_json=as_json)


@fault_app.command("set")
def set_fault(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(CATALOGUE)}.")],
    delay_ms: Annotated[int | None, typer.Option(help="How late, or how long away; else the catalogue's.")] = None,
    function: Annotated[list[int] | None, typer.Option(help="Hit this function code alone; repeatable.")] = None,
    requests: Annotated[int | None, typer.Option(help="End after so many requests.")] = None,
    offset_ms: Annotated[int | None, typer.Option(help="How far the clock is off, for 'wrong-clock'.")] = None,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Set a fault in place of the one in force.

    Example: gridwitness-sim fault sc-lakeside-1 set busy --function 20 --requests 5
    """
    given = {"delay_ms": delay_ms, "functions": function, "requests": requests, "offset_ms": offset_ms}
    body = {"action": "set", "fault": name} | {key: value for key, value in given.items() if value is not None}
    answer = _control(control, state_file).fault(str(context.obj), body)
    _emit(answer, [f"{answer['device']}: {name}"], as_json=as_json)


@fault_app.command("clear")
def clear_fault(
    context: typer.Context,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Clear the fault of the device.

    Example: gridwitness-sim fault sc-lakeside-1 clear
    """
    answer = _control(control, state_file).fault(str(context.obj), {"action": "clear"})
    _emit(answer, [f"{answer['device']}: no fault"], as_json=as_json)


@release_app.command("make")
def release_make(
    folder: Annotated[Path, typer.Argument(help="Folder to write; made when missing.")],
    device: Annotated[str | None, typer.Option(help="The one device it is for.")] = None,
    model: Annotated[str | None, typer.Option(help="Or the model it is for.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Identifier; else from the folder.")] = None,
    version: Annotated[str, typer.Option(help="Version of all its files.")] = "1.0.0",
    product: Annotated[str, typer.Option(help="Product in the firmware header.")] = "SCD-220",
    build_date: Annotated[str, typer.Option(help="Date in the firmware header.")] = "2026-03-17",
    seed: Annotated[str, typer.Option(help="Other seeds give other files.")] = "gridwitness",
    size_kib: Annotated[int, typer.Option(help="Firmware size, 64..2048 KiB.")] = 280,
    kind: Annotated[list[str] | None, typer.Option(help="Only this artefact; repeatable.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write a release folder from nothing but these arguments.

    Example: gridwitness-sim release make releases/lakeside-1-2.4.0 --device sc-lakeside-1 --version 2.4.0
    """
    spec = ReleaseSpec(
        release=name or folder.name.lower().replace(".", "-"),
        version=version,
        device=device,
        model=model,
        product=product,
        build_date=build_date,
        seed=seed,
        size_bytes=size_kib * _KIB,
        kinds=tuple(kind or FILE_NAMES),
    )
    made = make_release(folder, spec)
    answer = {
        "release": made.release,
        "folder": str(folder),
        "artefacts": [
            {"kind": item.kind, "version": item.version, "size_bytes": len(item.content)} for item in made.artefacts
        ],
    }
    rows: list[Sequence[object]] = [("ARTEFACT", "VERSION", "BYTES")]
    rows += [(item.kind, item.version, len(item.content)) for item in made.artefacts]
    _emit(answer, [f"{made.release} in {folder}", *_table(rows)], as_json=as_json)


if __name__ == "__main__":
    raise SystemExit(main())
