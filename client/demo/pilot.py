"""Chapter two of the demo: a pilot as in the field.

Operators clear what chapter one left, a release lives from its submission until it is in the devices and the older one
superseded, and ten errors are made in filling devices, each of another kind.

Source: Qin et al., Research on Design and Application of Power Dispatch Based on Blockchain, 4.2: three 220 kV
substations, nearly ten filling errors found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from client.demo.cluster import MATCHED_WITHIN_S, Cluster
from client.demo.layout import VERSION_NEW, make_firmware, release_name
from client.demo.narrator import Narrator
from client.demo.processes import run_once, wait_until
from client.demo.references import OUTCOME_WITHIN_S, signer_of, stand_behind, submit_releases
from client.demo.story import Story
from client.demo.tampering import Expected, Tampering
from client.demo.topology import DISPATCH, GRID_COMPANY, MANUFACTURER, MEMBERS, Model, Topology
from client.node import Item, call
from client.releases import read_folder
from kit.exitcodes import DataError
from kit.files import write_new
from kit.keystore import create_key
from wire import cbor
from wire.membership import register_bytes
from wire.types import Digest

VERSION_NEXT: Final = "2.5.0"
"""Firmware whose whole life is shown."""
VERSION_DRAFT: Final = "2.6.0"
"""Firmware that nobody has tested."""
OPERATOR: Final = "dispatch-desk"
"""The dispatch centre's person who acts on alarms."""
NOT_SAID: Final = "another file than the release's, as long as that; a gateway without the package cannot say where"
ORDER_MS: Final = 600_000
DOWN_MS: Final = 200
"""A device that takes another firmware is away for so long."""


