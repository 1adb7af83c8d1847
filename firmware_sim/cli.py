"""The program ``gridwitness-sim``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from firmware_sim.app import run_scenario
from firmware_sim.commands.common import ControlOption, JsonOption, StateOption, control_of, emit, table
from firmware_sim.commands.fault import fault_app
from firmware_sim.commands.release import release_app
from firmware_sim.commands.scenario import scenario_app
from firmware_sim.commands.session import record, replay
from firmware_sim.commands.tamper import tamper_app
from firmware_sim.fleet import describe_catalogue
from kit.exitcodes import run
from kit.logs import configure_logs
from kit.version import offer_version

PROGRAM = "gridwitness-sim"

app = typer.Typer(
    help="Simulated stability control devices for a test bench.",
    epilog="Example: gridwitness-sim up bench.toml --state-file bench.json",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
offer_version(app, PROGRAM)
app.add_typer(tamper_app, name="tamper")
app.add_typer(fault_app, name="fault")
app.add_typer(release_app, name="release")
app.add_typer(scenario_app, name="scenario")
app.command("record")(record)
app.command("replay")(replay)


def main() -> int:
    """Run the program and return its exit code."""
    return run(app, program=PROGRAM)


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
        lines = [f"{state['scenario']}: control port {state['control']}", *table(rows)]
        emit(state, lines, as_json=as_json)

    run_scenario(scenario, state_file, announce)


@app.command("faults")
def list_faults(*, as_json: JsonOption = False) -> None:
    """List the fault catalogue.

    Example: gridwitness-sim faults
    """
    items = describe_catalogue()
    rows: list[Sequence[object]] = [("FAULT", "CHANGES", "PROTOCOLS", "EXPECTED", "WHAT THE DEVICE DOES")]
    rows += [
        (item["fault"], item["changes"], " ".join(item["protocols"]), item["verdict"], item["about"]) for item in items
    ]
    emit({"items": items}, table(rows), as_json=as_json)


@app.command("list")
def list_devices(control: ControlOption = None, state_file: StateOption = None, *, as_json: JsonOption = False) -> None:
    """List the devices of a running simulator.

    Example: gridwitness-sim list --state-file bench.json
    """
    answer = control_of(control, state_file).devices()
    rows: list[Sequence[object]] = [("DEVICE", "ADDRESS", "UNIT", "FIRMWARE", "FILES", "FAULT")]
    for item in answer["items"]:
        fault = "-" if item["fault"] is None else item["fault"]["fault"]
        address = f"{item['host']}:{item['port']}"
        cells = (item["device"], address, item["unit_id"], item["revision"], item["state"], fault)
        rows.append(cells)
    emit(answer, table(rows), as_json=as_json)


if __name__ == "__main__":
    raise SystemExit(main())
