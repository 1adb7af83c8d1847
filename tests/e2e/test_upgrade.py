"""A ledger decides to run other code: the node that lacks it ends in time, and goes on with the release that has it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from client.demo.ports import free_ports
from kit.exitcodes import ExitCode
from master.config import load_node_config
from master.making import init_node
from tests.unit.contracts.notary2 import COUNT
from tests.unit.ledger.test_upgrades import NOTARY_2_ENTRY
from tests.unit.ledger.worlds import key_of, make_genesis
from tests.unit.master.test_seat import Site
from wire import cbor
from wire.cbor import Value
from wire.genesis import GenesisValidator
from wire.tx import Transaction
from wire.types import sha256

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0
RELEASE = "from master.cli import main; raise SystemExit(main())"
NEXT_RELEASE = (
    "from master.contracts import table; from tests.unit.contracts.notary2 import NOTARY_2; "
    "table.CONTRACTS = {**table.CONTRACTS, ('notary', 2): NOTARY_2}; " + RELEASE
)


class Site1:
    """A ledger of one validator, and its node as a process."""

    def __init__(self, folder: Path, port: int, peer_port: int) -> None:
        site = Site(folder)
        own = GenesisValidator("dispatch", site.public("vote"), site.identities["peer"].der())
        parameters: dict[str, Value] = {"upgrade_blocks_min": 2, "heartbeat_ms": 60_000}
        genesis = make_genesis(parameters)
        self.genesis = replace(genesis, validators=(own,), time_ms=time.time_ns() // 1_000_000 - 1000)
        (folder / "genesis.cbor").write_bytes(self.genesis.encode())
        self.config = folder / "node.toml"
        self.config.write_text(
            f'[node]\nmember = "dispatch"\ndata_dir = "data"\ngenesis = "genesis.cbor"\nvote_key = "vote.key"\n'
            f'map_mib = 64\n\n[peers]\nlisten = "127.0.0.1:{peer_port}"\ncertificate = "peer.crt"\nkey = "peer.key"\n'
            f'\n[peers.addresses]\n\n[api]\nlisten = "127.0.0.1:{port}"\n'
        )
        self.api = f"http://127.0.0.1:{port}"
        self.seqs: dict[str, int] = {}
        self.running: subprocess.Popen[str] | None = None
        self.log = folder / "node.log"

    def command(self, release: str, *arguments: str) -> list[str]:
        return [sys.executable, "-c", release, *arguments, "--config", str(self.config)]

    def run(self, release: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.command(release, *arguments)
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)

    def start(self, release: str) -> None:
        with self.log.open("a") as log:
            self.running = subprocess.Popen(self.command(release, "run"), cwd=ROOT, stderr=log, text=True)
        self.until(lambda: requests.get(f"{self.api}/healthz", timeout=1).ok)

    def end(self) -> tuple[int, str]:
        """Wait until the node has ended by itself; return its exit code and the last line that it said."""
        assert self.running is not None
        code = self.running.wait(WITHIN_S)
        self.running = None
        return code, self.log.read_text().strip().splitlines()[-1]

    def until(self, is_done: Any) -> None:  # noqa: ANN401 a question
        end = time.monotonic() + WITHIN_S
        while time.monotonic() < end:
            try:
                if is_done():
                    return
            except requests.RequestException:
                assert self.running is not None
                assert self.running.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError("nothing came of it")

    def get(self, path: str) -> dict[str, Any]:
        found = requests.get(f"{self.api}{path}", timeout=30).json()
        assert isinstance(found, dict)
        return found

    def call(self, sender: str, contract: str, method: str, args: dict[str, Value], version: int = 1) -> str:
        """Send a call and return its id once it is in a block."""
        tx = self.send(sender, contract, method, args, version)
        self.until(lambda: self.get(f"/v1/tx/{tx}").get("code") == "ok")
        return tx

    def send(self, sender: str, contract: str, method: str, args: dict[str, Value], version: int = 1) -> str:
        self.seqs[sender] = self.seqs.get(sender, 0) + 1
        valid_ms = time.time_ns() // 1_000_000 + 60_000
        frame = (self.genesis.chain(), sender, contract, version, method, args, self.seqs[sender], valid_ms)
        raw = Transaction(*frame).sign(key_of(sender))
        answer = requests.post(f"{self.api}/v1/tx", raw, headers={"content-type": "application/cose"}, timeout=30)
        assert answer.status_code in (200, 202), answer.text
        return sha256(raw).hex()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site1]:
    made = Site1(tmp_path, *free_ports(2))
    yield made
    if made.running is not None:
        made.running.kill()
        made.running.wait()


# holds GV-8
def test_node_without_the_code_ends_before_the_upgrade_and_goes_on_with_the_release_that_has_it(site: Site1) -> None:
    init_node(load_node_config(site.config))
    site.start(RELEASE)
    site.call("lab", "notary", "put", {"key": "before", "data": b"d"})
    code: Value = [{"name": "notary", "version": 2, "digest": NOTARY_2_ENTRY.digest}]
    body: Value = {"code": code, "height": 8, "base_height": 0, "state_root": None}
    deadline_ms = time.time_ns() // 1_000_000 + 60_000
    args: dict[str, Value] = {"kind": "upgrade", "body": body, "deadline_ms": deadline_ms}
    proposal = site.call("dispatch", "governance", "propose", args)
    for voter in ("regulator", "lab", "grid"):
        site.call(voter, "governance", "vote", {"proposal": bytes.fromhex(proposal), "in_favour": True})
    site.until(lambda: site.get(f"/v1/proposals/{proposal}")["status"] == "executed")
    assert site.get("/v1/code/notary-2")["from_height"] == 8
    site.call("lab", "notary", "put", {"key": "more", "data": b"d"})
    assert site.get("/v1/status")["height"] == 6
    site.send("lab", "notary", "put", {"key": "last", "data": b"d"})
    ended, said = site.end()
    due = "block 8 is executed by contract notary version 2, which this software does not have; install the release"
    assert (ended, due in said) == (ExitCode.CONFIGURATION, True), said
    again = site.run(RELEASE, "run")
    assert (again.returncode, due in again.stderr) == (ExitCode.CONFIGURATION, True)
    site.start(NEXT_RELEASE)
    site.call("lab", "notary", "put", {"key": "after", "data": b"d"}, version=2)
    count = site.get(f"/v1/state/notary/{COUNT.decode()}")["value"]
    assert cbor.decode(bytes.fromhex(count)) == 4
