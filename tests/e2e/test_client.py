"""The way of a release through the command line, as its manufacturer and endorsers walk it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from client.demo.cluster import Cluster
from client.demo.layout import VERSION_NEW
from client.demo.processes import wait_until
from client.demo.references import signer_of
from client.demo.topology import DISPATCH, GRID_COMPANY, LABORATORY, MANUFACTURER, MEMBERS, REGULATOR
from client.node import Signer, call, open_signer
from kit.keystore import create_key
from tests.e2e.harness import run_program
from tests.unit.contracts.reports import FIRMWARE, entry, evidence, item
from wire.cbor import Value
from wire.membership import register_bytes
from wire.types import sha256


def client(cluster: Cluster, *arguments: str, code: int = 0, member: str = MEMBERS[0]) -> Any:  # noqa: ANN401 JSON
    done = run_program("gridwitness", *arguments, "--node", cluster.layout.api_url(member), "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_release_counts_once_three_organisations_stand_behind_it(cluster: Cluster, tmp_path: Path) -> None:
    # the files that the device holds anyway, under a new name: it goes on to match
    folder = tmp_path / "linden-sc-2-again"
    options = ("--device", "linden-sc-2", "--version", VERSION_NEW, "--kind", "strategy", "--kind", "settings")
    assert run_program("gridwitness-sim", "release", "make", str(folder), *options).returncode == 0
    keys = {name: str(cluster.layout.keys / f"{name}.key") for name in (MANUFACTURER, LABORATORY, REGULATOR)}

    submitted = client(cluster, "refs", "submit", str(folder), "--key", keys[MANUFACTURER])
    assert submitted["code"] == "ok"
    again = client(cluster, "refs", "submit", str(folder), "--key", keys[MANUFACTURER])
    assert (again["code"], again["digest"]) == ("already-submitted", submitted["digest"])

    endorse = ("refs", "endorse", submitted["digest"], "--files", str(folder))
    report = tmp_path / "report.pdf"
    report.write_bytes(b"all stages tripped in time")
    tested = ("refs", "test", submitted["digest"], "--files", str(folder), "--report", str(report), "--verdict", "pass")
    client(cluster, *tested, "--key", keys[LABORATORY], member=MEMBERS[1])
    assert _release(cluster, submitted["digest"])["missing_roles"] == ["regulator"]
    client(cluster, *endorse, "--report", str(report), "--key", keys[REGULATOR], member=MEMBERS[2])
    found = _release(cluster, submitted["digest"])
    assert (found["status"], found["missing_roles"]) == ("effective", [])

    (folder / "settings.csv").write_bytes(b"changed\n")
    refused = client(cluster, *endorse, "--key", keys[LABORATORY], code=65)
    assert "has the digest" in refused["error"]

    bundle = tmp_path / "submit.bundle"
    client(cluster, "tx", "get", submitted["tx"], "--out", str(bundle))
    done = run_program("gridwitness", "verify", str(bundle), "--genesis", str(cluster.layout.genesis), "--json")
    assert done.returncode == 0
    proven = json.loads(done.stdout)
    assert (proven["sender"], proven["method"], proven["outcome"]) == (MANUFACTURER, "submit", "ok")
    assert len(proven["block"]["signers"]) >= 3


def test_endorsement_that_does_not_count_is_refused_with_its_reason(cluster: Cluster) -> None:
    digest = next(iter(client(cluster, "refs", "list")["items"]))["digest"]
    for name, reason in ((MANUFACTURER, "already-endorsed"), (LABORATORY, "already-endorsed")):
        key = str(cluster.layout.keys / f"{name}.key")
        refused = client(cluster, "refs", "endorse", digest, "--key", key, code=65)
        assert reason in refused["error"]


def test_lists_of_a_fleet_that_matches_exit_0(cluster: Cluster) -> None:
    devices = client(cluster, "devices", "list")["items"]
    assert {item["state"] for item in devices} == {"match"}
    client(cluster, "alarms", "list", "--state", "raised")
    (status,) = client(cluster, "status")["items"]
    assert len(status["peers"]) == 3


def test_watch_shows_an_alarm_and_ends_after_it(cluster: Cluster) -> None:
    device = cluster.layout.topology.devices[0].id
    height = cluster.wait_same_height()
    cluster.tamper(device, {"action": "flip-byte", "artefact": "strategy", "offset": 10})
    try:
        shown = client(cluster, "alarms", "watch", "--after", str(height), "--until", "1")
        listed = client(cluster, "alarms", "list", "--state", "raised", code=4)["items"]
    finally:
        cluster.restore()
    assert (shown["type"], shown["data"]["device"], shown["data"]["cause"]) == ("alarm_raised", device, "mismatch")
    assert [alarm["alarm_id"] for alarm in listed] == [shown["data"]["alarm_id"]]


def test_alarm_is_acknowledged_and_closed_by_people_whom_the_station_concerns(cluster: Cluster) -> None:
    """The alarm of the test before, whose cause is gone: everybody sees who answered it."""
    (alarm,) = (
        item
        for item in client(cluster, "alarms", "list")["items"]
        if item["device"] == cluster.layout.topology.devices[0].id
    )
    name = alarm["alarm_id"]
    wait_until(lambda: _alarm(cluster, name)["state"] == "returned", within_s=60, what="the cause to be gone")

    def answer(method: str, by: str, code: int = 0) -> Any:  # noqa: ANN401 JSON
        key = ("--key", str(cluster.layout.keys / f"{by}.key"))
        words = ("--reason", "wrong-file", "--action", "the file was filled again")
        return client(cluster, "alarms", method, name, *words, *key, code=code)

    assert "not-permitted" in answer("acknowledge", MANUFACTURER, 65)["error"]
    assert "must be acknowledged" in answer("close", GRID_COMPANY, 65)["error"]
    answer("acknowledge", GRID_COMPANY)
    closed = answer("close", DISPATCH)
    cluster.wait_same_height()
    for member in MEMBERS:
        shown = client(cluster, "alarms", "show", name, member=member)
        assert [(entry["move"], entry["by"]) for entry in shown["history"][:2]] == [
            ("close", DISPATCH),
            ("acknowledge", GRID_COMPANY),
        ]
        assert (shown["history"][0]["tx"], shown["alarm"]["state"]) == (closed["tx"], "closed")
    assert name not in {item["alarm_id"] for item in client(cluster, "alarms", "list")["items"]}
    assert "no device" in client(cluster, "alarms", "list", "--device", "no-such-device", code=64)["error"]
    due = client(cluster, "compliance", "list")["items"]
    assert {(item["status"], item["days"]) for item in due} == {("compliant", 0)}


# holds EB-5 EB-6 EB-7
def test_bundles_of_that_alarm_its_device_and_its_gateway_verify_with_the_genesis_file_alone(
    cluster: Cluster, tmp_path: Path
) -> None:
    substation = cluster.layout.topology.substations[0]
    device, genesis = substation.devices[0].id, ("--genesis", str(cluster.layout.genesis))
    (shown,) = (item for item in client(cluster, "devices", "list")["items"] if item["device"] == device)
    moved = client(cluster, "alarms", "list", "--device", device, "--state", "closed")["items"]
    read = datetime.fromtimestamp(shown["read_to_ms"] / 1000, UTC)
    period = ("--from", (read - timedelta(seconds=5)).isoformat(), "--to", read.isoformat())
    for words in (
        ("alarm", moved[0]["alarm_id"]),
        ("device", device),
        ("gateway", substation.gateway, *period),
    ):
        out = tmp_path / f"{words[0]}.bundle"
        client(cluster, "bundles", *words, *genesis, "--out", str(out))
        done = run_program("gridwitness", "verify", str(out), *genesis, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["subject"]["id"], len(found["signers"]) >= 3) == (words[1], True)
        assert found["proves"]
        assert found["does_not_prove"]
        raw = bytearray(out.read_bytes())
        raw[len(raw) // 3] ^= 1
        out.write_bytes(bytes(raw))
        assert run_program("gridwitness", "verify", str(out), *genesis).returncode == 65
    # and of a device that is in use no more
    _retire_a_spare(cluster, tmp_path)
    out = tmp_path / "spare.bundle"
    client(cluster, "bundles", "device", "spare-1", *genesis, "--out", str(out), member=MEMBERS[1])
    done = run_program("gridwitness", "verify", str(out), *genesis, "--json")
    assert done.returncode == 0, done.stderr
    proves = "\n".join(json.loads(done.stdout)["proves"])
    assert f"device spare-1 has retired: {GRID_COMPANY} took it out of use" in proves
    assert f"firmware unknown_reference, read {sha256(FIRMWARE).hex()}" in proves


def _retire_a_spare(cluster: Cluster, tmp_path: Path) -> None:
    """Enrol a gateway with a device, report once that it was read, and take the device out of use."""
    public = create_key(tmp_path, "gw-spare").signing_key.verify_key.encode()
    place: dict[str, Value] = {"gateway": "gw-spare"}
    plate: dict[str, Value] = {"device": "spare-1", "vendor": "V", "model": "SPARE", "serial": "s-1"}
    read = evidence(entry("spare-1", item("s-1", model="SPARE")), gateway="gw-spare")
    with cluster.client(MEMBERS[0]) as node:
        owner = signer_of(cluster, node, GRID_COMPANY)
        gateway = open_signer(node, tmp_path / "gw-spare.key", None)
        word = gateway.key.signing_key.sign(register_bytes(owner.chain, owner.sender, "gw-spare", public)).signature
        station = cluster.layout.topology.substations[0].id
        enrolled: dict[str, Value] = {"station": station, "key": public, "signature": word}
        calls: tuple[tuple[Signer, str, str, dict[str, Value]], ...] = (
            (owner, "membership", "add-gateway", {**place, **enrolled}),
            (owner, "membership", "add-device", {**place, **plate}),
            (gateway, "consistency", "report", {"evidence": read.encode()}),
            (owner, "membership", "retire-device", {"device": "spare-1", "reason": "a spare"}),
        )
        for signer, contract, method, args in calls:
            assert call(node, signer, contract, method, args, 20).code == "ok"
    cluster.wait_same_height()


def _alarm(cluster: Cluster, name: str) -> Any:  # noqa: ANN401 JSON
    return client(cluster, "alarms", "show", name)["alarm"]


def _release(cluster: Cluster, digest: str) -> Any:  # noqa: ANN401 JSON
    return next(item for item in client(cluster, "refs", "list")["items"] if item["digest"] == digest)


def test_operator_of_a_member_gets_an_account_a_new_key_and_loses_it(cluster: Cluster, tmp_path: Path) -> None:
    for name in ("bench", "bench-2"):
        assert run_program("gridwitness", "keys", "new", name, "--dir", str(tmp_path)).returncode == 0
    first, second = str(tmp_path / "bench.key"), str(tmp_path / "bench-2.key")
    laboratory = ("--key", str(cluster.layout.keys / f"{LABORATORY}.key"))
    client(cluster, "members", "add-operator", "bench", "--new-key", first, *laboratory)
    client(cluster, "members", "rotate-key", "--new-key", second, "--key", first, member=MEMBERS[1])
    gone = client(cluster, "members", "rotate-key", "--new-key", first, "--key", first, "--sender", "bench", code=77)
    assert "No account has this key" in gone["error"]
    attached = ("members", "attach", "--data-centre", MEMBERS[2], *laboratory)
    client(cluster, *attached, member=MEMBERS[2])
    elsewhere = client(cluster, "members", "attach", *laboratory, code=65, member=MEMBERS[0])
    assert f"attached to the data centre {MEMBERS[2]}" in elsewhere["error"]
    client(cluster, "members", "attach", *laboratory, member=MEMBERS[2])
    shown = client(cluster, "members", "show", LABORATORY)
    assert (shown["role"], shown["status"], shown["data_centre"]) == ("laboratory", "active", None)
    assert [key["status"] for key in shown["keys"] if key["account"] == "bench"].count("rotated") == 1