class Pilot:
    """Tells chapter two, on the running cluster that chapter one leaves.

    Args:
        cluster: All of it runs.
        narrator: Tells it.
    """

    def __init__(self, cluster: Cluster, narrator: Narrator) -> None:
        self._cluster = cluster
        self._narrator = narrator
        self._story = Story(cluster, narrator)
        self._errors = plan_errors(cluster.layout.topology, cluster.layout.release)

    def tell(self) -> dict[str, int]:
        """Tell all of it and return its figures.

        Raises:
            GridwitnessError: Something is not as it must be.
        """
        self._narrator.chapter("Chapter two: the pilot")
        self.clear_alarms()
        self.release_life()
        self._story.tamper(self._errors)
        self._narrator.title("None missed, none invented")
        self._story.check(self._errors, f"after {len(self._errors)} errors")
        self._tell_diagnoses()
        self._story.finish()
        result = self._story.result
        return {
            "errors": len(self._errors),
            "alarms": result.alarms,
            "missed": sum(len(step.expected) for step in self._errors) - len(result.detections),
            "invented": result.false_alarms,
        }

    def clear_alarms(self) -> None:
        """Let operators take note of every alarm, put the devices right, and close the alarms.

        Raises:
            DataError: A contract refused a call.
        """
        self._narrator.title("Operators clear the alarms of chapter one")
        cluster = self._cluster
        self._add_operator()
        alarms = cluster.alarms(MEMBERS[0])
        for alarm in alarms:
            self._answer(alarm, "acknowledge-alarm", "the station is asked to load the approved files")
        cluster.restore()
        with self._narrator.busy("waiting until all devices match again"):
            cluster.wait_matched()
        for alarm in cluster.alarms(MEMBERS[0]):
            self._answer(alarm, "close-alarm", "the approved files are loaded")
        wait_until(
            lambda: not any(cluster.alarms(member) for member in MEMBERS),
            within_s=OUTCOME_WITHIN_S,
            what="all nodes to have closed the alarms",
        )
        self._narrator.say(
            f"{len(alarms)} alarms acknowledged, returned once the devices matched, and closed, each with a signature "
            f"of {OPERATOR}, an operator of {DISPATCH} with a key of its own: only a person closes an alarm"
        )

    def release_life(self) -> None:
        """Bring a release from its submission into devices, inside approved work orders.

        Raises:
            DataError: A contract refused a call, or the older release is not superseded.
        """
        cluster, model = self._cluster, self._model
        devices = [device.id for device in cluster.layout.topology.devices if device.model == model]
        self._narrator.title(f"The life of a release: firmware {VERSION_NEXT} of {model.name}")
        with self._narrator.busy("making the firmware"):
            for version in (VERSION_NEXT, VERSION_DRAFT):
                make_firmware(cluster.layout, model, version)
        (release,) = submit_releases(cluster, [release_name(model.slug, VERSION_NEXT)])
        firmware = str(cluster.layout.release(release.release))
        orders = {device: self._order_work(device, release.digest()) for device in devices}
        self._narrator.say(
            f"{MANUFACTURER} submits it; {GRID_COMPANY} asks for {len(devices)} work orders, {DISPATCH} approves them"
        )
        self._hand_out([release.release, release_name(cluster.layout.topology.devices[2].id, VERSION_NEW)])
        with self._narrator.busy("testing and endorsing"):
            stand_behind(cluster, [release])
            self._wait_pending(devices)
        self._narrator.say("tested and endorsed; the devices still hold the older one: pending, and no alarm")
        for device in devices:
            cluster.tamper(device, {"action": "upgrade", "release": firmware, "down_ms": DOWN_MS})
            filled: dict[str, cbor.Value] = {"device": device, "release": release.digest(), "order": orders[device]}
            self._call(MANUFACTURER, "orders", "fill", filled)
        with self._narrator.busy("waiting until all devices match"):
            cluster.wait_matched()
        for order in orders.values():
            self._call(GRID_COMPANY, "orders", "close", {"order": order})
        self._check_superseded(release_name(model.slug, VERSION_NEW))
        self._narrator.say(f"filled into {', '.join(devices)}, each signed for by {MANUFACTURER}: match, no alarm")

    def _add_operator(self) -> None:
        """Give the dispatch centre an operator with a key of its own."""
        create_key(self._cluster.layout.keys, OPERATOR)
        with self._cluster.client(MEMBERS[0]) as client:
            operator = signer_of(self._cluster, client, OPERATOR)
        key = operator.key.signing_key.verify_key.encode()
        word = operator.key.signing_key.sign(register_bytes(operator.chain, DISPATCH, OPERATOR, key)).signature
        self._call(DISPATCH, "membership", "add-operator", {"operator": OPERATOR, "key": key, "signature": word})

    def _hand_out(self, releases: Sequence[str]) -> None:
        """Give the first gateway packages of releases, with which it names what differs from them."""
        layout = self._cluster.layout
        gateway = layout.topology.substations[0].gateway
        for release in releases:
            package = layout.gateway(gateway) / f"{release}.package"
            write_new(package, read_folder(layout.release(release), MANUFACTURER).package.encode())
            config = layout.gateway(gateway) / "agent.toml"
            run_once("gridwitness-agent", "package", "add", package, "--config", config)
        self._narrator.say(
            f"{gateway} gets the packages of {' and '.join(releases)}: with them it can say where a file differs"
        )

    def _order_work(self, device: str, release: Digest) -> Digest:
        """Open and approve a work order for ten minutes from now; return its id."""
        now_ms = time.time_ns() // 1_000_000
        window: dict[str, cbor.Value] = {"from_ms": now_ms, "to_ms": now_ms + ORDER_MS}
        about: dict[str, cbor.Value] = {"device": device, "release": release, "approver": DISPATCH}
        reason = f"firmware {VERSION_NEXT} is due"
        order = self._call(GRID_COMPANY, "orders", "open", {**about, **window, "reason": reason})
        self._call(DISPATCH, "orders", "approve", {"order": order})
        return order

    def _wait_pending(self, devices: Sequence[str]) -> None:
        def pending() -> bool:
            self._cluster.check()
            states = [self._cluster.devices(member) for member in MEMBERS]
            return all(state[device]["state"] == "pending" for state in states for device in devices)

        wait_until(pending, within_s=MATCHED_WITHIN_S, what="the change to be pending on all nodes")

    def _check_superseded(self, release: str) -> None:
        """Make sure that the older release has ended, and that its end raised no alarm.

        Raises:
            DataError: A node says something else.
        """
        for member in MEMBERS:
            status = self._cluster.references(member)[release]["status"]
            alarms = self._cluster.alarms(member)
            if status != "superseded" or alarms:
                raise DataError(f"{member} says that {release} is {status} and has {len(alarms)} alarms")
        self._narrator.say(f"{release} is superseded on all {len(MEMBERS)} nodes")

    def _tell_diagnoses(self) -> None:
        """Say what the alarms themselves say of each error."""
        found = {(alarm["device"], alarm["cause"]): alarm for alarm in self._cluster.alarms(MEMBERS[-1])}
        for step in self._errors:
            for expected in step.expected:
                artefacts = found[expected.device, expected.cause]["artefacts"]
                details = [str(entry["detail"] or NOT_SAID) for entry in artefacts]
                self._narrator.say(f"{expected.device} {expected.cause}: {details[0]}")

    def _answer(self, alarm: Item, method: str, action: str) -> None:
        """Act on an alarm as it was seen."""
        seen = {"subject": alarm["device"], "cause": alarm["cause"], "alarm": alarm["alarm_id"]}
        self._call(
            OPERATOR, "consistency", method, {**seen, "count": alarm["count"], "reason": "tampering", "action": action}
        )

    def _call(self, account: str, contract: str, method: str, args: Mapping[str, cbor.Value]) -> Digest:
        """Send a call signed by an account, wait until it is done, and return its id.

        Raises:
            DataError: The contract refused it.
        """
        with self._cluster.client(MEMBERS[0]) as client:
            signer = signer_of(self._cluster, client, account)
            outcome = call(client, signer, contract, method, args, OUTCOME_WITHIN_S)
        return bytes.fromhex(outcome.tx)

    @property
    def _model(self) -> Model:
        return self._cluster.layout.topology.models[0]


