"""Every file of a demo, written before any program starts: keys, certificates, releases, configurations.

build/demo/
  genesis.cbor  consortium.toml
  keys/         manufacturer, laboratory, regulator
  releases/     folders that a manufacturer hands out
  ca/           the consortium's authority
  broker/       mosquitto.conf, certificates, its store; access list and revocation list, from the state of a node
  nodes/NAME/   node.toml, keys, certificates, data
  gateways/NAME/ agent.toml, keys, certificates, state
  simulator/    scenario.toml
  logs/
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.demo.ports import LOOPBACK, free_ports
from client.demo.processes import run_once
from client.demo.topology import (
    GRID_COMPANY,
    KEY_HOLDERS,
    MEMBERS,
    ROLES,
    VENDOR,
    Device,
    Model,
    Substation,
    Topology,
)
from kit.exitcodes import StorageError
from kit.files import write_atomic, write_new
from kit.keystore import create_key
from kit.tls import AUTHORITY_NAME, Authority, self_signed

MARKER: Final = ".gridwitness-demo"
VERSION_OLD: Final = "2.3.1"
VERSION_NEW: Final = "2.4.0"
RELEASE_WORKERS: Final = 2
BROKER_QUEUE_MAX: Final = 100_000
"""Messages that the broker holds for one client that is away; its own default of 1,000 would drop the rest."""
BROKER_PACKET_BYTES_MAX: Final = 5 * 1024 * 1024

Value = str | int | Path | Sequence[str]


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on the loopback address."""

    broker: int
    simulator: int
    peers: Mapping[str, int]
    apis: Mapping[str, int]
    metrics: Mapping[str, int]
    """By gateway."""
    devices: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a demo's files lie and which ports it uses."""

    folder: Path
    topology: Topology
    ports: Ports
    poll_ms: int = 1000

    @property
    def genesis(self) -> Path:
        """The genesis file."""
        return self.folder / "genesis.cbor"

    @property
    def keys(self) -> Path:
        """Keys of the organisations."""
        return self.folder / "keys"

    @property
    def logs(self) -> Path:
        """One file for each program."""
        return self.folder / "logs"

    @property
    def scenario(self) -> Path:
        """The simulator's scenario."""
        return self.folder / "simulator" / "scenario.toml"

    @property
    def authority(self) -> Path:
        """The folder of the consortium's authority."""
        return self.folder / "ca"

    @property
    def broker(self) -> Path:
        """The broker's folder."""
        return self.folder / "broker"

    def node(self, member: str) -> Path:
        """Folder of a full node."""
        return self.folder / "nodes" / member

    def gateway(self, gateway: str) -> Path:
        """Folder of a gateway."""
        return self.folder / "gateways" / gateway

    def release(self, name: str) -> Path:
        """A release folder."""
        return self.folder / "releases" / name

    def api_url(self, member: str) -> str:
        """Base address of a node's HTTP API."""
        return f"http://{LOOPBACK}:{self.ports.apis[member]}"

    @property
    def simulator_url(self) -> str:
        """Base address of the simulator's control port."""
        return f"http://{LOOPBACK}:{self.ports.simulator}"

    def old_releases(self) -> list[str]:
        """Releases that the new ones supersede."""
        return [release_name(model.slug, VERSION_OLD) for model in self.topology.models]

    def new_releases(self) -> list[str]:
        """Firmware of each model, then strategy and settings of each device."""
        targets = [*(model.slug for model in self.topology.models), *(device.id for device in self.topology.devices)]
        return [release_name(target, VERSION_NEW) for target in targets]


def release_name(target: str, version: str) -> str:
    """Name a release after what it is for, as an identifier."""
    return f"{target}-{version.replace('.', '-')}"


def choose_ports(topology: Topology) -> Ports:
    """Find a free port for every listener of the demo."""
    gateways = [substation.gateway for substation in topology.substations]
    devices = [device.id for device in topology.devices]
    found = iter(free_ports(2 + 2 * len(MEMBERS) + len(gateways) + len(devices)))
    return Ports(
        broker=next(found),
        simulator=next(found),
        peers={member: next(found) for member in MEMBERS},
        apis={member: next(found) for member in MEMBERS},
        metrics={gateway: next(found) for gateway in gateways},
        devices={device: next(found) for device in devices},
    )


