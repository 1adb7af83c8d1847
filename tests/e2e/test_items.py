"""From a changed setting to the alarm that names it: release package, gateway, four nodes, command line."""

from __future__ import annotations

import json
from pathlib import Path

from client.demo.cluster import Cluster
from client.demo.processes import wait_until
from client.demo.topology import MANUFACTURER, MEMBERS
from tests.e2e.harness import run_program

NAMED_WITHIN_S = 60.0


def folder_of(cluster: Cluster, device: str, kind: str) -> Path:
    """Return the newest release folder with an artefact for a device, or for its model."""
    model = cluster.devices(MEMBERS[0])[device]["model"]
    for name in reversed(cluster.layout.new_releases()):
        folder = cluster.layout.release(name)
        manifest = (folder / "release.toml").read_text()
        if f'kind = "{kind}"' in manifest and (f'device = "{device}"' in manifest or f'model = "{model}"' in manifest):
            return folder
    raise AssertionError(kind)


def test_alarm_names_the_setting_and_the_bytes_that_differ(cluster: Cluster, tmp_path: Path) -> None:
    topology = cluster.layout.topology
    gateway, device = topology.substations[0].gateway, topology.devices[0].id
    config = ("--config", str(cluster.layout.gateway(gateway) / "agent.toml"))
    releases = []
    for kind in ("settings", "firmware"):
        made = tmp_path / f"{kind}.package"
        packed = run_program(
            "gridwitness",
            *("refs", "package", str(folder_of(cluster, device, kind)), "--out", str(made), "--json"),
            *("--node", cluster.layout.api_url(MEMBERS[0])),
        )
        assert packed.returncode == 0, packed.stderr
        assert json.loads(packed.stdout)["status"] == "effective"
        added = run_program("gridwitness-agent", "package", "add", str(made), *config, "--json")
        assert added.returncode == 0, added.stderr
        assert json.loads(added.stdout)["manufacturer"] == MANUFACTURER
        releases.append(json.loads(added.stdout)["digest"])
    try:
        cluster.tamper(device, {"action": "change-setting", "number": 17, "value": "48.50"})
        cluster.tamper(device, {"action": "flip-byte", "artefact": "firmware", "offset": 70_000})
        where = {"settings": "setting 17 differs", "firmware": "bytes 65536..131071 differ"}

        def named(member: str) -> bool:
            found = [
                alarm for alarm in cluster.alarms(member) if (alarm["device"], alarm["state"]) == (device, "raised")
            ]
            return [{entry["kind"]: entry["detail"] for entry in alarm["artefacts"]} for alarm in found] == [where]

        wait_until(lambda: all(map(named, MEMBERS)), within_s=NAMED_WITHIN_S, what="all nodes to name what differs")
        listed = run_program(
            "gridwitness",
            *("alarms", "list", "--state", "raised", "--node", cluster.layout.api_url(MEMBERS[1])),
            environ={"COLUMNS": "250"},
        )
        assert listed.returncode == 4
        assert all(text in listed.stdout for text in where.values())
        assert "48.50" not in listed.stdout
        read = run_program("gridwitness-agent", "read", device, *config)
        assert "setting 17 UFLS stage 1 frequency: 49.00 Hz expected, 48.50 Hz read" in read.stdout
        wait_until(
            lambda: (
                "setting 17 UFLS stage 1 frequency differs from release"
                in run_program("gridwitness-agent", "status", *config).stdout
            ),
            within_s=NAMED_WITHIN_S,
            what="the status to name the setting",
        )
    finally:
        cluster.restore()
        for digest in releases:
            run_program("gridwitness-agent", "package", "remove", digest, *config)
    cluster.wait_matched()
