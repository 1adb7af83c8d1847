"""A sealed content in a running cluster: two locks, a log of every read, and proofs of who could."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from client.demo.cluster import Cluster
from client.demo.ports import LOOPBACK
from client.demo.processes import wait_until
from client.demo.references import OUTCOME_WITHIN_S, signer_of
from client.demo.topology import DISPATCH, GRID_COMPANY, LABORATORY, MANUFACTURER, MEMBERS
from client.node import call
from kit.tls import Authority, der_of, mqtt_context
from tests.e2e.harness import heard, publish, run_program
from wire import cbor
from wire.types import sha256

pytestmark = pytest.mark.e2e
ANCHORED_WITHIN_S = 60.0


class Desk:
    """Runs the client against one node of the cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.layout, self.folder = cluster.layout, folder
        self.genesis = ("--genesis", str(cluster.layout.genesis))

    def run(self, *arguments: str, key: str | None = None, code: int = 0) -> str:
        by = () if key is None else ("--key", str(self.layout.keys / f"{key}.key"))
        node = () if "new-key" in arguments else ("--node", self.layout.api_url(MEMBERS[1]))
        done: subprocess.CompletedProcess[str] = run_program("gridwitness", *arguments, *by, *node)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def open(self, *, code: int = 0) -> str:
        reading = ("--reading-key", str(self.folder / f"{LABORATORY}.reading"))
        out = ("--out", str(self.folder / "opened"), "--force")
        return self.run("sealed", "open", "linden", *out, *reading, *self.genesis, key=LABORATORY, code=code)


def test_sealed_content_is_read_with_a_grant_and_every_read_is_proven(cluster: Cluster, tmp_path: Path) -> None:
    desk, subject = Desk(cluster, tmp_path), f"device/{cluster.layout.topology.substations[0].devices[0].id}"
    desk.run("access", "new-key", LABORATORY, "--out", str(tmp_path))
    desk.run("access", "register", str(tmp_path / f"{LABORATORY}.reading"), key=LABORATORY)
    (tmp_path / "values").write_bytes(b"UFLS stage 1: 49.00 Hz")
    about = ("--class", "settings", "--subject", subject, "--for", f"organisation/{LABORATORY}", "--title", "linden")
    desk.run("sealed", "submit", str(tmp_path / "values"), *about, *desk.genesis, key=MANUFACTURER)
    assert "may not read settings" in desk.open(code=77)
    given = json.loads(
        desk.run("access", "grant", "settings", subject, f"organisation/{LABORATORY}", "--json", key=GRID_COMPANY)
    )
    desk.open()
    assert (tmp_path / "opened").read_bytes() == b"UFLS stage 1: 49.00 Hz"
    desk.run("access", "revoke", given["tx"], key=GRID_COMPANY)
    assert "no grant lets" in desk.open(code=77).lower()
    proof = str(tmp_path / "who.proof")
    desk.run("access", "who", "settings", subject, "--height", str(given["height"]), *desk.genesis, "--out", proof)
    done = run_program("gridwitness", "verify", proof, *desk.genesis, "--json")
    shown = json.loads(done.stdout)
    assert [entry["reader"] for entry in shown["grants"]] == [f"organisation/{LABORATORY}"]
    assert shown["grants"][0]["ended_height"] > shown["height"] == given["height"]
    check_log(desk, cluster.layout.node(MEMBERS[1]) / "data" / "reads", tmp_path / "copy")


def check_log(desk: Desk, reads: Path, copy: Path) -> None:
    """Wait until the read is anchored; then a copy that says otherwise is found out."""
    audit = ("access", "audit", str(copy), "--member", MEMBERS[1], *desk.genesis, "--json")
    deadline_s = time.monotonic() + ANCHORED_WITHIN_S
    while True:
        shutil.copytree(reads, copy, dirs_exist_ok=True)
        found = json.loads(desk.run(*audit))
        if found["anchored"] or time.monotonic() > deadline_s:
            break
    assert found["anchored"] == found["last"] == 1
    assert (found["reads"][0]["account"], len(found["reads"][0]["grant"])) == (LABORATORY, 64)
    (path,) = copy.iterdir()
    path.write_bytes(path.read_bytes().replace(LABORATORY.encode(), LABORATORY[::-1].encode()))
    assert "entry 1" in desk.run(*audit, code=65)


def broker_says(cluster: Cluster, name: str, identity: Path) -> str:
    """Open a connection to the broker by a certificate; return what TLS says of it."""
    context = mqtt_context(cluster.layout.broker / "ca.crt", identity / f"{name}.crt", identity / f"{name}.key")
    with socket.create_connection((LOOPBACK, cluster.layout.ports.broker), timeout=30) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=LOOPBACK) as secure:
                # in TLS 1.3 the other side judges after our handshake: its refusal is what comes first
                secure.settimeout(0.3)
                secure.recv(1)
        except TimeoutError:
            return "welcome"
        except ssl.SSLError as error:
            return str(error.reason)
    return "closed"


# holds MQ-7 MQ-8
def test_broker_obeys_the_lists_that_follow_from_the_ledger(cluster: Cluster, tmp_path: Path) -> None:
    layout, substation = cluster.layout, cluster.layout.topology.substations[0]
    Authority.in_folder(layout.authority).issue(substation.gateway).save(tmp_path / "spare.crt", tmp_path / "spare.key")
    spare = der_of((tmp_path / "spare.crt").read_bytes())

    def say(organisation: str, method: str, **args: cbor.Value) -> None:
        with cluster.client(MEMBERS[0]) as client:
            call(client, signer_of(cluster, client, organisation), "membership", method, args, OUTCOME_WITHIN_S)
        cluster.wait_same_height()

    def reload() -> None:
        cluster.write_broker_files()
        os.kill(cluster.broker.pid, signal.SIGHUP)

    say(DISPATCH, "add-certificate", account=substation.gateway, certificate=spare)
    assert broker_says(cluster, "spare", tmp_path) == "welcome"
    say(GRID_COMPANY, "revoke-certificate", certificate=sha256(spare), reason="stolen")
    with heard(cluster, "data") as found:
        publish(cluster, substation, b"before", "data")
        say(GRID_COMPANY, "suspend", account=substation.gateway, until_ms=None, reason="stolen")
        reload()
        publish(cluster, substation, b"suspended", "data")
        say(GRID_COMPANY, "resume", account=substation.gateway)
        reload()
        publish(cluster, substation, b"after", "data")
        wait_until(lambda: b"after" in found, within_s=60, what="the message of the gateway that is back")
    assert found == [b"before", b"after"]
    # a broker that is slow to judge has said nothing yet
    wait_until(lambda: "REVOKED" in broker_says(cluster, "spare", tmp_path), within_s=60, what="the refusal")
    assert broker_says(cluster, "mqtt", layout.gateway(substation.gateway)) == "welcome"
    cluster.wait_matched()
