"""``gridwitness-sim fault``: faults of the catalogue."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from firmware_sim.commands.common import (
    ControlOption,
    JsonOption,
    StateOption,
    control_of,
    emit,
)
from firmware_sim.faults import CATALOGUE

fault_app = typer.Typer(
    help="Bring about a fault of the catalogue on DEVICE.",
    epilog="Example: gridwitness-sim fault sc-lakeside-1 set late --delay-ms 3000",
    rich_markup_mode=None,
)


@fault_app.callback()
def fault(context: typer.Context, device: Annotated[str, typer.Argument(help="Device of the scenario.")]) -> None:
    """Remember which device is meant."""
    context.obj = device


@fault_app.command("set")
def set_fault(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(CATALOGUE)}.")],
    delay_ms: Annotated[int | None, typer.Option(help="How late, or how long away; else the catalogue's.")] = None,
    function: Annotated[list[int] | None, typer.Option(help="Hit this function code alone; repeatable.")] = None,
    requests: Annotated[int | None, typer.Option(help="End after so many requests.")] = None,
    other: Annotated[str | None, typer.Option("--with", help="The other device, for 'swapped-files'.")] = None,
    offset_ms: Annotated[int | None, typer.Option(help="How far the clock is off, for 'wrong-clock'.")] = None,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Set a fault in place of the one in force.

    Example: gridwitness-sim fault sc-lakeside-1 set busy --function 20 --requests 5
    """
    given: dict[str, Any] = {"delay_ms": delay_ms, "functions": function, "requests": requests, "offset_ms": offset_ms}
    given["with"] = other
    body = {"action": "set", "fault": name} | {key: value for key, value in given.items() if value is not None}
    answer = control_of(control, state_file).fault(str(context.obj), body)
    emit(answer, [f"{answer['device']}: {name}"], as_json=as_json)


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
    answer = control_of(control, state_file).fault(str(context.obj), {"action": "clear"})
    emit(answer, [f"{answer['device']}: no fault"], as_json=as_json)
