"""Contract validators: calls that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from master.contracts import validator_records
from tests.unit.contracts.consortium import VOTERS, Consortium, consortium, vote_key
from tests.unit.ledger.worlds import GENESIS_MS, key_of
from wire.cbor import Value
from wire.certificate import VALIDATORS_MAX
from wire.errors import FormatError
from wire.types import Digest, sha256


# holds VM-5
def test_ready_before_enough_are_in_favour_is_refused() -> None:
    at = consortium()
    proposal = at.add()
    at.vote(proposal, "dispatch")
    assert at.ready(proposal).code == "not-approved"
    assert at.members == sorted(VOTERS)


# holds VM-5
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state_root": sha256(b"other")}, "wrong-root"),
        ({"signature": bytes(64)}, "bad-signature"),
        ({"signature": b"short"}, "bad-signature"),
        ({"height": 0}, "bad-args"),
        ({"height": 1}, "stale"),
        ({"height": 99}, "stale"),
    ],
)
def test_ready_that_shows_no_recent_state_is_refused(changes: dict[str, Any], code: str) -> None:
    at = consortium()
    proposal = at.add()
    at.vote(proposal, "dispatch", "regulator")
    at.pass_blocks(2)
    assert at.ready(proposal, **changes).code == code
    assert at.members == sorted(VOTERS)


# holds VM-5
def test_ready_with_the_oldest_state_allowed_is_taken_and_with_an_older_one_refused() -> None:
    for age, code in ((5, "ok"), (6, "stale")):
        at = consortium(ready_blocks_max=5)
        proposal = at.add()
        at.vote(proposal, "dispatch", "regulator")
        at.pass_blocks(20)
        height = at.world.head.height + 1 - age
        root = _root_of(at, height)
        assert at.ready(proposal, height=height, state_root=root).code == code


def _root_of(at: Consortium, height: int) -> Digest:
    known = at.state.namespace("validators").get(b"root/" + (height % 5).to_bytes(2, "big"))
    assert isinstance(known, dict)
    root = known["state_root"]
    assert isinstance(root, bytes)
    return root


def test_ready_of_a_change_that_is_unknown_is_refused() -> None:
    at = consortium()
    proposal = at.add()
    other = at.call("dispatch", "vote", proposal=sha256(b"other"), in_favour=True)
    assert other.code == "no-such-change"
    at.vote(proposal, "dispatch", in_favour=True)
    assert at.ready(other).code == "no-such-change"


# holds VM-3
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"member": "nobody"}, "unknown-organisation"),
        ({"member": "No One"}, "bad-args"),
        ({"member": 7}, "bad-args"),
        ({"member": "maker-a"}, "is-validator"),
        ({"address": 7}, "bad-args"),
        ({"address": "nowhere"}, "bad-address"),
        ({"address": "host:0"}, "bad-address"),
        ({"address": "host:65536"}, "bad-address"),
        ({"tls_certificate": b""}, "bad-certificate"),
        ({"tls_certificate": bytes(5000)}, "bad-certificate"),
        ({"tls_certificate": b"\x30\x82\x00\x09short"}, "bad-certificate"),
        ({"tls_certificate": b"no certificate"}, "bad-certificate"),
        ({"tls_certificate": "text"}, "bad-args"),
        ({"vote_key": b"short"}, "bad-args"),
        ({"vote_key": vote_key("grid").verify_key.encode()}, "key-in-use"),
        ({"vote_key": key_of("gw-1").verify_key.encode()}, "key-in-use"),
        ({"deadline_ms": GENESIS_MS}, "bad-deadline"),
        ({"deadline_ms": GENESIS_MS * 2}, "bad-deadline"),
        ({"more": 1}, "bad-args"),
        ({"by": "lab"}, "not-a-voter"),
        ({"by": "gw-1"}, "not-a-voter"),
    ],
)
def test_add_that_cannot_be_is_refused(changes: dict[str, Any], code: str) -> None:
    at = consortium()
    assert at.add(**changes).code == code
    assert at.kept(b"") == []


@pytest.mark.parametrize("address", ["", "a.example:1", "10.0.0.1:65535", "[fe80::1]:7400"])
def test_add_with_an_address_that_can_be_dialled_is_taken(address: str) -> None:
    assert consortium().add(address=address).code == "ok"


def test_add_with_a_short_certificate_in_der_is_taken() -> None:
    short = b"\x30\x81" + bytes((150,)) + bytes(150)
    assert consortium().add(tls_certificate=short).code == "ok"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"member": "lab"}, "unknown-validator"),
        ({"member": 7}, "unknown-validator"),
        ({"urgent": 1}, "bad-args"),
        ({"deadline_ms": None}, "bad-args"),
        ({"by": "lab"}, "not-a-voter"),
    ],
)
def test_removal_that_cannot_be_is_refused(changes: dict[str, Any], code: str) -> None:
    assert consortium().remove(**changes).code == code


@pytest.mark.parametrize(("args", "code"), [({"in_favour": 1}, "bad-args"), ({"more": 1}, "bad-args")])
def test_vote_with_wrong_arguments_is_refused(args: dict[str, Value], code: str) -> None:
    at = consortium()
    proposal = at.remove()
    wanted: dict[str, Value] = {"proposal": proposal.tx.id, "in_favour": True, **args}
    assert at.call("dispatch", "vote", **wanted).code == code


# holds VM-2
def test_number_of_validators_stays_between_one_and_sixteen() -> None:
    alone = consortium(("dispatch",))
    assert alone.remove("dispatch", "dispatch").code == "last-one"
    full = consortium(tuple(f"org-{number:02}" for number in range(VALIDATORS_MAX)))
    assert full.add(by="org-00").code == "too-many"


@pytest.mark.parametrize("value", [None, {}, {"vote_key": bytes(32), "tls_certificate": b"", "address": ""}])
def test_damaged_record_is_refused(value: Value) -> None:
    with pytest.raises(FormatError):
        validator_records.decode_record("grid", value)
    with pytest.raises(FormatError):
        validator_records.decode_change(value)
