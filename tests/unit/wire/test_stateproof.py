from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.wire.samples import (
    CERTIFICATE,
    FIRST_END,
    GENESIS,
    HEADER,
    MEMBERS,
    SECOND_END,
    SECOND_HEADER,
    certify,
)
from wire import cbor
from wire.errors import CborError, CertificateError, FormatError, ProofError, WireError
from wire.finality import (
    FinalHeader,
    decode_final_header,
    decode_header_item,
    encode_header_item,
    verify_final_header,
)
from wire.stateproof import BUCKET_PAIRS_MAX, StateProof, check_state, decode_state_proof, verify_state_proof
from wire.statetree import DEPTH, EMPTY_BUCKET, bucket_digest, bucket_of, leaf_key, path_root
from wire.types import sha256

NAMESPACE, KEY, VALUE = "membership", b"gateway/gw-1", cbor.encode({"station": "station-1"})
PLACE = leaf_key(NAMESPACE, KEY)
NEIGHBOUR = (PLACE[:-1] + bytes((PLACE[-1] ^ 1,)), sha256(b"of a neighbour"))
PATH = tuple(sha256(bytes((level,))) for level in range(DEPTH))


def proof_of(value: bytes | None, *, has_neighbour: bool = True, epoch: int = 0) -> StateProof:
    """Return a true proof of a state that holds one bucket of interest."""
    pairs = [NEIGHBOUR] if has_neighbour else []
    if value is not None:
        pairs.append((PLACE, sha256(value)))
    bucket = tuple(sorted(pairs))
    root = path_root(bucket_of(PLACE), bucket_digest(bucket), PATH)
    header = replace(SECOND_HEADER if epoch else HEADER, state_root=root)
    epochs = (FIRST_END,) if epoch else ()
    return StateProof(NAMESPACE, KEY, value, bucket, PATH, FinalHeader(header, certify(header), epochs))


PROOF = proof_of(VALUE)


# holds SP-1 SP-2 SP-4
@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("has_neighbour", [False, True])
@pytest.mark.parametrize("value", [VALUE, None])
def test_state_proof_of_an_entry_or_of_none_verifies(value: bytes | None, *, has_neighbour: bool, epoch: int) -> None:
    proof = proof_of(value, has_neighbour=has_neighbour, epoch=epoch)
    again = decode_state_proof(proof.encode())
    assert again == proof
    assert again.encode() == proof.encode()
    verify_state_proof(again, GENESIS)


LIES: dict[str, Callable[[StateProof], StateProof]] = {
    "another value": lambda proof: replace(proof, value=cbor.encode({"station": "station-2"})),
    "absent": lambda proof: replace(proof, value=None),
    "another key": lambda proof: replace(proof, key=b"gateway/gw-2"),
    "another namespace": lambda proof: replace(proof, namespace="sequence"),
    "a bucket without the pair": lambda proof: replace(proof, bucket=(NEIGHBOUR,), value=None),
    "an empty bucket": lambda proof: replace(proof, bucket=(), value=None),
    "a pair too many": lambda proof: replace(proof, bucket=(*proof.bucket, (b"\xff" * 32, bytes(32)))),
    "the bucket in another order": lambda proof: replace(proof, bucket=proof.bucket[::-1]),
    "a pair twice": lambda proof: replace(proof, bucket=tuple(sorted((*proof.bucket, NEIGHBOUR)))),
    "another sibling": lambda proof: replace(proof, path=(bytes(32), *proof.path[1:])),
    "a sibling too few": lambda proof: replace(proof, path=proof.path[1:]),
}


# holds SP-2 SP-3 SP-4
@pytest.mark.parametrize("lie", LIES)
def test_state_proof_with_a_lie_is_refused(lie: str) -> None:
    with pytest.raises(ProofError):
        verify_state_proof(LIES[lie](PROOF), GENESIS)