def plan_errors(topology: Topology, folder: Callable[[str], Path]) -> tuple[Tampering, ...]:
    """Choose a device for each of ten errors that people make, or leave unseen, when they fill devices.

    One device is left alone: what is found of it is invented.

    Args:
        topology: Of three substations with three devices each, the demo's.
        folder: Release folder by name.
    """
    (l1, _, l3), (q1, q2, q3), (w1, w2, w3) = (
        tuple(device.id for device in substation.devices) for substation in topology.substations
    )
    draft = str(folder(release_name(topology.models[0].slug, VERSION_DRAFT)))
    foreign = str(folder(release_name(q2, VERSION_NEW)))
    larger = str(folder(release_name(topology.models[1].slug, VERSION_NEW)))
    own = ("settings", "strategy")  # of which each device has files of its own
    cut = {"action": "truncate", "artefact": "strategy", "size": 1000}
    untested = {"action": "upgrade", "release": draft, "down_ms": DOWN_MS}
    neighbours = {"action": "old-release", "release": foreign}
    models = {"action": "old-release", "release": larger}
    errors: tuple[tuple[str, str, dict[str, Any], str, tuple[str, ...]], ...] = (
        ("a byte went wrong in the transfer", l1, _flip("firmware", 131_072), "mismatch", ("firmware",)),
        ("a setting was typed wrong", l3, {"action": "change-setting", "number": 3}, "mismatch", ("settings",)),
        ("a strategy file was copied in part", l3, cut, "incomplete", ("strategy",)),
        ("the files of two stations were mixed up", q2, {"action": "swap", "with": w2}, "misfilled", own),
        ("an older release was loaded", w1, {"action": "old-release"}, "superseded", ("firmware",)),
        ("a release was loaded that nobody tested", q1, untested, "mismatch", ("firmware",)),
        ("another device stands in its place", q3, {"fault": "wrong-identity"}, "identity_changed", ("identity",)),
        ("changed and changed back", w3, {"action": "change-back"}, "altered_between_polls", ("revision",)),
        ("the firmware of another model was loaded", q3, models, "misfilled", ("firmware",)),
        ("a neighbour's strategy and settings", l1, neighbours, "misfilled", own),
    )
    return tuple(
        Tampering(
            f"Error {number}: {title}",
            device,
            action,
            tuple(Expected(name, cause, kinds) for name in (device, action.get("with")) if name is not None),
        )
        for number, (title, device, action, cause, kinds) in enumerate(errors, start=1)
    )


def _flip(artefact: str, offset: int) -> dict[str, Any]:
    return {"action": "flip-byte", "artefact": artefact, "offset": offset}
