from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from agent.io.headers import CERTIFIED_MAX, CONFLICTS_MAX, TRUSTING_MS, HeaderStore
from agent.io.ledgertime import LedgerTime
from agent.io.outbox import Outbox
from agent.io.trust import Believed, NotProven, Ordered, Settled, Trust
from kit.clock import FakeClock
from kit.exitcodes import DataError, StorageError
from tests.unit.agent.test_trust import STATES, outbox, receipt_for, waiting
from tests.unit.wire.samples import CHAIN, FIRST_END, GENESIS, HEADER, MEMBERS, certify, key_of
from tests.unit.wire.test_anchor import CHAIN_HEADER, ROOTED, signed
from tests.unit.wire.test_lightclient import LATER, final_of
from wire import cbor
from wire.certificate import Certificate, Step
from wire.errors import CertificateError
from wire.evidence import SeenBlock
from wire.finality import FinalHeader, encode_header_item
from wire.genesis import Genesis, GenesisValidator, Organisation
from wire.header import Header
from wire.lightclient import CertifiedHeader, ConflictError, decode_conflict, verify_conflict

__all__ = ["outbox"]
NOW_MS = GENESIS.time_ms + 10_000
DAYS = 90
BLOCK_MS = 2000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HeaderStore]:
    made = HeaderStore(tmp_path / "headers.sqlite", GENESIS)
    yield made
    made.close()


def again(store: HeaderStore, tmp_path: Path) -> HeaderStore:
    store.close()
    return HeaderStore(tmp_path / "headers.sqlite", GENESIS)


def test_header_store_remembers_epochs_and_the_newest_header(tmp_path: Path, store: HeaderStore) -> None:
    assert store.state.newest is None
    store.take(final_of(LATER, FIRST_END), is_named=True, now_ms=NOW_MS)
    believed = store.state
    opened = again(store, tmp_path)
    assert opened.state == believed
    assert opened.header(60) == LATER
    assert opened.header(61) is None
    opened.close()


def test_header_that_is_not_certified_changes_nothing(store: HeaderStore) -> None:
    with pytest.raises(CertificateError):
        store.take(final_of(HEADER, signers=MEMBERS[:2]), is_named=True, now_ms=NOW_MS)
    assert (store.state.newest, store.heights(), store.conflicts()) == (None, (), ())


def test_headers_that_stay_are_the_first_of_a_thousand_and_the_named(store: HeaderStore) -> None:
    for height, is_named in ((10, False), (20, False), (30, True), (30, True), (1500, True), (1600, False)):
        header = replace(HEADER, height=height)
        store.take(final_of(header), is_named=is_named, now_ms=NOW_MS)
    assert store.heights() == (10, 30, 1500)
    assert store.state.newest is not None
    assert store.state.newest.header.height == 1600


def test_conflict_is_kept_as_evidence_and_changes_nothing_else(tmp_path: Path, store: HeaderStore) -> None:
    store.take(final_of(HEADER), is_named=True, now_ms=NOW_MS)
    store.take(final_of(replace(HEADER, height=90)), is_named=True, now_ms=NOW_MS)
    believed = store.state
    twin = replace(HEADER, tx_root=bytes(32))
    for _ in range(2):
        with pytest.raises(ConflictError):
            store.take(final_of(twin), is_named=True, now_ms=NOW_MS)
    opened = again(store, tmp_path)
    assert (opened.state, opened.heights(), opened.header(42)) == (believed, (42, 90), HEADER)
    (evidence,) = opened.conflicts()
    assert verify_conflict(decode_conflict(evidence), GENESIS) == MEMBERS[:3]
    opened.close()


def test_conflicts_that_are_kept_have_a_bound(store: HeaderStore) -> None:
    store.take(final_of(HEADER), is_named=True, now_ms=NOW_MS)
    for number in range(CONFLICTS_MAX + 3):
        with pytest.raises(ConflictError):
            store.take(final_of(replace(HEADER, tx_root=bytes([number]) * 32)), is_named=True, now_ms=NOW_MS)
    assert len(store.conflicts()) == CONFLICTS_MAX