# holds SP-3
def test_state_proof_of_absence_with_the_pair_left_out_is_refused() -> None:
    alone = proof_of(VALUE, has_neighbour=False)
    with pytest.raises(ProofError, match="another state root"):
        check_state(replace(alone, value=None, bucket=()), alone.final.header.state_root)
    nothing = proof_of(None, has_neighbour=False)
    assert bucket_digest(nothing.bucket) == EMPTY_BUCKET
    with pytest.raises(ProofError, match="something else"):
        check_state(replace(nothing, value=VALUE), nothing.final.header.state_root)


# holds SP-5 FH-2
@pytest.mark.parametrize(
    "final",
    [
        FinalHeader(HEADER, CERTIFICATE, ()),
        replace(PROOF.final, certificate=certify(PROOF.final.header, MEMBERS[:2])),
        replace(PROOF.final, certificate=CERTIFICATE),
        replace(PROOF.final, epochs=(FIRST_END,)),
        replace(proof_of(VALUE, epoch=1).final, epochs=()),
    ],
    ids=["of another state", "below the quorum", "of another block", "epoch too many", "epoch missing"],
)
def test_state_proof_with_another_header_is_refused(final: FinalHeader) -> None:
    with pytest.raises((ProofError, CertificateError)):
        verify_state_proof(replace(PROOF, final=final), GENESIS)


# holds SP-1 SP-6
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "receipt"),
        ("version", 2),
        ("namespace", "Membership"),
        ("key", b""),
        ("key", bytes(447)),
        ("value", b""),
        ("value", bytes(1024 * 1024 + 1)),
        ("bucket", bytes(63)),
        ("bucket", bytes(64 * (BUCKET_PAIRS_MAX + 1))),
        ("path", [bytes(31)] * 20),
        ("path", [bytes(32)] * 21),
        ("final", {}),
        ("more", 1),
    ],
)
def test_state_proof_of_another_shape_is_refused(field: str, value: cbor.Value) -> None:
    decoded = cbor.decode_map(PROOF.encode())
    with pytest.raises(FormatError):
        decode_state_proof(cbor.encode({**decoded, field: value}))


# holds SP-6
def test_state_proof_past_8_mib_is_refused_unread() -> None:
    with pytest.raises(CborError, match="longer than"):
        decode_state_proof(bytes(8 * 1024 * 1024 + 1))


# holds SP-5
def test_state_proof_with_any_one_byte_changed_is_refused() -> None:
    raw = proof_of(VALUE, epoch=1).encode()
    for at in range(0, len(raw), 7):
        damaged = raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]
        with pytest.raises(WireError):
            verify_state_proof(decode_state_proof(damaged), GENESIS)


# holds FH-1
def test_final_header_round_trips_and_verifies() -> None:
    later = SECOND_END.header
    final = FinalHeader(later, SECOND_END.certificate, (FIRST_END,))
    again = decode_final_header(final.to_value())
    assert again == final
    assert verify_final_header(again, GENESIS).number == 1


# holds FH-1 FH-3
@pytest.mark.parametrize("value", [None, {}, {**PROOF.final.to_value(), "epochs": [1]}])
def test_final_header_of_another_shape_is_refused(value: object) -> None:
    with pytest.raises(FormatError):
        decode_final_header(value)


# holds FH-3
def test_final_header_with_too_many_epochs_is_refused() -> None:
    value = PROOF.final.to_value()
    with pytest.raises(FormatError, match="at most 1024"):
        decode_final_header({**value, "epochs": [FIRST_END.to_value()] * 1025})


# holds FH-4
def test_header_item_round_trips_and_is_refused_otherwise() -> None:
    raw = encode_header_item(PROOF.final)
    assert decode_header_item(raw) == PROOF.final
    value = cbor.decode_map(raw)
    assert (value["type"], value["version"]) == ("header", 1)
    changes: tuple[dict[str, cbor.Value], ...] = ({"type": "receipt"}, {"version": 2}, {"header": b""}, {"more": 1})
    for change in changes:
        with pytest.raises(FormatError):
            decode_header_item(cbor.encode({**value, **change}))
    with pytest.raises(CborError):
        decode_header_item(raw + b"\x00")
