"""Which transactions may stand in a block."""

from __future__ import annotations

from dataclasses import replace

import pytest

from master.contracts import membership
from master.ledger import application
from master.ledger.refusals import TxRefused
from tests.unit.ledger.test_application import DAY_MS, submission
from tests.unit.ledger.worlds import World, key_of, make_genesis
from wire import cbor
from wire.cbor import Value
from wire.cose import kid_of

# check


def test_check_transaction_as_it_should_be_passes() -> None:
    world = World()
    world.application.check(submission(world), world.head.time_ms)


# holds EX-1 CA-2
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chain": "test-00000000"}, "wrong-chain"),
        ({"contract": "market"}, "unknown-contract"),
        ({"version": 2}, "unknown-contract"),
        ({"method": "withdraw"}, "unknown-method"),
        ({"key": "stranger"}, "unknown-key"),
        ({"key": "lab"}, "wrong-sender"),
        ({"sender": "lab"}, "wrong-sender"),
    ],
)
def test_check_transaction_of_wrong_origin_is_refused(changes: dict[str, object], code: str) -> None:
    world = World()
    with pytest.raises(TxRefused) as caught:
        world.application.check(submission(world, **changes), world.head.time_ms)
    assert caught.value.code == code


# holds EX-1
def test_check_transaction_at_its_last_moment_passes_and_later_is_expired() -> None:
    world = World()
    signed = submission(world)
    world.application.check(signed, signed.tx.valid_until_ms)
    with pytest.raises(TxRefused, match="expired"):
        world.application.check(signed, signed.tx.valid_until_ms + 1)


def test_check_transaction_valid_for_too_long_is_refused() -> None:
    world = World()
    limit_ms = world.head.time_ms + 7 * DAY_MS
    world.application.check(submission(world, valid_until_ms=limit_ms), world.head.time_ms)
    with pytest.raises(TxRefused, match="valid-too-long"):
        world.application.check(submission(world, valid_until_ms=limit_ms + 1), world.head.time_ms)


def test_check_transaction_with_a_broken_signature_is_refused() -> None:
    world = World()
    signed = submission(world)
    envelope = replace(signed.envelope, signature=bytes(64))
    with pytest.raises(TxRefused, match="bad-signature"):
        world.application.check(replace(signed, envelope=envelope), world.head.time_ms)


def test_screen_transaction_names_the_key_and_leaves_the_signature_to_the_caller() -> None:
    world = World()
    signed = submission(world)
    forged = replace(signed, envelope=replace(signed.envelope, signature=bytes(64)))
    for tx in (signed, forged):
        assert world.application.screen(tx, world.head.time_ms).key == key_of("maker-a").verify_key.encode()


def test_screen_transaction_that_is_expired_is_refused() -> None:
    world = World()
    signed = submission(world)
    with pytest.raises(TxRefused, match="expired"):
        world.application.screen(signed, signed.tx.valid_until_ms + 1)


def test_check_remembers_few_account_keys_and_notices_a_changed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "_ACCOUNT_KEYS_MAX", 1)
    world = World()
    for sender in ("maker-a", "maker-b", "maker-a"):
        world.application.check(submission(world, sender=sender, key=sender), world.head.time_ms)
    name = ("membership", membership.account_key_entry(kid_of(key_of("maker-a").verify_key.encode())))
    record: dict[str, Value] = {"key": bytes(32), "sender": "lab", "organisation": "lab"}
    world.state.entries[name] = cbor.encode(record)
    with pytest.raises(TxRefused, match="wrong-sender"):
        world.application.check(submission(world), world.head.time_ms)


# holds EX-1
def test_check_transaction_of_a_suspended_account_is_refused() -> None:
    world = World()
    until_ms = world.head.time_ms + 60_000
    record: dict[str, Value] = {"until_ms": until_ms, "by": "dispatch", "reason": "audit", "height": 1}
    world.state.entries["membership", b"suspended/maker-a"] = cbor.encode(record)
    signed = submission(world, valid_until_ms=until_ms + 60_000)
    with pytest.raises(TxRefused, match="suspended"):
        world.application.check(signed, until_ms - 1)
    world.application.check(signed, until_ms)


# holds MB-3
def test_call_that_only_the_super_node_may_make_is_refused_for_others() -> None:
    world = World(make_genesis({"super_only": ["notary.put"]}))
    args: dict[str, Value] = {"data": b"x", "key": "k"}
    assert world.call("lab", "notary", "put", args).code == "super-node-only"
    assert world.call("dispatch", "notary", "put", args).code == "ok"


def test_check_transaction_that_was_committed_is_replayed() -> None:
    world = World()
    signed = submission(world)
    world.run(signed)
    with pytest.raises(TxRefused, match="replayed"):
        world.application.check(signed, world.head.time_ms)


def test_check_transaction_that_was_only_proposed_passes() -> None:
    world = World()
    signed = submission(world)
    world.propose(signed)
    world.application.check(signed, world.head.time_ms)


def test_check_remembers_few_windows_and_reads_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "_WINDOWS_MAX", 1)
    world = World()
    committed = [submission(world, sender=sender, key=sender) for sender in ("maker-a", "maker-b")]
    for signed in committed:
        world.run(signed)
    for signed in committed:
        with pytest.raises(TxRefused, match="replayed"):
            world.application.check(signed, world.head.time_ms)


def test_check_other_transaction_under_a_used_number_is_replayed() -> None:
    world = World()
    world.run(submission(world))
    with pytest.raises(TxRefused, match="replayed"):
        world.application.check(submission(world, "r-2", seq=1), world.head.time_ms)


def test_check_smaller_number_that_was_never_used_passes() -> None:
    world = World()
    world.run(submission(world, seq=9))
    world.application.check(submission(world, "r-2", seq=3), world.head.time_ms)
