"""A consortium with a jurisdiction and root keys, and the calls of its members."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

from master.contracts import membership
from master.ledger.call import StateReads
from master.ledger.state import Overlay
from tests.unit.contracts.consortium import certificate, vote_key
from tests.unit.ledger.worlds import Done, World, key_of, make_genesis
from wire.cbor import Value
from wire.cose import kid_of
from wire.genesis import AccountKey, Gateway, Genesis, GenesisValidator, Organisation, Station
from wire.membership import REGISTER, Application, application_bytes, key_bytes

ROLES: Final = {
    "dispatch": ("dispatch-centre", None),
    "grid": ("grid-company", "sub-east"),
    "lab": ("laboratory", None),
    "lab-b": ("laboratory", None),
    "maker-a": ("manufacturer", None),
    "maker-b": ("manufacturer", None),
    "regulator": ("regulator", None),
    "solar": ("generator", "sub-east"),
    "sub-east": ("sub-centre", "dispatch"),
    "town": ("agency", "sub-east"),
    "trade": ("trading-centre", None),
}
ROOTED: Final = ("grid", "maker-a")
DATA_CENTRES: Final = ("dispatch", "sub-east")


def public(name: str) -> bytes:
    return key_of(name).verify_key.encode()


def root_of(name: str) -> str:
    """Return the name of an organisation's root key."""
    return f"root of {name}"


def members_genesis(parameters: dict[str, Value] | None = None) -> Genesis:
    made = make_genesis(parameters)
    owners = {"gw-1": "grid", "gw-2": "grid", "gw-3": "solar", "gw-4": "town"}
    return replace(
        made,
        validators=tuple(
            GenesisValidator(name, vote_key(name).verify_key.encode(), certificate(name)) for name in DATA_CENTRES
        ),
        organisations=tuple(
            Organisation(name, role, parent, public(root_of(name)) if name in ROOTED else None)
            for name, (role, parent) in sorted(ROLES.items())
        ),
        keys=tuple(
            sorted(
                (AccountKey(public(name), name, owners.get(name, name)) for name in (*ROLES, *owners)),
                key=lambda entry: entry.key,
            )
        ),
        stations=(*made.stations, Station("st-3", "south", "solar"), Station("st-4", "south", "town")),
        gateways=(*made.gateways, Gateway("gw-3", "st-3"), Gateway("gw-4", "st-4")),
    )


@cache
def _plain_genesis() -> Genesis:
    return members_genesis()


class Site:
    """A ledger in memory; keys are named after what they are for."""

    def __init__(self, **parameters: Value) -> None:
        self.world = World(members_genesis(dict(parameters)) if parameters else _plain_genesis())
        self.chain = self.world.genesis.chain()

    @property
    def state(self) -> StateReads:
        return StateReads(Overlay(self.world.state))

    @property
    def time_ms(self) -> int:
        return self.world.head.time_ms

    def call(self, sender: str, method: str, /, **args: Value) -> Done:
        return self.call_by(sender, sender, method, **args)

    def call_by(self, key: str, sender: str, method: str, /, **args: Value) -> Done:
        """Make a call that another key signs than the account's first."""
        return self.world.run(self.world.sign(sender, membership.NAMESPACE, method, args, key=key))[0]

    def attach_by(self, key: str, account: str) -> str:
        """Return why the ledger takes nothing of an account with that key, or "taken"."""
        signed = self.world.sign(account, membership.NAMESPACE, "attach", {"data_centre": None}, key=key)
        execution, refused = self.world.propose(signed)
        if refused:
            return refused[signed.id]
        self.world.commit(execution)
        return "taken"

    def word(self, key: str, account: str, purpose: str, old: bytes | None, new: bytes | None) -> bytes:
        """Return what a key says about keys."""
        return key_of(key).sign(key_bytes(self.chain, account, purpose, old, new)).signature

    def application(self, name: str = "wind", **changes: Any) -> Application:  # noqa: ANN401
        wanted = Application(
            self.chain,
            name,
            "generator",
            "sub-east",
            f"{name} Ltd",
            public(name),
            public(root_of(name)),
            b"\x30\x03CSR",
        )
        return replace(wanted, **changes)

    def apply(self, wanted: Application, by: str = "sub-east", **changes: Value) -> Done:
        raw = wanted.encode()
        args: dict[str, Value] = {
            "application": raw,
            "signature": key_of(wanted.organisation).sign(application_bytes(raw)).signature,
            "root_signature": None
            if wanted.root_key is None
            else key_of(root_of(wanted.organisation)).sign(application_bytes(raw)).signature,
        }
        return self.call(by, "apply", **{**args, **changes})

    def review(self, name: str, *reviewers: str, in_favour: bool = True) -> list[str]:
        found = [
            self.call(by, "review", organisation=name, in_favour=in_favour, reason="looked at") for by in reviewers
        ]
        return [done.code for done in found]

    def admit(self, name: str, by: str = "dispatch", **changes: Value) -> Done:
        args: dict[str, Value] = {"organisation": name, "certificate": certificate(name), "expires_ms": None}
        return self.call(by, "admit", **{**args, **changes})

    def admitted(self, name: str = "wind") -> None:
        """Bring a member in, from its application on."""
        assert self.apply(self.application(name)).code == "ok"
        assert self.review(name, "trade", "sub-east") == ["ok", "ok"]
        assert self.admit(name).code == "ok"

    def add_operator(self, name: str, by: str = "grid", key: str | None = None) -> Done:
        signer = key or name
        word = self.word(signer, f"{by}/{name}", REGISTER, None, public(signer))
        return self.call(by, "add-operator", operator=name, key=public(signer), signature=word)

    def signers(self, account: str) -> list[bytes]:
        return list(membership.keys_of(self.state, account))

    def kid(self, name: str) -> bytes:
        return kid_of(public(name))

    def pass_blocks(self, count: int = 1) -> None:
        for _ in range(count):
            self.world.run()