def test_header_against_one_whose_certificate_is_gone_is_refused(store: HeaderStore) -> None:
    store.take(final_of(HEADER), is_named=True, now_ms=NOW_MS)
    store.take(final_of(replace(HEADER, height=90)), is_named=True, now_ms=NOW_MS)
    for table in ("trail", "named"):
        store._db.execute(f"DELETE FROM {table}_certificate")  # noqa: S608 - constant
    with pytest.raises(CertificateError, match="another one was believed before"):
        store.take(final_of(replace(HEADER, tx_root=bytes(32))), is_named=True, now_ms=NOW_MS)
    store.take(final_of(HEADER), is_named=True, now_ms=NOW_MS)


def test_header_store_of_another_ledger_or_damaged_is_refused(tmp_path: Path, store: HeaderStore) -> None:
    store.take(final_of(HEADER), is_named=True, now_ms=NOW_MS)
    store.close()
    path = tmp_path / "headers.sqlite"
    with pytest.raises(DataError, match="another anchor"):
        HeaderStore(path, replace(GENESIS, time_ms=1))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE newest SET certificate = ?", (certify(HEADER, MEMBERS[:2]).encode(),))
    db.close()
    with pytest.raises(DataError, match="is damaged"):
        HeaderStore(path, GENESIS)
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError):
        HeaderStore(path, GENESIS)


def test_header_store_that_cannot_write_says_so(store: HeaderStore) -> None:
    store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StorageError):
        store.take(final_of(HEADER), is_named=True, now_ms=NOW_MS)
    assert store.state.newest is None


def test_90_days_of_sixteen_validators_take_less_than_10_mb(tmp_path: Path) -> None:
    """A block every 2 s, a report every 15 min, certificates of 11 of 16: contents as random as digests are."""
    random = Random(9)
    members = tuple(f"sub-centre-{number:02}" for number in range(16))
    genesis = replace(
        GENESIS,
        validators=tuple(GenesisValidator(name, bytes(key_of(name).verify_key), name.encode()) for name in members),
        organisations=tuple(
            sorted(
                (*GENESIS.organisations, *(Organisation(name, "sub-centre") for name in members)), key=lambda o: o.id
            )
        ),
    )
    store = HeaderStore(tmp_path / "many.sqlite", genesis)
    blocks = DAYS * 24 * 3600 * 1000 // BLOCK_MS
    named = set(range(450, blocks, 450))
    heights = sorted({*named, *range(1, blocks, 1000)})
    validators = genesis.validator_set().digest()
    store._db.execute("BEGIN")
    for height in heights:
        header = replace(
            HEADER,
            chain=genesis.chain(),
            height=height,
            proposer=members[height % 16],
            time_ms=genesis.time_ms + height * BLOCK_MS,
            validators_hash=validators,
            next_validators_hash=validators,
            code_table_hash=genesis.code_table_hash(),
            parent=random.randbytes(32),
            tx_root=random.randbytes(32),
            outcome_root=random.randbytes(32),
            state_root=random.randbytes(32),
            history_root=random.randbytes(32),
        )
        signatures = tuple((name, random.randbytes(64)) for name in members[:11])
        certificate = Certificate(Step.COMMIT, 0, height, 0, header.digest(), signatures)
        store._keep(CertifiedHeader(header, certificate), is_named=height in named)
    store._db.execute("COMMIT")
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = (tmp_path / "many.sqlite").stat().st_size
    certified = store._one("SELECT count(*) FROM named_certificate")
    assert len(store.heights()) > 12_000
    assert certified is not None
    assert CERTIFIED_MAX <= int(certified[0]) <= CERTIFIED_MAX + 300
    store.close()
    assert 3_000_000 < size < 10_000_000, size


