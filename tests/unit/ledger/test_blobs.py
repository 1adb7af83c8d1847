from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest

from master.contracts.models import MODELS
from master.contracts.parameters import DAY_MS
from master.contracts.table import CONTRACTS, software_of
from master.ledger.blobs import BlobRoom, brought, entry_key, known_blobs, known_size, named_blobs, record
from master.ledger.refusals import BlockRefused
from master.ledger.state import Overlay
from tests.unit.contracts.model_calls import MIB, arguments, store
from tests.unit.ledger.worlds import GENESIS_MS, World, make_genesis
from wire.blob import BLOB_BYTES_MAX, BLOCK_BLOB_BYTES_MAX, BLOCK_BLOBS_MAX, BlobRef
from wire.types import sha256

BLOB = BlobRef(sha256(b"case 1"), 6)


# holds BL-2
def test_call_names_the_blobs_of_the_arguments_that_its_contract_declares() -> None:
    world = World()
    assert named_blobs(world.sign("dispatch", "models", "store", arguments()).tx) == (BLOB,)
    assert named_blobs(world.sign("maker-a", "models", "store", arguments()).tx) == (BLOB,)


# holds BL-2
def test_block_goes_by_the_contract_that_executes_it() -> None:
    software = software_of([*CONTRACTS.values(), replace(MODELS, name="archive", version=2, speaks_from=1)])
    world = World(replace(make_genesis(), code_table=software.newest()), software)
    done = world.call("dispatch", "archive", "store", arguments())
    assert done.code == "ok"
    assert known_size(world.state, BLOB.digest) == BLOB.size


# holds BL-2
@pytest.mark.parametrize(
    ("contract", "version", "method", "changes"),
    [
        ("notary", 1, "store", {}),
        ("models", 2, "store", {}),
        ("models", 1, "put", {}),
        ("models", 1, "store", {"digest": None}),
        ("models", 1, "store", {"size": 0}),
        ("models", 1, "store", {"size": "6"}),
    ],
)
def test_call_with_other_arguments_names_none(
    contract: str, version: int, method: str, changes: dict[str, object]
) -> None:
    args = {**arguments(), **changes}
    made = World().sign("dispatch", contract, method, args, version=version)  # type: ignore[arg-type]
    assert named_blobs(made.tx) == ()


# holds BL-3
def test_block_names_at_most_so_many_blobs_and_bytes() -> None:
    room = BlobRoom()
    large = [BlobRef(bytes([number]) * 32, BLOB_BYTES_MAX) for number in range(3)]
    assert room.takes(large[:2])
    assert room.takes(large[:1])
    assert not room.takes(large[2:])
    room = BlobRoom()
    small = [BlobRef(number.to_bytes(32, "big"), 1) for number in range(BLOCK_BLOBS_MAX)]
    assert all(room.takes([blob]) for blob in small)
    assert not room.takes([BLOB])


# holds BL-3
def test_every_contract_names_no_more_than_a_block_may() -> None:
    for contract in CONTRACTS.values():
        assert contract.blobs.keys() <= contract.methods.keys()
        for named in contract.blobs.values():
            assert len(named) * BLOB_BYTES_MAX <= BLOCK_BLOB_BYTES_MAX


# holds BL-3
def test_block_leader_leaves_out_what_would_name_too_much_and_voters_refuse_it() -> None:
    world = World()
    calls = [
        world.sign("dispatch", "models", "store", arguments(bytes([n]), model=f"m-{n}", size=BLOB_BYTES_MAX))
        for n in range(3)
    ]
    execution, refused = world.propose(*calls)
    assert [len(execution.block.transactions), refused] == [2, {}]
    block = execution.block
    greedy = replace(block, transactions=(*block.transactions, calls[2].raw))
    header = replace(block.header, tx_count=3, tx_root=greedy.tx_root())
    with pytest.raises(BlockRefused, match="names more than a block may") as caught:
        world.application.process(world.head, replace(greedy, header=header))
    assert caught.value.code == "too-many-blobs"


# holds BL-4
def test_ledger_notes_a_blob_at_the_block_that_named_it_first() -> None:
    world = World()
    store(world)
    raw = world.state.get("blobs", entry_key(BLOB.digest))
    assert raw is not None
    assert cbor2.loads(raw) == {"size": 6, "height": 1}
    store(world, model="again", region="other")
    assert world.state.get("blobs", entry_key(BLOB.digest)) == raw
    assert known_size(world.state, BLOB.digest) == 6
    assert list(known_blobs(world.state)) == [BLOB]


# holds BL-7
def test_block_brings_what_its_accepted_calls_name_first() -> None:
    world = World()
    calls = [
        world.sign("dispatch", "models", "store", arguments()),
        world.sign("dispatch", "models", "store", arguments(model="again", region="other")),
        world.sign("maker-a", "models", "store", arguments(b"refused")),
    ]
    execution, _ = world.propose(*calls)
    assert brought(execution.writes) == (BLOB,)
    world.commit(execution)
    execution, _ = world.propose(world.sign("dispatch", "models", "store", arguments(model="third")))
    assert brought(execution.writes) == ()


# holds BL-4
def test_ledger_notes_no_blob_of_a_refused_call() -> None:
    world = World()
    store(world, sender="maker-a")
    assert known_size(world.state, BLOB.digest) is None
    assert list(known_blobs(world.state)) == []


# holds BL-4
def test_ledger_refuses_a_known_blob_with_another_size() -> None:
    world = World()
    store(world)
    assert store(world, model="again", size=7).code == "bad-blob"


# holds BL-4
def test_ledger_refuses_more_bytes_of_an_organisation_than_a_day_has() -> None:
    world = World(make_genesis({"blob_day_bytes_max": 40 * MIB}))
    assert store(world, b"1", model="one", size=30 * MIB).code == "ok"
    assert store(world, b"2", model="two", size=11 * MIB).code == "blob-quota"
    assert store(world, b"1", model="same", size=30 * MIB).code == "ok"
    assert store(world, b"3", model="three", size=10 * MIB).code == "ok"
    state = Overlay(world.state)
    record(state, [BlobRef(bytes(32), 30 * MIB)], "dispatch", 9, (GENESIS_MS // DAY_MS + 1) * DAY_MS)
    assert known_size(state, bytes(32)) == 30 * MIB


# holds BL-4
def test_ledger_charges_each_organisation_alone() -> None:
    state = Overlay(World(make_genesis({"blob_day_bytes_max": 10})).state)
    record(state, [BlobRef(bytes(32), 10)], "one", 1, GENESIS_MS)
    record(state, [BlobRef(b"2" * 32, 10)], "two", 1, GENESIS_MS)
    assert known_size(state, b"2" * 32) == 10


def test_outcome_of_tells_what_a_call_would_come_to_and_keeps_nothing() -> None:
    world = World()
    call = world.sign("maker-a", "models", "store", arguments())
    before = dict(world.state.entries)
    assert world.application.outcome_of(call, 1, world.head.time_ms + 1).code == "wrong-role"
    assert world.application.fits(call, 1, world.head.time_ms + 1)
    assert world.state.entries == before
