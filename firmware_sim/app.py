"""Run a scenario: devices, control port, state file, clean end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from firmware_sim.api import build_app
from firmware_sim.errors import ScenarioError
from firmware_sim.fleet import Fleet
from firmware_sim.scenario import load_scenario
from kit.config import HostPort
from kit.files import write_atomic

_BACKLOG = 128
_SHUTDOWN_S = 2
_POLL_S = 0.01
_FILES_SPARE = 64

State = dict[str, Any]


class _ControlServer(uvicorn.Server):
    """uvicorn without its own signal handlers: this program has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def run_scenario(path: Path, state_file: Path | None, announce: Callable[[State], None]) -> None:
    """Run until SIGTERM or SIGINT.

    Args:
        path: Scenario file.
        state_file: Where the resolved addresses are written; removed at the end.
        announce: Called once, when everything listens.

    Raises:
        ConfigurationError: The scenario is wrong, or a port cannot be had.
        ReleaseError: A release folder is not complete.
    """
    scenario = load_scenario(path)
    fleet = Fleet(scenario, base=path.resolve().parent)
    allow_files(len(fleet.bench.places))

    written = False

    def started(state: State) -> None:
        nonlocal written
        if state_file is not None:
            write_atomic(state_file, json.dumps(state, indent=2).encode() + b"\n")
            written = True
        announce(state)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(fleet, scenario.control.listen, started))
    finally:
        if state_file is not None and written:  # else it is another simulator's
            state_file.unlink(missing_ok=True)


async def _run(fleet: Fleet, listen: HostPort, started: Callable[[State], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with _bind(listen) as listener:
        config = uvicorn.Config(
            build_app(fleet),
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        server = _ControlServer(config)
        await fleet.start()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        events = asyncio.create_task(_run_timeline(fleet))
        try:
            await _until_started(server, serving)
            started(_state(fleet, HostPort(*listener.getsockname()[:2])))
            await stop.wait()
        finally:
            events.cancel()
            server.should_exit = True
            await serving
            await fleet.stop()


async def _run_timeline(fleet: Fleet) -> None:
    """Let the events of the scenario happen when they are due."""
    wait_ms = fleet.run_due()
    while wait_ms is not None:
        await asyncio.sleep(wait_ms / 1_000)
        wait_ms = fleet.run_due()


def allow_files(wanted: int) -> None:
    """Raise this process's limit on open files as far as the system allows, each device needs some.

    Raises:
        ScenarioError: It stays below what the devices need even without a client.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    aim = wanted * 2 + _FILES_SPARE
    if soft < aim:
        soft = aim if hard == resource.RLIM_INFINITY else min(aim, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted + _FILES_SPARE:
        hint = f"raise it with 'ulimit -Hn {aim}', or let devices share ports with [[gateway]]"
        raise ScenarioError(f"{wanted} devices need more open files than the system's limit of {soft}; {hint}")


async def _until_started(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    """Wait until the control port answers.

    Raises:
        ScenarioError: It ended before it began.
    """
    while not server.started:
        if serving.done():
            raise ScenarioError("the control port could not be started")
        await asyncio.sleep(_POLL_S)


def _state(fleet: Fleet, control: HostPort) -> State:
    """Say where everything listens; also what the state file holds."""
    return {
        "scenario": fleet.name,
        "control": f"http://{control}",
        "pid": os.getpid(),
        "devices": {
            name: {
                "host": at.host,
                "port": at.port,
                "unit_id": fleet.device(name).unit_id,
                "protocol": fleet.device(name).protocol,
            }
            for name, at in fleet.addresses.items()
        },
    }


def _bind(listen: HostPort) -> socket.socket:
    """Take the control port.

    Raises:
        ScenarioError: It cannot be had.
    """
    try:
        family = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((listen.host, listen.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error
        hint = "choose another [control] listen, or port 0 for a free one"
        raise ScenarioError(f"the control port cannot listen on {listen}: {reason}; {hint}") from error