def test_headers_past_90_days_are_forgotten(store: HeaderStore) -> None:
    old, new = replace(HEADER, height=1), replace(HEADER, height=5000, time_ms=HEADER.time_ms + DAYS * 86_400_000 + 1)
    store._keep(CertifiedHeader(old, certify(old)), is_named=True)
    store._keep(CertifiedHeader(new, certify(new)), is_named=True)
    store._thin(new.time_ms)
    assert store.heights() == (5000,)


# what the gateway's trust makes of it


def test_receipt_that_settles_is_remembered_by_the_light_node(outbox: Outbox, store: HeaderStore) -> None:
    trust = Trust(GENESIS, outbox, store)
    assert isinstance(trust.take(receipt_for(waiting(outbox).raw).encode(), STATES), Settled)
    assert store.heights() == (42,)


def test_receipt_that_conflicts_with_what_is_believed_settles_nothing(outbox: Outbox, store: HeaderStore) -> None:
    trust = Trust(GENESIS, outbox, store, lambda: NOW_MS)
    store.take(final_of(HEADER), is_named=True, now_ms=NOW_MS)
    entry = waiting(outbox)
    verdict = trust.take(receipt_for(entry.raw).encode(), STATES)
    assert isinstance(verdict, NotProven)
    assert verdict.result == "conflict"
    assert outbox.pending(10) == [entry]
    assert trust.block.height == 0
    assert len(store.conflicts()) == 1
    assert decode_conflict(store.conflicts()[0]).first.header.chain == CHAIN


# ---- header items, long sleep, anchors


class Sleeper:
    """A gateway with a clock that a test sets."""

    def __init__(self, folder: Path, outbox: Outbox, genesis: Genesis = ROOTED) -> None:
        self.clock = FakeClock(genesis.time_ms + 1000)
        self.headers = HeaderStore(folder / "sleeper.sqlite", genesis)
        self.ledger = LedgerTime(self.clock)
        self.trust = Trust(genesis, outbox, self.headers, self.clock.now_ms, self.ledger)

    def take(self, header: Header, signers: tuple[str, ...] = MEMBERS[:3]) -> Believed | NotProven | Ordered | Settled:
        item = encode_header_item(FinalHeader(header, certify(header, signers), ()))
        return self.trust.take(item, STATES)


@pytest.fixture
def sleeper(tmp_path: Path, outbox: Outbox) -> Iterator[Sleeper]:
    made = Sleeper(tmp_path, outbox)
    yield made
    made.headers.close()


# holds FH-4
def test_header_from_the_return_road_is_believed_and_one_of_others_is_not(sleeper: Sleeper) -> None:
    assert sleeper.take(CHAIN_HEADER) == Believed(42, is_new=True)
    assert sleeper.take(CHAIN_HEADER) == Believed(42, is_new=False)
    assert sleeper.trust.block == SeenBlock(42, CHAIN_HEADER.digest())
    assert sleeper.ledger.now_ms() == CHAIN_HEADER.time_ms
    newer = replace(CHAIN_HEADER, height=90, time_ms=CHAIN_HEADER.time_ms + 7)
    weak = sleeper.take(newer, MEMBERS[:2])
    assert isinstance(weak, NotProven)
    assert weak.result == "not-verified"
    twin = sleeper.take(replace(CHAIN_HEADER, tx_root=bytes(32)))
    assert isinstance(twin, NotProven)
    assert twin.result == "conflict"
    for raw in (b"", cbor.encode({"type": "header"}), cbor.encode({"type": "tea"}), cbor.encode([1])):
        verdict = sleeper.trust.take(raw, STATES)
        assert isinstance(verdict, NotProven)
        assert verdict.result == "malformed"
    assert sleeper.take(newer) == Believed(90, is_new=True)
    assert sleeper.take(replace(CHAIN_HEADER, height=50)) == Believed(50, is_new=False)
    assert sleeper.trust.block.height == 90
    assert sleeper.headers.heights() == (42,)