def write_layout(folder: Path, topology: Topology, *, poll_ms: int = 1000, devices: bool = True) -> Layout:
    """Write all files of a demo anew.

    Args:
        folder: Made when missing; replaced when an earlier demo made it.
        topology: Who takes part.
        poll_ms: How often each device is read, milliseconds.
        devices: Make releases and a scenario for the simulator.

    Raises:
        StorageError: The folder holds something else.
    """
    _clear(folder)
    layout = Layout(folder.resolve(), topology, choose_ports(topology), poll_ms)
    if devices:
        _write_releases(layout)
        _write_scenario(layout)
    for name in KEY_HOLDERS:
        create_key(layout.keys, name)
    authority = Authority.create("gridwitness demo authority")
    _write_broker(layout, authority)
    for member in MEMBERS:
        _write_node(layout, authority, member)
    for substation in topology.substations:
        _write_gateway(layout, authority, substation)
    _write_consortium(layout)
    run_once("gridwitness-node", "genesis", layout.folder / "consortium.toml", "--out", layout.genesis)
    return layout


def _clear(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise StorageError(f"{folder} holds something else than a demo; choose another --dir")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / MARKER).write_text("made by gridwitness demo, replaced by its next run\n", encoding="ascii")


def _write_releases(layout: Layout) -> None:
    """Make the manufacturer's release folders, from nothing but arguments: no device is asked."""
    with ThreadPoolExecutor(RELEASE_WORKERS) as pool:
        made = [
            pool.submit(make_firmware, layout, model, version)
            for model in layout.topology.models
            for version in (VERSION_OLD, VERSION_NEW)
        ]
        made += [pool.submit(_make_device_release, layout, device) for device in layout.topology.devices]
        for release in made:
            release.result()


def make_firmware(layout: Layout, model: Model, version: str) -> None:
    """Make the release folder of a model's firmware."""
    target = ("--model", model.name, "--version", version, "--kind", "firmware", "--product", model.product)
    image = ("--size-kib", str(model.firmware_kib), "--seed", model.name)
    _make_release(layout, release_name(model.slug, version), *target, *image)


def _make_device_release(layout: Layout, device: Device) -> None:
    target = ("--device", device.id, "--version", VERSION_NEW, "--kind", "strategy", "--kind", "settings")
    _make_release(layout, release_name(device.id, VERSION_NEW), *target)


def _make_release(layout: Layout, name: str, *options: str) -> None:
    run_once("gridwitness-sim", "release", "make", layout.release(name), "--name", name, *options)


def _write_scenario(layout: Layout) -> None:
    lines = [
        *table("[scenario]", name=layout.topology.name),
        *table("[control]", listen=f"{LOOPBACK}:{layout.ports.simulator}"),
    ]
    for device in layout.topology.devices:
        slug = device.model.slug
        lines += table(
            "[[device]]",
            id=device.id,
            listen=f"{LOOPBACK}:{layout.ports.devices[device.id]}",
            vendor=VENDOR,
            product=device.model.product,
            model=device.model.name,
            serial=device.serial,
            release=layout.release(release_name(slug, VERSION_NEW)),
            extra_releases=[str(layout.release(release_name(device.id, VERSION_NEW)))],
            old_release=layout.release(release_name(slug, VERSION_OLD)),
        )
    write_text(layout.scenario, lines)


def _write_broker(layout: Layout, authority: Authority) -> None:
    folder = layout.broker
    (folder / "data").mkdir(parents=True, mode=0o700)
    layout.authority.mkdir(mode=0o700)
    authority.identity().save(layout.authority / f"{AUTHORITY_NAME}.crt", layout.authority / f"{AUTHORITY_NAME}.key")
    write_new(folder / "ca.crt", authority.identity().certificate)
    authority.issue("broker", [LOOPBACK, "localhost"]).save(folder / "broker.crt", folder / "broker.key")
    # started by root it would become another user, who cannot read certificates in a folder of mode 0700
    user = ["user root"] if os.geteuid() == 0 else []
    lines = [
        *user,
        f"listener {layout.ports.broker} {LOOPBACK}",
        f"cafile {folder / 'ca.crt'}",
        f"certfile {folder / 'broker.crt'}",
        f"keyfile {folder / 'broker.key'}",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        f"acl_file {folder / 'acl'}",
        f"crlfile {folder / 'revoked.pem'}",
        "set_tcp_nodelay true",
        "max_qos 1",
        f"max_queued_messages {BROKER_QUEUE_MAX}",
        f"max_packet_size {BROKER_PACKET_BYTES_MAX}",
        "persistence true",
        f"persistence_location {folder / 'data'}/",
        # by default the store is written every 30 minutes: whatever the broker had confirmed since would be gone
        "autosave_on_changes true",
        "autosave_interval 1",
        "persistent_client_expiration 1d",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
    ]
    write_text(folder / "mosquitto.conf", lines)


