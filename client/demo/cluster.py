"""The running demo: simulator, broker, full nodes and gateways as processes, and what one can ask of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import requests

from client.demo.layout import Layout, write_layout
from client.demo.ports import LOOPBACK
from client.demo.processes import (
    HEALTHY_WITHIN_S,
    Processes,
    Program,
    ended_by_signals,
    find_program,
    run_once,
    wait_until,
)
from client.demo.topology import DISPATCH, MEMBERS, Topology
from client.node import Item, items
from kit.exitcodes import DataError, StorageError, TryAgainError, UnreachableError
from kit.http import NodeClient

HTTP_TIMEOUT_S: Final = 5.0
MATCHED_WITHIN_S: Final = 60.0
_OK: Final = 200


class Cluster:
    """All programs of one demo, each started once told.

    Args:
        layout: Files and ports.
        processes: Takes care of every program that is started here.
    """

    def __init__(self, layout: Layout, processes: Processes) -> None:
        self.layout = layout
        self._processes = processes
        self.simulator = self._program(
            "simulator",
            ("gridwitness-sim", "up", str(layout.scenario)),
            f"{layout.simulator_url}/healthz",
        )
        self.broker = Program(
            "broker",
            (find_program("mosquitto"), "-c", str(layout.broker / "mosquitto.conf")),
            layout.logs / "broker.log",
            lambda: _listens(layout.ports.broker),
        )
        self.nodes = {
            member: self._program(
                member,
                ("gridwitness-node", "run", "--config", str(layout.node(member) / "node.toml")),
                f"{layout.api_url(member)}/healthz",
            )
            for member in MEMBERS
        }
        self.agents = {
            substation.gateway: self._program(
                substation.gateway,
                ("gridwitness-agent", "run", "--config", str(layout.gateway(substation.gateway) / "agent.toml")),
                f"http://{LOOPBACK}:{layout.ports.metrics[substation.gateway]}/metrics",
            )
            for substation in layout.topology.substations
        }

    def _program(self, name: str, command: Sequence[str], health_url: str) -> Program:
        found = (find_program(command[0]), *command[1:])
        return Program(name, found, self.layout.logs / f"{name}.log", lambda: _answers(health_url))

    def check(self) -> None:
        """Make sure that every program that was started lives.

        Raises:
            ProgramFailedError: One does not.
        """
        self._processes.check()

    def start_simulator(self) -> None:
        """Start all devices."""
        self._start([self.simulator])

    def start_broker(self) -> None:
        """Start the broker with the access list of the ledger's first state."""
        self._set_up_nodes()
        self.write_broker_files()
        self._start([self.broker])

    def write_broker_files(self) -> None:
        """Write who may use the broker, as the state of a node has it now; a running broker reads it at SIGHUP."""
        folders = ("--ca", self.layout.authority, "--out", self.layout.broker)
        run_once("gridwitness-node", "broker-files", *folders, "--config", self.layout.node(DISPATCH) / "node.toml")

    def _set_up_nodes(self) -> None:
        folders = [self.layout.node(member) for member in MEMBERS if not (self.layout.node(member) / "data").exists()]
        with ThreadPoolExecutor(len(MEMBERS)) as pool:
            list(pool.map(lambda at: run_once("gridwitness-node", "init", "--config", at / "node.toml"), folders))

    def start_nodes(self) -> None:
        """Set up and start all full nodes and wait until they are connected.

        Raises:
            ProgramFailedError: One does not come up.
        """
        self._set_up_nodes()
        self._start(list(self.nodes.values()))
        self.wait_connected()

    def start_agents(self) -> None:
        """Start all gateways."""
        self._start(list(self.agents.values()))

    def restart_nodes(self) -> None:
        """Stop all full nodes, then start them again."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(lambda program: program.stop(), self.nodes.values()))
        # in this thread: a child dies with the thread that started it
        for program in self.nodes.values():
            program.start()
        for program in self.nodes.values():
            program.wait_healthy()
        self.wait_connected()

    def _start(self, programs: Sequence[Program]) -> None:
        for program in programs:
            self._processes.add(program)
        for program in programs:
            program.wait_healthy()

    def wait_connected(self, within_s: float = HEALTHY_WITHIN_S) -> None:
        """Wait until every running node sees every other running one."""
        running = [member for member, program in self.nodes.items() if program.is_running()]

        def connected() -> bool:
            self.check_running(running)
            for member in running:
                peers = {peer["member"]: peer["connected"] for peer in self.status(member)["peers"]}
                if not all(peers.get(other, False) for other in running if other != member):
                    return False
            return True

        wait_until(connected, within_s=within_s, what="the full nodes to be connected")

    def check_running(self, members: Sequence[str]) -> None:
        """Make sure that these nodes live.

        Raises:
            ProgramFailedError: One does not.
        """
        for member in members:
            self.nodes[member].check()

    @contextlib.contextmanager
    def client(self, member: str) -> Iterator[NodeClient]:
        """Open a client of one node's API."""
        with NodeClient([self.layout.api_url(member)], HTTP_TIMEOUT_S) as client:
            yield client

    def status(self, member: str) -> Item:
        """Ask a node for its state."""
        with self.client(member) as client:
            return client.get_json("/v1/status")

    def devices(self, member: str) -> dict[str, Item]:
        """Ask a node for all devices, by id."""
        with self.client(member) as client:
            return {str(item["device"]): item for item in items(client, "/v1/devices", {})}

    def alarms(self, member: str) -> list[Item]:
        """Ask a node for all alarms that nobody has closed, returned ones too."""
        with self.client(member) as client:
            return list(items(client, "/v1/alarms", {"phase": "open"}))

    def references(self, member: str) -> dict[str, Item]:
        """Ask a node for all releases, by name."""
        with self.client(member) as client:
            return {str(item["release"]): item for item in items(client, "/v1/references", {})}

    def wait_matched(self, within_s: float = MATCHED_WITHIN_S) -> None:
        """Wait until every node says that every device matches.

        Raises:
            TryAgainError: One does not in time; the message names it.
        """
        expected = {device.id for device in self.layout.topology.devices}
        missing: list[str] = []

        def matched() -> bool:
            self.check()
            missing.clear()
            for member, program in self.nodes.items():
                if program.is_running():
                    states = {name: str(item["state"]) for name, item in self.devices(member).items()}
                    missing.extend(
                        f"{name} is {states.get(name)} at {member}"
                        for name in sorted(expected)
                        if states.get(name) != "match"
                    )
            return not missing

        try:
            wait_until(matched, within_s=within_s, what="all devices to match")
        except TryAgainError as error:
            raise TryAgainError(f"{error}: {', '.join(missing[:5])}") from error

    def wait_same_height(self, within_s: float = HEALTHY_WITHIN_S) -> int:
        """Wait until all running nodes have the same head, and return its height."""
        heights: set[tuple[int, str]] = set()

        def same() -> bool:
            heights.clear()
            for member, program in self.nodes.items():
                if program.is_running():
                    status = self.status(member)
                    heights.add((int(status["height"]), str(status["head"])))
            return len(heights) == 1

        wait_until(same, within_s=within_s, what="all nodes to have the same head")
        return next(iter(heights))[0]

    def tamper(self, device: str, action: dict[str, Any]) -> list[Item]:
        """Change files of a device through the test bench's port, which no agent knows.

        Raises:
            UnreachableError: The simulator does not answer.
            DataError: It refused.
        """
        changes: list[Item] = self._simulator(f"/devices/{device}/tamper", action)["changes"]
        return changes

    def restore(self) -> list[Item]:
        """Put the files of all devices back as they were at the start."""
        changes: list[Item] = self._simulator("/tamper", {"action": "restore"})["changes"]
        return changes

    def fault(self, device: str, body: dict[str, Any]) -> None:
        """Let a device answer wrongly on the line, or rightly again."""
        self._simulator(f"/devices/{device}/fault", body)

    def disturb(self, device: str, what: dict[str, Any]) -> list[Item]:
        """Do an action to a device, or set a fault, whichever ``what`` names; return what an action changed."""
        if "fault" not in what:
            return self.tamper(device, what)
        self.fault(device, {"action": "set", **what})
        return [{"device": device}]

    def _simulator(self, path: str, body: dict[str, Any]) -> Item:
        try:
            answer = requests.post(f"{self.layout.simulator_url}{path}", json=body, timeout=HTTP_TIMEOUT_S)
        except requests.RequestException as error:
            raise UnreachableError(f"the simulator does not answer: {error}") from error
        if answer.status_code != _OK:
            raise DataError(f"the simulator refused {body}: {answer.text}")
        found: Item = answer.json()
        return found


@contextlib.contextmanager
def open_cluster(folder: Path, topology: Topology, *, poll_ms: int = 1000, devices: bool = True) -> Iterator[Cluster]:
    """Write the files of a demo and stop all of its programs at the end, whatever happened.

    Must be entered in the main thread.

    Args:
        folder: Replaced when an earlier demo made it.
        topology: Who takes part.
        poll_ms: How often each device is read, milliseconds.
        devices: Make releases and a scenario for the simulator.

    Raises:
        TryAgainError: Another demo runs in the folder.
    """
    with ended_by_signals(), _locked(folder), Processes() as processes:
        yield Cluster(write_layout(folder, topology, poll_ms=poll_ms, devices=devices), processes)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    place = folder.resolve()
    if place == place.parent:
        raise StorageError(f"{folder} is no folder for a demo; choose another --dir")
    place.parent.mkdir(parents=True, exist_ok=True)
    path = place.with_name(f".{place.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise TryAgainError(f"another demo runs in {folder}; stop it or choose another --dir") from error
    try:
        yield
    finally:
        os.close(descriptor)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1.0).status_code == _OK
    except requests.RequestException:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0
