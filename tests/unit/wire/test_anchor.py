from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.samples import CERTIFICATE, GENESIS, HEADER, MEMBERS, TIME_MS, certify, key_of, public_of
from wire import cbor
from wire.anchor import Anchor, decode_anchor, root_keys, signers_due, verify_anchor
from wire.errors import CborError, CertificateError, FormatError, SignatureError, WireError
from wire.finality import FinalHeader
from wire.genesis import AccountKey, Genesis

ROOTS = (*MEMBERS[:3], "lab")


def rooted(genesis: Genesis = GENESIS) -> Genesis:
    """Return the consortium with a key of its own for three of the four organisations that run validators."""
    own = (AccountKey(public_of(f"{name} root"), name, name) for name in MEMBERS[:3])
    return replace(genesis, keys=tuple(sorted((*genesis.keys, *own), key=lambda entry: entry.key)))


ROOTED = rooted()
CHAIN_HEADER = replace(HEADER, chain=ROOTED.chain())
FINAL = FinalHeader(CHAIN_HEADER, certify(CHAIN_HEADER), ())


def signed(*organisations: str, final: FinalHeader = FINAL) -> Anchor:
    anchor = Anchor(final)
    for name in organisations:
        key = key_of(name if name == "lab" else f"{name} root")
        anchor = anchor.signed(name, key.verify_key.encode(), key.sign(anchor.signed_bytes()).signature)
    return anchor


# holds LC-9
@pytest.mark.parametrize("organisations", [MEMBERS[:2], MEMBERS[1:3], MEMBERS[:3]])
def test_anchor_of_enough_organisations_verifies(organisations: tuple[str, ...]) -> None:
    anchor = signed(*organisations)
    assert decode_anchor(anchor.encode()) == anchor
    verify_anchor(anchor, ROOTED)
    assert signers_due(ROOTED) == 2
    assert anchor.signed(organisations[0], bytes(32), bytes(64)).signatures[0][1:] == (bytes(32), bytes(64))


def forged() -> Anchor:
    anchor = signed(*MEMBERS[:2])
    (name, key, signature), *others = anchor.signatures
    return replace(anchor, signatures=((name, key, signature[:-1] + bytes((signature[-1] ^ 1,))), *others))


def of_another_block() -> Anchor:
    other = replace(CHAIN_HEADER, time_ms=TIME_MS + 9)
    return replace(signed(*MEMBERS[:2]), final=FinalHeader(other, certify(other), ()))


# holds LC-9
@pytest.mark.parametrize(
    ("anchor", "kind"),
    [
        (signed(), CertificateError),
        (signed(MEMBERS[0]), CertificateError),
        (signed(MEMBERS[0], "lab"), CertificateError),
        (signed(MEMBERS[0]).signed(MEMBERS[1], public_of(f"{MEMBERS[0]} root"), bytes(64)), CertificateError),
        (
            signed(*MEMBERS[:2], final=FinalHeader(CHAIN_HEADER, certify(CHAIN_HEADER, MEMBERS[:2]), ())),
            CertificateError,
        ),
        (signed(*MEMBERS[:2], final=FinalHeader(HEADER, CERTIFICATE, ())), CertificateError),
        (forged(), SignatureError),
        (of_another_block(), SignatureError),
    ],
    ids=["nobody", "one", "no validator's", "another's key", "no quorum", "another chain", "forged", "another block"],
)
def test_anchor_that_proves_too_little_is_refused(anchor: Anchor, kind: type[WireError]) -> None:
    with pytest.raises(kind):
        verify_anchor(anchor, ROOTED)


def test_root_keys_are_those_of_an_organisations_own_account() -> None:
    assert root_keys(ROOTED, MEMBERS[0]) == (public_of(f"{MEMBERS[0]} root"),)
    assert root_keys(ROOTED, MEMBERS[3]) == root_keys(ROOTED, "lab") == root_keys(ROOTED, "nobody") == ()


def edited(**changes: Any) -> bytes:  # noqa: ANN401
    value = cbor.decode_map(signed(*MEMBERS[:2]).encode())
    return cbor.encode({**value, **changes})


# holds LC-9
@pytest.mark.parametrize(
    "raw",
    [
        edited(type="conflict"),
        edited(version=2),
        edited(more=1),
        edited(signatures=[["a", bytes(32)]]),
        edited(signatures=[["a", bytes(31), bytes(64)]]),
        edited(signatures=[["A b", bytes(32), bytes(64)]]),
        edited(signatures=[["b", bytes(32), bytes(64)], ["a", bytes(32), bytes(64)]]),
        edited(signatures=[[f"org-{number:02}", bytes(32), bytes(64)] for number in range(17)]),
        edited(final=None),
    ],
)
def test_anchor_of_another_shape_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        decode_anchor(raw)


def test_anchor_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(CborError):
        decode_anchor(signed().encode() + b"\x00")
