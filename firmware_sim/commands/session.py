"""``gridwitness-sim record`` and ``replay``: sessions with a device."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
import uvloop

from firmware_sim.commands.common import ControlOption, JsonOption, StateOption, control_of, emit
from firmware_sim.errors import BadRequestError, ScenarioError
from firmware_sim.faults import MODBUS
from firmware_sim.sessions.frames import RULES
from firmware_sim.sessions.record import Recorder
from firmware_sim.sessions.replay import Replayer, describe
from firmware_sim.sessions.store import SessionWriter, load_session
from kit.clock import SystemClock
from kit.config import HostPort
from kit.exitcodes import StorageError
from kit.logs import configure_logs

_ANY_PORT = "127.0.0.1:0"

ListenOption = Annotated[
    str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen; port 0: a free one.")
]


class _Server(Protocol):
    async def start(self, host: str, port: int) -> tuple[str, int]: ...

    async def stop(self) -> None: ...


def record(
    path: Annotated[Path, typer.Argument(metavar="SESSION", help="File to write; it must not exist.")],
    device: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The device that is recorded.")] = None,
    simulated: Annotated[str | None, typer.Option("--simulated", metavar="NAME", help="Or a simulated one.")] = None,
    protocol: Annotated[str, typer.Option(help=f"One of {', '.join(RULES)}.")] = MODBUS,
    listen: ListenOption = _ANY_PORT,
    control: ControlOption = None,
    state_file: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Stand between clients and a device, and write down what is asked and answered, until SIGTERM or Ctrl-C.

    Example: gridwitness-sim record session.jsonl --device 10.0.0.7:502 --listen 127.0.0.1:1502
    """
    configure_logs()
    if (device is None) == (simulated is None):
        raise BadRequestError("name the device with --device HOST:PORT, or a simulated one with --simulated NAME")
    if simulated is not None:
        shown = control_of(control, state_file).device(simulated)
        target, protocol = HostPort(shown["host"], shown["port"]), shown["protocol"]
    else:
        target = _address(device or "")
    if protocol not in RULES:
        raise BadRequestError(f"protocol is {protocol!r}, expected one of {', '.join(RULES)}")
    try:
        out = path.open("x", encoding="utf-8")
    except FileExistsError as error:
        raise StorageError(f"{path} exists and is never overwritten; choose another name") from error
    with out:
        recorder = Recorder(target, protocol, SessionWriter(out, protocol, str(target)), SystemClock().monotonic_ms)
        _run(recorder, _address(listen), {"session": str(path), "device": str(target)}, as_json=as_json)
    emit({"session": str(path), "frames": recorder.frames}, [f"{path}: {recorder.frames} frames"], as_json=as_json)


def replay(
    path: Annotated[Path, typer.Argument(metavar="SESSION", help="File that 'record' wrote.")],
    listen: ListenOption = _ANY_PORT,
    *,
    fast: Annotated[bool, typer.Option("--fast", help="Answer at once, not as slowly as the device did.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer as the recorded device did, until SIGTERM or Ctrl-C.

    Example: gridwitness-sim replay session.jsonl --listen 127.0.0.1:1502
    """
    configure_logs()
    session = load_session(path)
    replayer = Replayer(session, pauses=not fast)
    _run(replayer, _address(listen), {"session": str(path), **describe(session)}, as_json=as_json)
    answer = {"session": str(path), "answered": replayer.answered, "unknown": replayer.unknown}
    text = f"{path}: {replayer.answered} requests answered, {replayer.unknown} not in the record"
    emit(answer, [text], as_json=as_json)


def _address(text: str) -> HostPort:
    """Read an address.

    Raises:
        BadRequestError: It is none.
    """
    try:
        return HostPort.parse(text)
    except ValueError as error:
        raise BadRequestError(str(error)) from error


def _run(server: _Server, listen: HostPort, about: dict[str, Any], *, as_json: bool) -> None:
    """Run a server until SIGTERM or SIGINT, and say where it listens."""

    def announce(at: HostPort) -> None:
        answer = {**about, "listen": str(at)}
        emit(answer, [f"{about['session']}: listening on {at}"], as_json=as_json)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_stopped(server, listen, announce))


async def _until_stopped(server: _Server, listen: HostPort, announce: Callable[[HostPort], None]) -> None:
    """Serve.

    Raises:
        ScenarioError: The address cannot be had.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        at = HostPort(*await server.start(listen.host, listen.port))
    except OSError as error:
        raise ScenarioError(f"cannot listen on {listen}: {error}; choose another --listen, or port 0") from error
    try:
        announce(at)
        await stop.wait()
    finally:
        await server.stop()