def test_header_item_without_a_header_store_proves_nothing(outbox: Outbox) -> None:
    item = encode_header_item(FinalHeader(HEADER, certify(HEADER), ()))
    verdict = Trust(GENESIS, outbox).take(item, STATES)
    assert isinstance(verdict, NotProven)
    assert verdict.result == "not-verified"


# holds LC-8
def test_light_node_that_slept_too_long_believes_nothing_and_keeps_its_reports(
    sleeper: Sleeper, outbox: Outbox
) -> None:
    sleeper.take(CHAIN_HEADER)
    sleeper.clock.set_now(CHAIN_HEADER.time_ms + TRUSTING_MS)
    assert not sleeper.trust.is_expired()
    sleeper.clock.set_now(CHAIN_HEADER.time_ms + TRUSTING_MS + 1001)
    assert sleeper.trust.is_expired()
    newer = replace(CHAIN_HEADER, height=90, time_ms=CHAIN_HEADER.time_ms + TRUSTING_MS)
    entry = waiting(outbox)
    for raw in (
        encode_header_item(FinalHeader(newer, certify(newer), ())),
        receipt_for(entry.raw).encode(),
    ):
        verdict = sleeper.trust.take(raw, STATES)
        assert isinstance(verdict, NotProven)
        assert verdict.result == "trust-expired"
    assert outbox.pending(9) == [entry]
    assert sleeper.trust.block.height == 42


# holds LC-8
def test_light_node_with_a_clock_in_the_past_does_not_lose_its_trust(tmp_path: Path, outbox: Outbox) -> None:
    fresh = Sleeper(tmp_path, outbox)
    fresh.clock.set_now(0)
    assert not fresh.trust.is_expired()
    # the first time that can be right is when the genesis file was given to it
    fresh.clock.set_now(ROOTED.time_ms + 5 * TRUSTING_MS)
    assert not fresh.trust.is_expired()
    fresh.clock.advance(TRUSTING_MS)
    assert not fresh.trust.is_expired()
    fresh.clock.advance(1)
    assert fresh.trust.is_expired()
    fresh.clock.set_now(0)
    assert not fresh.trust.is_expired()
    fresh.headers.close()


# holds LC-9
def test_light_node_that_slept_too_long_takes_an_anchor_and_believes_again(sleeper: Sleeper) -> None:
    sleeper.take(CHAIN_HEADER)
    now_ms = CHAIN_HEADER.time_ms + 3 * TRUSTING_MS
    sleeper.clock.set_now(now_ms)
    assert sleeper.trust.is_expired()
    header = replace(CHAIN_HEADER, height=9000, time_ms=now_ms - 5000)
    final = FinalHeader(header, certify(header), ())
    with pytest.raises(CertificateError, match="1 organisations signed, 2 are due"):
        sleeper.trust.anchor(signed(MEMBERS[0], final=final).encode())
    assert sleeper.trust.is_expired()
    assert sleeper.trust.anchor(signed(*MEMBERS[:2], final=final).encode()) == 9000
    assert not sleeper.trust.is_expired()
    newer = replace(header, height=9001, parent=header.digest(), time_ms=now_ms)
    assert sleeper.take(newer) == Believed(9001, is_new=True)


# holds LC-9
def test_anchor_that_is_older_than_what_is_believed_or_than_the_period_is_refused(sleeper: Sleeper) -> None:
    newer = replace(CHAIN_HEADER, height=90)
    sleeper.take(newer)
    with pytest.raises(CertificateError, match="below the newest believed"):
        sleeper.trust.anchor(signed(*MEMBERS[:2]).encode())
    sleeper.clock.set_now(newer.time_ms + TRUSTING_MS + 1)
    with pytest.raises(CertificateError, match="as old as what it is to replace"):
        sleeper.trust.anchor(signed(*MEMBERS[:2], final=FinalHeader(newer, certify(newer), ())).encode())
