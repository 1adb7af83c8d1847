"""Two implementations of docs/spec say the same of certificates and proofs, of true ones and of tampered ones."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.interop import independent_checker as checker
from tests.unit.wire.samples import (
    CERTIFICATE,
    CHAIN,
    FIRST_END,
    GENESIS,
    HEADER,
    LATER_RECEIPT,
    MEMBERS,
    NEXT_VALIDATORS,
    RAW_TX,
    RECEIPT,
    SECOND_HEADER,
    VALIDATORS,
    VOTE_KEYS,
    certify,
    vectors,
)
from tests.unit.wire.test_historyproof import BLOCKS, HEADERS, consistency, inclusion
from tests.unit.wire.test_stateproof import VALUE, proof_of
from wire import cbor
from wire.certificate import Certificate, Step, ValidatorSet, decode_certificate
from wire.epochs import TrustedEpoch, verify_header
from wire.header import Header, decode_header
from wire.historyproof import (
    decode_consistency_proof,
    decode_history_proof,
    verify_consistency_proof,
    verify_history_proof,
)
from wire.receipt import decode_receipt, verify_receipt
from wire.stateproof import decode_state_proof, verify_state_proof

pytestmark = pytest.mark.interop

RAW_GENESIS = GENESIS.encode()
SOURCE = Path(checker.__file__)
TWINS = 120
"""Tampered twins per proof."""
CERTIFICATE_FIELDS = "scheme step epoch height view digest signatures"

Judge = Callable[[bytes], object]


def accepts(judge: Judge, raw: bytes) -> bool:
    try:
        judge(raw)
    except Exception:  # noqa: BLE001 - the checker refuses by whatever exception bad bytes cause
        return False
    return True


def receipt_judges(raw_tx: bytes = RAW_TX) -> tuple[Judge, Judge]:
    return (
        lambda raw: verify_receipt(decode_receipt(raw), raw_tx, GENESIS),
        lambda raw: checker.check_receipt(raw, raw_tx, RAW_GENESIS),
    )


STATE = (
    lambda raw: verify_state_proof(decode_state_proof(raw), GENESIS),
    lambda raw: checker.check_state(raw, RAW_GENESIS),
)
HISTORY = (
    lambda raw: verify_history_proof(decode_history_proof(raw), GENESIS),
    lambda raw: checker.check_history(raw, RAW_GENESIS),
)


def consistency_judges(known: Header) -> tuple[Judge, Judge]:
    return (
        lambda raw: verify_consistency_proof(decode_consistency_proof(raw), known, GENESIS),
        lambda raw: checker.check_history(raw, RAW_GENESIS, known.encode()),
    )


def certificate_judges(header: Header, validators: ValidatorSet, epoch: int) -> tuple[Judge, Judge]:
    first = FIRST_END.header.height + 1 if epoch else 1
    known = (epoch, cbor.decode(cbor.encode(validators.to_value())), first)
    return (
        lambda raw: verify_header(
            CHAIN, TrustedEpoch(epoch, validators, first), header, decode_certificate(cbor.decode(raw))
        ),
        lambda raw: checker.check_certificate(CHAIN, known, header.encode(), checker.decode(raw, CERTIFICATE_FIELDS)),
    )


def proofs() -> Iterator[tuple[str, bytes, tuple[Judge, Judge]]]:
    """Yield true proofs of every kind, golden ones first."""
    golden = vectors("golden.json")["formats"]
    yield "golden receipt", bytes.fromhex(golden["receipt"]["hex"]), receipt_judges()
    later = bytes.fromhex(golden["receipt_of_a_later_epoch"]["hex"])
    yield "golden receipt of a later epoch", later, receipt_judges()
    certificate = bytes.fromhex(golden["certificate"]["hex"])
    header = decode_header(bytes.fromhex(golden["header"]["hex"]))
    yield "golden certificate", certificate, certificate_judges(header, VALIDATORS, 0)
    second = certify(SECOND_HEADER)
    yield "certificate of a later epoch", second.encode(), certificate_judges(SECOND_HEADER, NEXT_VALIDATORS, 1)
    for epoch in (0, 1):
        for value in (VALUE, None):
            for has_neighbour in (False, True):
                proof = proof_of(value, has_neighbour=has_neighbour, epoch=epoch)
                what = f"state proof, epoch {epoch}, {'present' if value else 'absent'}, {len(proof.bucket)} pairs"
                yield what, proof.encode(), STATE
    random = Random(5)
    for _ in range(12):
        height, newer = sorted(random.sample(range(1, BLOCKS + 1), 2))
        yield f"history {height} in {newer}", inclusion(height, newer).encode(), HISTORY
        known = HEADERS[height - 1]
        yield f"history {height} to {newer}", consistency(height, newer).encode(), consistency_judges(known)
    yield "history to itself", consistency(7, 7).encode(), consistency_judges(HEADERS[6])


PROOFS = {name: (raw, judges) for name, raw, judges in proofs()}


def tampered(raw: bytes, random: Random) -> Iterator[bytes]:
    """Yield twins of a proof: a bit flipped, a byte changed, lost or doubled, the end cut off or grown."""
    yield raw[:-1]
    yield raw + b"\x00"
    yield b""
    for _ in range(TWINS):
        at = random.randrange(len(raw))
        yield raw[:at] + bytes((raw[at] ^ 1 << random.randrange(8),)) + raw[at + 1 :]
        yield raw[:at] + raw[at + 1 :]
        yield raw[:at] + raw[at : at + 1] + raw[at:]


@pytest.mark.parametrize("name", PROOFS)
def test_checkers_agree_on_a_true_proof_and_refuse_its_tampered_twins(name: str) -> None:
    raw, (ours, theirs) = PROOFS[name]
    ours(raw)
    theirs(raw)
    for twin in tampered(raw, Random(name)):
        assert not accepts(ours, twin), twin.hex()
        assert not accepts(theirs, twin), twin.hex()


CERTIFICATES: dict[str, tuple[Certificate, bool]] = {
    "three of four": (CERTIFICATE, True),
    "all four": (certify(HEADER, MEMBERS), True),
    "a later view": (certify(HEADER, view=9), True),
    "two of four": (certify(HEADER, MEMBERS[:2]), False),
    "prepared, not committed": (certify(HEADER, step=Step.PREPARE), False),
    "a stranger above the quorum": (
        replace(certify(HEADER), signatures=(*certify(HEADER).signatures, ("sub-zenith", bytes(64)))),
        False,
    ),
    "a bad signature above the quorum": (
        replace(CERTIFICATE, signatures=(*CERTIFICATE.signatures, (MEMBERS[3], bytes(64)))),
        False,
    ),
    "one signer twice": (replace(CERTIFICATE, signatures=(CERTIFICATE.signatures[0],) * 3), False),
    "signers out of order": (replace(CERTIFICATE, signatures=CERTIFICATE.signatures[::-1]), False),
    "two views mixed": (
        replace(
            CERTIFICATE, signatures=(*CERTIFICATE.signatures[:2], certify(HEADER, MEMBERS[2:3], view=1).signatures[0])
        ),
        False,
    ),
    "another height": (replace(CERTIFICATE, height=43), False),
    "another epoch": (replace(CERTIFICATE, epoch=1), False),
    "another digest": (replace(CERTIFICATE, digest=bytes(32)), False),
    "keys of others": (certify(HEADER, keys=dict.fromkeys(MEMBERS, VOTE_KEYS[MEMBERS[3]])), False),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_checkers_agree_on_certificates(name: str) -> None:
    certificate, is_good = CERTIFICATES[name]
    ours, theirs = certificate_judges(HEADER, VALIDATORS, 0)
    assert (accepts(ours, certificate.encode()), accepts(theirs, certificate.encode())) == (is_good, is_good)


def test_checkers_agree_on_proofs_of_something_else() -> None:
    """A true proof is refused where another one is due."""
    cases = (
        (receipt_judges(RAW_TX + b"\x00"), RECEIPT.encode()),
        (receipt_judges(), replace(LATER_RECEIPT, epochs=()).encode()),
        (receipt_judges(), replace(LATER_RECEIPT, epochs=(FIRST_END, FIRST_END)).encode()),
        (receipt_judges(), replace(RECEIPT, epochs=(FIRST_END,)).encode()),
        (receipt_judges(), replace(RECEIPT, size=RECEIPT.size + 1).encode()),
        (receipt_judges(), replace(RECEIPT, index=RECEIPT.index - 1).encode()),
        (STATE, inclusion(1, 2).encode()),
        (HISTORY, consistency(1, 2).encode()),
        (consistency_judges(HEADERS[1]), inclusion(2, 3).encode()),
        (consistency_judges(HEADERS[1]), consistency(3, 5).encode()),
    )
    for (ours, theirs), raw in cases:
        assert not accepts(ours, raw)
        assert not accepts(theirs, raw)


def test_checker_is_small_and_imports_nothing_of_ours() -> None:
    text = SOURCE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {"cbor2", "hashlib", "nacl", "typing", "unicodedata"}
