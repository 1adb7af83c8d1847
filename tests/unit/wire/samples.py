"""One small consortium with fixed keys, and one of everything that its members put on the wire."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from nacl.signing import SigningKey

from wire.block import Block
from wire.certificate import Certificate, Step, Validator, ValidatorSet, build_certificate, vote_bytes
from wire.epochs import EpochEnd
from wire.evidence import Artefact, Clock, Entry, Evidence, Identity, Item, SeenBlock, word_bytes
from wire.genesis import AccountKey, CodeEntry, Device, Gateway, Genesis, GenesisValidator, Organisation, Station
from wire.header import ZERO_DIGEST, Header, tx_root
from wire.merkle import EMPTY_HEAD, inclusion_path, leaf_digest, tree_head
from wire.receipt import Event, Outcome, Receipt
from wire.release import Items, Reference, Release
from wire.tx import Transaction
from wire.types import sha256

Json: TypeAlias = Any
"""Whatever a vector file or a table of cases holds."""

VECTORS = Path(__file__).parents[2] / "vectors"
TIME_MS = 1_790_000_000_000
MEMBERS = ("dispatch", "sub-east", "sub-north", "sub-west")


def vectors(name: str) -> Json:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def key_of(name: str) -> SigningKey:
    return SigningKey(sha256(b"gridwitness test key " + name.encode()))


def public_of(name: str) -> bytes:
    return key_of(name).verify_key.encode()


VOTE_KEYS = {member: key_of(f"{member} votes") for member in MEMBERS}
DEVICE = Device("sps-1", "gw-1", "Sample Vendor", "SC-9000", "SN-0001")
GENESIS = Genesis(
    name="sample",
    time_ms=TIME_MS,
    validators=tuple(
        GenesisValidator(member, VOTE_KEYS[member].verify_key.encode(), b"DER of " + member.encode())
        for member in MEMBERS
    ),
    organisations=(
        Organisation("dispatch", "dispatch-centre"),
        Organisation("grid", "grid-company"),
        Organisation("lab", "laboratory"),
        Organisation("maker", "manufacturer"),
        Organisation("office", "regulator"),
        Organisation("sub-east", "sub-centre"),
        Organisation("sub-north", "sub-centre"),
        Organisation("sub-west", "sub-centre"),
    ),
    keys=tuple(
        sorted(
            (
                AccountKey(public_of("gw-1"), "gw-1", "grid"),
                AccountKey(public_of("lab"), "lab", "lab"),
                AccountKey(public_of("maker"), "maker", "maker"),
                AccountKey(public_of("office"), "office", "office"),
            ),
            key=lambda key: key.key,
        )
    ),
    stations=(Station("station-1", "east", "grid"),),
    gateways=(Gateway("gw-1", "station-1"),),
    devices=(DEVICE,),
    parameters={
        "skew_ms": 1000,
        "clock_policy": "bench",
        "endorser_roles": ["laboratory", "manufacturer", "regulator"],
    },
    code_table=(
        CodeEntry("consistency", 1, sha256(b"code of consistency")),
        CodeEntry("references", 1, sha256(b"code of references")),
    ),
)
CHAIN = GENESIS.chain()

ARTEFACT = Artefact(
    kind="firmware",
    name="sc9000.bin",
    version="3.1.4",
    size=262_144,
    read_size=262_144,
    sha256=sha256(b"firmware"),
    chunk_root=sha256(b"chunks of the firmware"),
    method="full-file",
    read_from_ms=TIME_MS,
    read_to_ms=TIME_MS + 450,
    errors=(),
)
SETTINGS = Artefact(
    kind="settings",
    name="Einstellungen \u00e4\u00f6\u00fc",
    version="7",
    size=900,
    read_size=512,
    sha256=sha256(b"half of the settings"),
    chunk_root=sha256(b"chunks of the settings"),
    method="record-read",
    read_from_ms=TIME_MS + 450,
    read_to_ms=TIME_MS + 500,
    errors=("short-read", "unstable"),
)
ITEM = Item(Identity("Sample Vendor", "SC", "3.1.4", "SN-0001", "SC-9000"), (ARTEFACT, SETTINGS))
_WORD = bytes.fromhex("9f8a6c01")
SPOKEN = replace(
    ARTEFACT,
    name="crc32",
    read_size=0,
    sha256=sha256(word_bytes("vendor-checksum", _WORD)),
    chunk_root=tree_head([word_bytes("vendor-checksum", _WORD)]),
    method="vendor-checksum",
    word=_WORD,
)
"""What a device says of its firmware, whose bytes it does not give."""
ITEM_OF_WORDS = Item(ITEM.identity, (SPOKEN,), revision=7)
EVIDENCE = Evidence(
    gateway="gw-1",
    boot=3,
    seq=17,
    clock=Clock(TIME_MS + 600, "ntp", -3, "synchronised"),
    block=SeenBlock(41, sha256(b"block 41")),
    devices=(
        Entry("sps-1", "read", TIME_MS, TIME_MS + 500, ITEM.digest(), ITEM),
        Entry("sps-2", "unreachable", TIME_MS - 9000, TIME_MS - 8000, sha256(b"an item sent before"), None),
        Entry("sps-3", "protocol-error", None, None, None, None),
    ),
)
ANSWER = replace(EVIDENCE, seq=18, devices=EVIDENCE.devices[:1], nonce=sha256(b"a nonce"))
"""Evidence that a read order asked for."""
RELEASE = Release(
    release="sc9000-2026-3",
    manufacturer="maker",
    device=None,
    model="SC-9000",
    artefacts=(
        Reference("firmware", "sc9000.bin", "3.1.4", 262_144, sha256(b"firmware"), sha256(b"chunks of the firmware")),
        Reference(
            "strategy",
            "table.csv",
            "12",
            4096,
            sha256(b"strategy"),
            sha256(b"chunks of the strategy"),
            Items("csv", 384, sha256(b"items of the strategy")),
        ),
    ),
)
TX = Transaction(
    chain=CHAIN,
    sender="gw-1",
    contract="consistency",
    version=1,
    method="report",
    args={"evidence": EVIDENCE.encode()},
    seq=1234,
    valid_until_ms=TIME_MS + 3_600_000,
)
RAW_TX = TX.sign(key_of("gw-1"))


def other_txs(count: int) -> list[bytes]:
    """Signed transactions beside `RAW_TX`, to fill a block with."""
    key = key_of("maker")
    return [
        Transaction(CHAIN, "maker", "references", 1, "submit", {"release": bytes((seq,))}, seq, TIME_MS + 1000).sign(
            key
        )
        for seq in range(1, count + 1)
    ]


def outcome_of(raw_tx: bytes) -> Outcome:
    event = Event("consistency", "report_accepted", "gw-1", {"boot": 3, "seq": 17, "devices": []})
    return Outcome(sha256(raw_tx), "ok", (event,))


TXS = (*other_txs(3), RAW_TX, *other_txs(5)[3:])
INDEX = 3
OUTCOMES = tuple(outcome_of(raw) for raw in TXS)
VALIDATORS = GENESIS.validator_set()
HEADER = Header(
    chain=CHAIN,
    epoch=0,
    height=42,
    proposer="dispatch",
    time_ms=TIME_MS + 700,
    parent=sha256(b"block 41"),
    tx_count=len(TXS),
    tx_root=tx_root(TXS),
    outcome_root=tree_head([outcome.encode() for outcome in OUTCOMES]),
    state_root=sha256(b"state after 42"),
    history_root=sha256(b"history of 0..41"),
    validators_hash=VALIDATORS.digest(),
    next_validators_hash=VALIDATORS.digest(),
    code_table_hash=GENESIS.code_table_hash(),
    fault_proof_root=EMPTY_HEAD,
)
BLOCK = Block(HEADER, TXS)


def certify(
    header: Header,
    signers: Sequence[str] = MEMBERS[:3],
    *,
    step: Step = Step.COMMIT,
    view: int = 0,
    keys: dict[str, SigningKey] = VOTE_KEYS,
) -> Certificate:
    """Return the certificate of ``signers`` for ``header``."""
    digest = header.digest()
    signed = vote_bytes(header.chain, header.epoch, step, header.height, view, digest)
    votes = [(member, keys[member].sign(signed).signature) for member in signers]
    return build_certificate(step, header.epoch, header.height, view, digest, votes)


def path_of(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    return inclusion_path([leaf_digest(leaf) for leaf in leaves], index)


def receipt_of(header: Header, certificate: Certificate, epochs: tuple[EpochEnd, ...] = ()) -> Receipt:
    """Return the receipt of `RAW_TX` in a block of `TXS`."""
    return Receipt(
        tx=sha256(RAW_TX),
        header=header,
        certificate=certificate,
        index=INDEX,
        size=len(TXS),
        tx_path=path_of(TXS, INDEX),
        outcome=OUTCOMES[INDEX],
        outcome_path=path_of([outcome.encode() for outcome in OUTCOMES], INDEX),
        epochs=epochs,
    )


CERTIFICATE = certify(HEADER)
RECEIPT = receipt_of(HEADER, CERTIFICATE)

# a second epoch, in which "sub-west" has left and nobody came
NEXT_VALIDATORS = ValidatorSet(VALIDATORS.validators[:3])
THIRD_VALIDATORS = ValidatorSet(
    (*NEXT_VALIDATORS.validators, Validator("sub-zenith", public_of("sub-zenith votes"), ZERO_DIGEST))
)


def end_of(
    header: Header,
    following: ValidatorSet,
    signers: Sequence[str] = MEMBERS[:3],
    keys: dict[str, SigningKey] = VOTE_KEYS,
) -> EpochEnd:
    """Return ``header`` as the last of its epoch, certified by ``signers``."""
    last = replace(header, next_validators_hash=following.digest())
    return EpochEnd(last, certify(last, signers, keys=keys), following)


FIRST_END = end_of(HEADER, NEXT_VALIDATORS)
SECOND_HEADER = replace(HEADER, epoch=1, height=60, validators_hash=NEXT_VALIDATORS.digest())
SECOND_END = end_of(SECOND_HEADER, THIRD_VALIDATORS, MEMBERS[:2])
LATER_RECEIPT = receipt_of(SECOND_HEADER, certify(SECOND_HEADER, MEMBERS[:3]), (FIRST_END,))