def _write_node(layout: Layout, authority: Authority, member: str) -> None:
    folder = layout.node(member)
    create_key(folder, "vote")
    self_signed(member, [LOOPBACK]).save(folder / "peer.crt", folder / "peer.key")
    authority.issue(f"node-{member}").save(folder / "mqtt.crt", folder / "mqtt.key")
    addresses = {other: f"{LOOPBACK}:{layout.ports.peers[other]}" for other in MEMBERS if other != member}
    lines = [
        *table("[node]", member=member, data_dir="data", genesis=layout.genesis, vote_key="vote.key"),
        *table(
            "[peers]",
            listen=f"{LOOPBACK}:{layout.ports.peers[member]}",
            certificate="peer.crt",
            key="peer.key",
        ),
        *table("[peers.addresses]", **addresses),
        *table("[api]", listen=f"{LOOPBACK}:{layout.ports.apis[member]}"),
        *table("[reads]", key=layout.keys / f"{member}.key", anchor_s=1),
        *_mqtt_table(layout),
    ]
    write_text(folder / "node.toml", lines)


def _write_gateway(layout: Layout, authority: Authority, substation: Substation) -> None:
    folder = layout.gateway(substation.gateway)
    create_key(folder, substation.gateway)
    authority.issue(substation.gateway).save(folder / "mqtt.crt", folder / "mqtt.key")
    lines = [
        *table(
            "[agent]",
            gateway=substation.gateway,
            area=substation.area,
            station=substation.id,
            state_dir="state",
            genesis=layout.genesis,
            key=f"{substation.gateway}.key",
        ),
        *_mqtt_table(layout),
        *table("[poll]", interval_ms=layout.poll_ms),
        *table("[metrics]", listen=f"{LOOPBACK}:{layout.ports.metrics[substation.gateway]}"),
    ]
    write_text(folder / "agent.toml", lines)
    for device in substation.devices:
        write_text(folder / "devices.d" / f"{device.id}.toml", _device_table(layout, device))


def _device_table(layout: Layout, device: Device) -> list[str]:
    return table(
        "[[device]]",
        id=device.id,
        protocol="modbus",
        host=LOOPBACK,
        port=layout.ports.devices[device.id],
        profile="stability-control-modbus",
    )


def _mqtt_table(layout: Layout) -> list[str]:
    return table(
        "[mqtt]",
        host=LOOPBACK,
        port=layout.ports.broker,
        ca=layout.broker / "ca.crt",
        certificate="mqtt.crt",
        key="mqtt.key",
    )


def _write_consortium(layout: Layout) -> None:
    topology = layout.topology
    lines = [f"name = {json.dumps(topology.name)}"]
    for member in MEMBERS:
        folder = layout.node(member)
        lines += table("[[validator]]", member=member, vote_key=folder / "vote.pub", certificate=folder / "peer.crt")
    for name, role in sorted(ROLES.items()):
        lines += table("[[organisation]]", id=name, role=role)
    for name in KEY_HOLDERS:
        lines += table("[[key]]", public=layout.keys / f"{name}.pub", sender=name, organisation=name)
    for substation in topology.substations:
        gateway = substation.gateway
        public = layout.gateway(gateway) / f"{gateway}.pub"
        lines += table("[[key]]", public=public, sender=gateway, organisation=GRID_COMPANY)
        lines += table("[[station]]", id=substation.id, area=substation.area, organisation=GRID_COMPANY)
        lines += table("[[gateway]]", id=gateway, station=substation.id)
        for device in substation.devices:
            lines += table(
                "[[device]]",
                id=device.id,
                gateway=gateway,
                vendor=VENDOR,
                model=device.model.name,
                serial=device.serial,
            )
    write_text(layout.folder / "consortium.toml", lines)


def table(heading: str, **values: Value) -> list[str]:
    """Write one TOML table as lines, an empty one before it."""
    return ["", heading, *(f"{name} = {_toml(value)}" for name, value in values.items())]


def _toml(value: Value) -> str:
    # a JSON string is a TOML basic string as long as no character is written as a surrogate pair
    return json.dumps(value if isinstance(value, int | list) else str(value), ensure_ascii=False)


def write_text(path: Path, lines: Sequence[str]) -> None:
    """Write a small text file, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, ("\n".join(lines).strip() + "\n").encode())
