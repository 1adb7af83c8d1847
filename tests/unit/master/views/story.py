"""A consortium with twelve devices, and random but lawful events about it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from master.ledger.rows import EventRow
from tests.unit.wire import samples
from wire import cbor
from wire.cbor import Value
from wire.genesis import Device, Gateway, Genesis, Station
from wire.types import sha256

GENESIS: Genesis = replace(
    samples.GENESIS,
    stations=(Station("station-1", "east", "grid"), Station("station-2", "west", "grid")),
    gateways=(Gateway("gw-1", "station-1"), Gateway("gw-2", "station-2"), Gateway("gw-3", "station-2")),
    devices=tuple(
        Device(f"sps-{number:02}", f"gw-{number % 3 + 1}", "Sample Vendor", f"SC-{number % 2}", f"SN-{number}")
        for number in range(12)
    ),
)
START_MS = GENESIS.time_ms
IDENTITY: dict[str, Value] = {
    "vendor": "Sample Vendor",
    "product": "SC",
    "revision": "3.1.4",
    "serial": "SN-0",
    "model": "SC-0",
}
POLICY: dict[str, Value] = {
    "kinds": ["firmware"],
    "roles": [{"role": role, "count": 1} for role in ("laboratory", "manufacturer", "regulator")],
    "endorsements_due": 3,
    "excluded": [],
}
ARTEFACT: dict[str, Value] = {
    "kind": "firmware",
    "name": "sc.bin",
    "version": "3",
    "size": 5,
    "sha256": sha256(b"firmware"),
    "chunk_root": sha256(b"chunks"),
}

NOTE: dict[str, Value] = {"by": "grid", "organisation": "grid", "reason": "test", "action": "looked at it"}
STAMPED: dict[str, Value] = {**NOTE, "time_ms": START_MS, "height": 1, "tx": sha256(b"note")}
_MOVES = {
    "raised": (
        ("alarm_changed", "change", "raised"),
        ("alarm_returned", "return", "returned"),
        ("alarm_acknowledged", "acknowledge", "acknowledged"),
        ("alarm_shelved", "shelve", "raised"),
    ),
    "acknowledged": (("alarm_returned", "return", "returned_acknowledged"),),
    "returned": (
        ("alarm_raised", "appear", "raised"),
        ("alarm_acknowledged", "acknowledge", "returned_acknowledged"),
    ),
    "returned_acknowledged": (("alarm_closed", "close", "closed"), ("alarm_raised", "appear", "raised")),
}


class Story:
    """Tells events block by block; the same seed tells the same story."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._of_access = random.Random(seed + 1)
        self.height = 0
        self.time_ms = START_MS
        self.events: list[EventRow] = []
        self._alarms: dict[tuple[str, str], dict[str, Value]] = {}
        self._groups: dict[str, str] = {}
        self._releases: list[dict[str, Value]] = []
        self._effective: bytes | None = None
        self._models: dict[str, list[bytes]] = {}

    def block(self, events: int = 3) -> list[EventRow]:
        """Return the events of the next block."""
        self.height += 1
        self.time_ms += self._random.randrange(1, 60_000)
        rows: list[EventRow] = []
        while len(rows) < events:
            for contract, kind, subject, data in self._step():
                tx = sha256(f"tx {self.height} {len(rows)}".encode())
                rows.append(EventRow(self.height, len(rows), self.time_ms, tx, contract, kind, subject, data))
        self.events += rows
        return rows

    def row(self, contract: str, kind: str, subject: str, data: dict[str, Value]) -> EventRow:
        """Return one event in a block of its own."""
        self.height += 1
        self.time_ms += 1000
        tx = sha256(f"tx {self.height}".encode())
        event = EventRow(self.height, 0, self.time_ms, tx, contract, kind, subject, data)
        self.events.append(event)
        return event

    def _step(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        return self._random.choice(
            (
                self._report,
                self._report,
                self._verdict,
                self._alarm,
                self._alarm,
                self._release,
                self._policy,
                self._fault,
                self._change,
                self._govern,
                self._work,
                self._inspection,
                self._member,
                self._model,
            )
        )()

    def _access(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        """Tell of a grant, a reading key, and what is sealed for it; other chances stay as they are."""
        grant = sha256(f"grant {self.height} {self._of_access.random()}".encode())
        until_ms = self._of_access.choice((None, self.time_ms + 100_000))
        about: dict[str, Value] = {
            "class": "settings",
            "subject": f"device/{self._of_access.choice(GENESIS.devices).id}",
        }
        given: dict[str, Value] = {"grant": grant, "reader": "role/auditor", "by": "grid", "from_ms": None}
        name, key, content = f"reader-{self.height}", sha256(grant), sha256(b"content" + grant)
        wrapped: dict[str, Value] = {"content": content, "blob": key, "size": 500, "keys": [key[:16]], "height": 1}
        wrapped["data_centre"] = self._of_access.choice(("dispatch", None))
        told: list[tuple[str, str, str, dict[str, Value]]] = [
            ("access", "access_granted", str(about["subject"]), {**about, **given, "until_ms": until_ms}),
            ("access", "reading_key_registered", name, {"key": key, "kid": key[:16], "replaces": None}),
            ("access", "content_sealed", content.hex(), {**about, **wrapped, "title": "linden", "by": "maker"}),
        ]
        if self._of_access.random() < 0.3:
            told.append(("access", "access_revoked", str(about["subject"]), {"grant": grant, "by": "grid"}))
        return told

    def _member(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        """Tell of an applicant, of a device that may move, and of an organisation that has lost its keys."""
        application = sha256(f"application {self.height} {self._random.random()}".encode())
        who: dict[str, Value] = {"organisation": "wind", "role": "generator", "parent": None, "title": "Wind Ltd"}
        missing: dict[str, Value] = {"missing": ["regulator"]}
        review: dict[str, Value] = {"organisation": "office", "in_favour": True, "reason": "seen", "missing": []}
        offer: dict[str, Value] = {"kind": "device", "id": self._device(), "to": "gw-1", "by": "grid"}
        name, key = f"member-{self.height}", sha256(f"key {self.height}".encode())
        lost: dict[str, Value] = {"organisation": name, "key": key, "opens_ms": self.time_ms + 1000}
        signs: dict[str, Value] = {"account": name, "organisation": name, "key": key, "kid": key[:16]}
        station: dict[str, Value] = {"station": f"station-of-{name}", "area": "east", "organisation": "grid"}
        entered: dict[str, Value] = {"application": application, "data_centre": "dispatch", "until_ms": 10}
        return [
            ("membership", "member_applied", "wind", {**entered, **who, **missing}),
            ("membership", "application_reviewed", "wind", {"application": application, **review}),
            ("membership", "move_offered", str(offer["id"]), offer),
            ("membership", "recovery_opened", name, lost),
            ("membership", "key_added", name, signs),
            ("membership", "certificate_added", name, {"account": name, "certificate": sha256(key)}),
            ("membership", "station_added", str(station["station"]), station),
            *self._access(),
        ]

    def _model(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        """Tell of the next version of a model."""
        model = self._random.choice(("north", "south"))
        versions = self._models.setdefault(model, [])
        digest = sha256(f"{model} {len(versions)} {self._random.random()}".encode())
        data: dict[str, Value] = {
            "number": len(versions) + 1,
            "region": f"{model}-area",
            "organisation": "office",
            "format": self._random.choice(("pandapower", "cgmes")),
            "file": f"{model}.json",
            "reason": self._random.choice(("monthly", "line out")),
            "digest": digest,
            "size": 1 + len(versions),
            "parent": versions[-1] if versions else None,
            "equipment": ["bus", f"line/{self._random.randrange(3)}"],
            "voltages_v": [110_000, self._random.choice((220_000, 380_000))],
            "height": self.height,
            "time_ms": self.time_ms,
        }
        versions.append(digest)
        return [("models", "model_stored", model, data)]

    def _work(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        """Tell of a work order and how far it gets."""
        device, order = self._device(), sha256(f"work {self.height} {self._random.random()}".encode())
        from_ms = self.time_ms + self._random.randrange(-100_000, 100_000)
        data: dict[str, Value] = {
            "order": order,
            "device": device,
            "organisation": "grid",
            "account": "grid",
            "approver": "dispatch",
            "release": sha256(b"release"),
            "release_name": "r-2",
            "reason": "update",
            "from_ms": from_ms,
            "to_ms": from_ms + 200_000,
        }
        by: dict[str, Value] = {"order": order, "device": device, "by": "dispatch"}
        fill: dict[str, Value] = {"order": order, "device": device, "record": sha256(order), "time_ms": self.time_ms}
        told: list[tuple[str, str, str, dict[str, Value]]] = [
            ("orders", "work_requested", device, data),
            ("orders", "work_approved", device, by),
            ("orders", "filled", device, {**fill, "account": "erna", "organisation": "grid", "release": "r-2"}),
            ("orders", "work_closed", device, by),
        ]
        return told[: self._random.randrange(1, 5)]

    def _inspection(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        """Tell of a read order and how far it is answered."""
        gateway = self._random.choice(GENESIS.gateways).id
        devices: list[Value] = [device.id for device in GENESIS.devices if device.gateway == gateway]
        order = sha256(f"inspection {self.height} {self._random.random()}".encode())
        frame: dict[str, Value] = {"order": order, "gateway": gateway}
        who: dict[str, Value] = {"account": "office", "organisation": "office", "nonce": sha256(order)}
        data: dict[str, Value] = {**frame, **who, "devices": devices, "deadline_ms": self.time_ms + 50_000}
        told = [("orders", "inspection_ordered", gateway, data)]
        for number, device in enumerate(devices[: self._random.randrange(len(devices) + 1)], start=1):
            answer: dict[str, Value] = {**frame, "answered": {str(device): "read"}, "left": devices[number:]}
            told.append(("orders", "inspection_answered", gateway, {**answer, "evidence_tx": sha256(b"tx")}))
        return told

    def _change(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        """Tell of a proposal that is voted on, and what becomes of it."""
        member = self._random.choice([entry.id for entry in GENESIS.organisations])
        proposal = sha256(f"proposal {self.height} {self._random.random()}".encode())
        kind = self._random.choice(("add", "remove", "rotate", "urgent-removal"))
        record: dict[str, Value] = {"vote_key": sha256(b"key"), "tls_digest": sha256(b"tls"), "address": "host:1"}
        frame: dict[str, Value] = {"kind": kind, "by": "grid", "deadline_ms": self.time_ms + 1000, "votes_due": 2}
        told: list[tuple[str, str, str, dict[str, Value]]] = [
            ("validators", "change_proposed", member, {"proposal": proposal, **frame, **record}),
        ]
        in_favour = self._random.random() < 0.7
        vote: dict[str, Value] = {"proposal": proposal, "organisation": "office", "in_favour": in_favour}
        told.append(("validators", "change_voted", member, vote))
        if not in_favour:
            closed: dict[str, Value] = {"proposal": proposal, "reason": "rejected"}
            return [*told, ("validators", "change_closed", member, closed)]
        told.append(("validators", "change_approved", member, {"proposal": proposal}))
        data: dict[str, Value] = {"proposal": proposal, "kind": kind, "from_height": self.height + 2, **record}
        return [*told, ("validators", "validators_changed", member, data)]

    def _govern(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        """Tell of one proposal of the contract `governance`, from the beginning to its end."""
        proposal = sha256(f"decision {self.height} {self._random.random()}".encode())
        kind = self._random.choice(("parameters", "upgrade", "correction"))
        code: Value = [{"name": "notary", "version": self.height + 2, "digest": sha256(b"code")}]
        old, new = cbor.encode(self.height), cbor.encode("better")
        bodies: dict[str, dict[str, Value]] = {
            "parameters": {"values": {"stale_ms": self.height * 1000, "clock_policy": "bench"}},
            "upgrade": {"code": code, "height": self.height + 10, "base_height": 0, "state_root": None},
            "correction": {"target": {"tx": proposal}, "old": old, "new": new, "reason": "typing error"},
        }
        weights: dict[str, Value] = {"weight_against": 0, "weight_total": 3, "weight_due": 2}
        made: dict[str, Value] = {
            "proposal": proposal,
            "kind": kind,
            "by": "grid",
            "body": bodies[kind],
            "deadline_ms": self.time_ms + 1000,
            "weight_in_favour": 1,
            **weights,
        }
        vote: dict[str, Value] = {"proposal": proposal, "organisation": "office", "in_favour": True, **weights}
        told: list[tuple[str, str, str, dict[str, Value]]] = [
            ("governance", "proposal_made", "something", made),
            ("governance", "proposal_voted", "something", {**vote, "weight_in_favour": 2}),
        ]
        if self._random.random() < 0.2:
            closed: dict[str, Value] = {"proposal": proposal, "reason": "expired"}
            return [*told, ("governance", "proposal_closed", "something", closed)]
        accepted: dict[str, Value] = {"proposal": proposal, "kind": kind, "body": bodies[kind]}
        told.append(("governance", "proposal_accepted", "something", accepted))
        if kind == "correction":
            record: dict[str, Value] = {**bodies[kind], "proposal": proposal, "number": 1, "supersedes": None}
            told.append(("governance", "data_corrected", "something", record))
        return told

    def _device(self) -> str:
        return self._random.choice(GENESIS.devices).id

    def _report(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        gateway = self._random.choice(GENESIS.gateways).id
        devices = [device.id for device in GENESIS.devices if device.gateway == gateway]
        return [("consistency", "report_accepted", gateway, self.report(gateway, devices))]

    def report(self, gateway: str, devices: list[str]) -> dict[str, Value]:
        """Return the data of an accepted report about ``devices``."""
        entries: list[Value] = [
            {
                "device": device,
                "status": self._random.choice(("read", "read", "unreachable", "protocol-error")),
                **self._read_times(),
                "item_digest": sha256(device.encode()),
            }
            for device in devices
        ]
        return {"gateway": gateway, "boot": 1, "seq": self.height, "time_ms": self.time_ms, "devices": entries}

    def _read_times(self) -> dict[str, Value]:
        if self._random.random() < 0.5:
            return {"read_from_ms": None, "read_to_ms": None}
        to_ms = self.time_ms - self._random.randrange(5_000)
        return {"read_from_ms": to_ms - self._random.choice((0, 500, 3_600_000)), "read_to_ms": to_ms}

    def _verdict(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        device = self._device()
        verdicts = {
            kind: self._random.choice(("match", "mismatch", "pending", "unknown_reference"))
            for kind in self._random.sample(("firmware", "settings", "strategy"), 2)
        }
        data = verdict_data(device, verdicts)
        return [("consistency", "verdict_changed", device, data)]

    def _alarm(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        """Tell of an alarm that opens, or of what evidence or a person does to one."""
        device, cause = self._device(), self._random.choice(("mismatch", "misfilled"))
        known = self._alarms.get((device, cause))
        told: list[tuple[str, str, str, dict[str, Value]]] = []
        if known is None or known["state"] == "closed":
            opening = sha256(f"{device} {cause} {self.height} {self._random.random()}".encode())
            data = alarm_data(opening[:16].hex(), device, cause)
            data.update(opening_tx=opening, raised_ms=self.time_ms, raised_height=self.height)
            if cause not in self._groups or self._random.random() < 0.6:
                self._groups[cause] = str(data["alarm_id"])
            data["group"] = self._groups[cause]
            kind = "alarm_raised"
            if self._random.random() < 0.2:
                flood: dict[str, Value] = {"group": data["group"], "first_ms": 0, "alarms": 2, "cause": cause}
                told.append(("consistency", "alarm_flood", str(data["group"]), flood))
        else:
            kind, move, after = self._random.choice(_MOVES[str(known["state"])])
            data = {**known, "state": after, "move": move, "from_state": known["state"], "shelf": None}
            data["present"] = after in ("raised", "acknowledged")
            if move in ("appear", "change"):
                assert isinstance(known["count"], int)
                data["count"] = known["count"] + 1
            if move in ("acknowledge", "shelve", "close"):
                data.update(NOTE)
            if move == "shelve":
                data["shelf"] = {**STAMPED, "reason": None, "until_ms": self.time_ms + 100_000}
        self._alarms[device, cause] = data
        return [("consistency", kind, device, data), *told]

    def _fault(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        data: dict[str, Value] = {
            "member": "sub-west",
            "epoch": 0,
            "height": self.height,
            "kind": self._random.choice(("prepare", "amnesia")),
            "view": 0,
            "proof": b"canonical bytes",
        }
        return [("faults", "fault_proven", "sub-west", data)]

    def _policy(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        kind = self._random.choice((None, "firmware", "settings", "strategy"))
        policy = {name: POLICY[name] for name in ("roles", "endorsements_due", "excluded")}
        device = self._random.choice((None, self._device()))
        data: dict[str, Value] = {"device": device, "model": None if device else "SC-0", "kind": kind}
        proposal = sha256(f"policy {self.height}".encode())
        return [("references", "policy_changed", "a policy", {**data, "policy": policy, "proposal": proposal})]

    def _release(self) -> list[tuple[str, str, str, dict[str, Value]]]:
        name = f"release-{len(self._releases)}"
        digest = sha256(name.encode())
        fields: dict[str, Value] = {
            "digest": digest,
            "release": name,
            "manufacturer": "maker",
            "target": {"device": None, "model": "SC-0"},
            "effective_from": None,
            "artefacts": [dict(ARTEFACT)],
        }
        self._releases.append(fields)
        roles = (("maker", "manufacturer"), ("lab", "laboratory"), ("office", "regulator"))
        missing: list[Value] = [{"role": role, "count": 1} for _, role in roles]
        submitted: dict[str, Value] = {**fields, "policies": [dict(POLICY)], "missing": list(missing)}
        told = [("references", "release_submitted", digest.hex(), submitted)]
        for organisation, role in roles:
            missing = missing[1:]
            data: dict[str, Value] = {"digest": digest, "organisation": organisation, "role": role, "report": None}
            if role == "laboratory":
                verdict = self._random.choice(("pass", "pass", "fail"))
                test: dict[str, Value] = {"digest": digest, "organisation": organisation}
                test.update(report=sha256(b"report"), verdict=verdict)
                told.append(("references", "release_tested", digest.hex(), test))
                if verdict == "fail":
                    return told
            told.append(("references", "release_endorsed", digest.hex(), {**data, "missing": list(missing)}))
            if self._random.random() < 0.2:
                return told
        older = self._effective
        replaces: list[Value] = [] if older is None else [{"digest": older, "kinds": ["firmware"]}]
        effective: dict[str, Value] = {**fields, "effective_height": self.height, "kinds": ["firmware"]}
        told.append(("references", "release_effective", digest.hex(), {**effective, "replaces": replaces}))
        if older is not None:
            told.append(("references", "release_superseded", older.hex(), {"digest": older, "by": digest}))
        self._effective = digest
        return told


def verdict_data(device: str, verdicts: Mapping[str, str]) -> dict[str, Value]:
    """Return the data of a changed verdict."""
    read: dict[str, Value] = {
        "expected_sha256": None,
        "read_sha256": sha256(b"read"),
        "detail": None,
        "difference": None,
        "owner": None,
        "fill": None,
        "name": "sc.bin",
        "version": "3",
        "size": 5,
        "read_size": 5,
        "method": "full-file",
        "errors": [],
    }
    artefacts: list[Value] = [{**read, "kind": kind, "verdict": verdict} for kind, verdict in verdicts.items()]
    until_ms = START_MS + 900_000 if "pending" in verdicts.values() else None
    told: dict[str, Value] = {"verdicts": {**verdicts}, "identity": {**IDENTITY}, "pending_until_ms": until_ms}
    item: dict[str, Value] = {"item_digest": sha256(device.encode()), "identity_changed": False}
    return {"device": device, **told, **item, "artefacts": artefacts}


def alarm_data(alarm: str, device: str, cause: str, count: int = 1, state: str = "raised") -> dict[str, Value]:
    """Return the data of an alarm event."""
    finding: dict[str, Value] = {
        "kind": "firmware",
        "verdict": cause,
        "expected_sha256": sha256(b"expected"),
        "read_sha256": None,
        "detail": None,
        "difference": None,
        "method": None,
        "owner": None,
        "fill": None,
    }
    gateway = next((one.gateway for one in GENESIS.devices if one.id == device), "gw-1")
    station = next(one.station for one in GENESIS.gateways if one.id == gateway)
    return {
        "alarm_id": alarm,
        "device": device,
        "gateway": gateway,
        "station": station,
        "area": next(one.area for one in GENESIS.stations if one.id == station),
        "cause": cause,
        "severity": "high",
        "state": state,
        "present": state in ("raised", "acknowledged"),
        "move": "return" if state == "returned" else "appear",
        "from_state": None,
        "artefacts": [finding],
        "count": count,
        "group": alarm,
        "opening_tx": sha256(b"opening"),
        "raised_ms": START_MS,
        "raised_height": 1,
        **dict.fromkeys(("acknowledged", "shelf", "closed", "by", "organisation", "reason", "action")),
    }
