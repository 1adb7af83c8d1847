"""``gridwitness-sim scenario``: make scenario files, and check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firmware_sim.commands.common import JsonOption, emit
from firmware_sim.faults import MODBUS
from firmware_sim.maker import SCENARIO_FILE, FleetSpec, make_scenario
from firmware_sim.protocols import PROTOCOLS
from firmware_sim.scenario import Scenario, build_places, load_scenario, ports_of
from kit.clock import SystemClock

_KIB = 1_024

scenario_app = typer.Typer(
    help="Make scenario files, and check them.",
    epilog="Example: gridwitness-sim scenario make fleet --devices 2000 --port 20000",
    rich_markup_mode=None,
)


@scenario_app.callback()
def scenario() -> None:
    """Group the scenario commands."""


@scenario_app.command("make")
def scenario_make(
    folder: Annotated[Path, typer.Argument(help="Folder to write; made when missing.")],
    devices: Annotated[int, typer.Option(help="How many devices, 1..5000.")],
    name: Annotated[str, typer.Option(help="Of the scenario; device ids begin with it.")] = "fleet",
    host: Annotated[str, typer.Option(help="Where the devices listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the first, each has the next; 0: free ones.")] = 0,
    version: Annotated[str, typer.Option(help="Version of the release that all hold.")] = "2.4.0",
    old_version: Annotated[str, typer.Option(help="Version of the release for 'old-release'.")] = "2.3.1",
    size_kib: Annotated[int, typer.Option(help="Firmware size, 64..2048 KiB.")] = 280,
    groups: Annotated[int, typer.Option(min=1, max=8, help="Setting groups of each device.")] = 1,
    protocol: Annotated[str, typer.Option(help=f"One of {', '.join(PROTOCOLS)}.")] = MODBUS,
    seed: Annotated[str, typer.Option(help="Other seeds give other files.")] = "gridwitness",
    control: Annotated[str, typer.Option("--control-listen", help="Control port.")] = "127.0.0.1:8470",
    *,
    checksums_only: Annotated[bool, typer.Option("--checksums-only", help="Relays without a file service.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a scenario with any number of devices, and the releases that they hold.

    Example: gridwitness-sim scenario make fleet --devices 2000 --port 20000
    """
    spec = FleetSpec(
        devices=devices,
        name=name,
        host=host,
        first_port=port,
        version=version,
        old_version=old_version,
        size_bytes=size_kib * _KIB,
        seed=seed,
        control=control,
        protocol=protocol,
        checksums_only=checksums_only,
        groups=groups,
    )
    _show(folder / SCENARIO_FILE, make_scenario(folder, spec), as_json=as_json)


@scenario_app.command("check")
def scenario_check(
    path: Annotated[Path, typer.Argument(metavar="SCENARIO", help="Scenario file (TOML).")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Check a scenario and all releases that it names, without starting anything.

    Example: gridwitness-sim scenario check bench.toml
    """
    found = load_scenario(path)
    build_places(found, SystemClock().now_ms)
    _show(path, found, as_json=as_json)


def _show(path: Path, found: Scenario, *, as_json: bool) -> None:
    answer = {
        "scenario": found.scenario.name,
        "file": str(path),
        "devices": len(found.devices),
        "ports": len(ports_of(found)),
        "events": len(found.events),
    }
    text = f"{path}: {answer['devices']} devices at {answer['ports']} ports, {answer['events']} events"
    emit(answer, [text], as_json=as_json)
