"""A ledger of one block, signed by four validators that exist in this process alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nacl.signing import SigningKey

from wire.cbor import Value
from wire.certificate import Step, build_certificate, vote_bytes
from wire.evidence import Artefact, Clock, Entry, Evidence, Identity, Item, SeenBlock
from wire.genesis import AccountKey, CodeEntry, Device, Gateway, Genesis, GenesisValidator, Organisation, Station
from wire.header import ZERO_DIGEST, Header, tx_root
from wire.merkle import inclusion_path, leaf_digest, tree_head
from wire.receipt import Bundle, Event, Outcome, Receipt
from wire.tx import Transaction
from wire.types import sha256

TIME_MS = 1_790_000_000_000
MEMBERS = ("centre-east", "centre-north", "centre-west", "dispatch")


def key_of(name: str) -> SigningKey:
    return SigningKey(sha256(name.encode()))


def public(name: str) -> bytes:
    return key_of(name).verify_key.encode()


def genesis() -> Genesis:
    return Genesis(
        name="test",
        time_ms=TIME_MS,
        validators=tuple(GenesisValidator(member, public(member), member.encode()) for member in MEMBERS),
        organisations=tuple(
            Organisation(name, "grid-company" if name == "grid-company" else "sub-centre")
            for name in sorted((*MEMBERS, "grid-company"))
        ),
        keys=(AccountKey(public("gw-linden"), "gw-linden", "grid-company"),),
        stations=(Station("linden-220", "north", "grid-company"),),
        gateways=(Gateway("gw-linden", "linden-220"),),
        devices=(Device("linden-sc-1", "gw-linden", "Alder Protection", "SCD-220/4", "AP-01001"),),
        parameters={},
        code_table=(CodeEntry("consistency", 1, ZERO_DIGEST),),
    )


def evidence() -> Evidence:
    digest = sha256(b"firmware")
    artefact = Artefact(
        kind="firmware",
        name="firmware",
        version="2.4.0",
        size=8,
        read_size=8,
        sha256=digest,
        chunk_root=digest,
        method="full-file",
        read_from_ms=TIME_MS,
        read_to_ms=TIME_MS + 200,
        errors=(),
    )
    item = Item(Identity("Alder Protection", "SCD-220", "2.4.0", "AP-01001", "SCD-220/4"), (artefact,))
    return Evidence(
        gateway="gw-linden",
        boot=3,
        seq=7,
        clock=Clock(TIME_MS + 300, "system", None, "unknown"),
        block=SeenBlock(0, genesis().digest()),
        devices=(Entry("linden-sc-1", "read", TIME_MS, TIME_MS + 200, item.digest(), item),),
    )


@dataclass(frozen=True)
class World:
    """What goes into a bundle; a test replaces one part to make it wrong."""

    genesis: Genesis = field(default_factory=genesis)
    signer: str = "gw-linden"
    sender: str = "gw-linden"
    chain: str | None = None
    contract: str = "consistency"
    method: str = "report"
    args: dict[str, Value] = field(default_factory=lambda: {"evidence": evidence().encode()})
    voters: tuple[str, ...] = MEMBERS[:3]
    is_forged: bool = False
    """The signature of the transaction is not that of its key."""

    def with_(self, **changes: object) -> World:
        return replace(self, **changes)  # type: ignore[arg-type]

    def tx(self) -> bytes:
        call = Transaction(
            chain=self.chain or self.genesis.chain(),
            sender=self.sender,
            contract=self.contract,
            version=1,
            method=self.method,
            args=self.args,
            seq=12,
            valid_until_ms=TIME_MS + 1000,
        )
        raw = call.sign(key_of(self.signer))
        return raw[:-1] + bytes((raw[-1] ^ 1,)) if self.is_forged else raw

    def bundle(self) -> Bundle:
        raw = self.tx()
        event = Event("consistency", "alarm_raised", "linden-sc-1", {"cause": "mismatch", "alarm_id": "ab"})
        outcome = Outcome(sha256(raw), "ok", (event,))
        leaves = [leaf_digest(raw)]
        validators = self.genesis.validator_set()
        header = Header(
            chain=self.genesis.chain(),
            epoch=0,
            height=1,
            proposer=MEMBERS[0],
            time_ms=TIME_MS + 500,
            parent=self.genesis.digest(),
            tx_count=1,
            tx_root=tx_root([raw]),
            outcome_root=tree_head([outcome.encode()]),
            state_root=ZERO_DIGEST,
            history_root=ZERO_DIGEST,
            validators_hash=validators.digest(),
            next_validators_hash=validators.digest(),
            code_table_hash=self.genesis.code_table_hash(),
            fault_proof_root=tree_head([]),
        )
        digest = header.digest()
        signed = vote_bytes(header.chain, 0, Step.COMMIT, 1, 0, digest)
        votes = [(member, key_of(member).sign(signed).signature) for member in self.voters]
        receipt = Receipt(
            tx=sha256(raw),
            header=header,
            certificate=build_certificate(Step.COMMIT, 0, 1, 0, digest, votes),
            index=0,
            size=1,
            tx_path=inclusion_path(leaves, 0),
            outcome=outcome,
            outcome_path=(),
            epochs=(),
        )
        return Bundle(raw, receipt)
