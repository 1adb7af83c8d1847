"""gridwitness models, against a ledger in memory that executes what it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.grid.proof import ModelProof, counts_at, decode_model_proof, verify_model_proof, version_key
from client.output import when
from kit.http import NodeProblemError
from kit.keystore import create_key, load_signing_key
from master.ledger.rows import EventRow
from master.views.models import MODELS
from master.views.ports import END, Position
from master.views.schema import Reading
from tests.unit.client.nodes import FakeNode, call, use_node
from tests.unit.ledger.worlds import World, make_genesis
from tests.unit.master.views.memory import MemoryTables
from tests.unit.wire.samples import GENESIS, HEADER, certify
from tests.unit.wire.test_stateproof import PATH as SIBLINGS
from wire import cbor
from wire.errors import ProofError, WireError
from wire.finality import FinalHeader
from wire.genesis import AccountKey
from wire.receipt import decode_outcome
from wire.stateproof import StateProof
from wire.statetree import bucket_digest, bucket_of, leaf_key, path_root
from wire.tx import open_tx
from wire.types import sha256

VECTORS = Path(__file__).parents[2] / "vectors" / "models"
NODE = ("--node", "http://node")


class ModelNode(FakeNode):
    """Executes models.store on a ledger in memory and answers lists from its view."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        made = make_genesis()
        others = [entry for entry in made.keys if entry.sender != "dispatch"]
        keys = sorted((*others, AccountKey(key, "dispatch", "dispatch")), key=lambda entry: entry.key)
        self.world = World(replace(made, keys=tuple(keys)))
        self.tables = MemoryTables(self.world.genesis)
        self.waiting: dict[str, bytes] = {}
        self.codes: dict[str, tuple[str, int]] = {}

    def get_json(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        asked = dict(params or {})
        if path == "/v1/status":
            return {"chain": self.world.genesis.chain()}
        if path.startswith("/v1/tx/"):
            code, height = self.codes[path.removeprefix("/v1/tx/")]
            return {"status": "committed", "code": code, "height": height}
        reading = Reading(self.world.head.time_ms, 1000)
        if path.startswith("/v1/models/"):
            row = self.tables.row("models", path.removeprefix("/v1/models/"))
            if row is None:
                raise NodeProblemError(path, 404, {"title": "There is nothing here"})
            return dict(MODELS.present(row, reading))
        limit = int(asked.pop("limit", "100"))
        conditions = [one for name, value in asked.items() for one in MODELS.condition(name, value, reading)]
        rows = self.tables.page(MODELS, conditions, None, limit).rows
        return {"items": [MODELS.present(row, reading) for row in rows], "next": None}

    def post_cbor(self, path: str, body: bytes, *, content_type: str = "application/cbor") -> dict[str, Any]:
        signed = open_tx(body)
        digest = signed.tx.args["digest"]
        assert isinstance(digest, bytes)
        if f"/v1/blobs/{digest.hex()}" in self.files:
            self.execute(body)
            return {"results": [{"id": signed.id.hex(), "status": "pending"}]}
        self.waiting[f"/v1/blobs/{digest.hex()}"] = body
        return {"results": [{"id": signed.id.hex(), "status": "pending", "blobs": [digest.hex()]}]}

    def put_bytes(self, path: str, body: bytes) -> dict[str, Any]:
        assert path == f"/v1/blobs/{sha256(body).hex()}"
        self.execute(self.waiting.pop(path))
        return super().put_bytes(path, body)

    def execute(self, raw: bytes) -> None:
        world, signed = self.world, open_tx(raw)
        execution, refused = world.propose(signed)
        assert not refused, refused
        world.commit(execution)
        made, height = decode_outcome(execution.outcomes[0]), world.head.height
        self.codes[signed.id.hex()] = made.code, height
        rows = [
            EventRow(height, index, world.head.time_ms, signed.id, one.contract, one.type, one.subject, one.data)
            for index, one in enumerate(made.events)
        ]
        self.tables.apply(rows, Position(height, END))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    create_key(tmp_path / "keys", "dispatch")
    return tmp_path / "keys" / "dispatch.key"


@pytest.fixture
def node(key: Path, monkeypatch: pytest.MonkeyPatch) -> ModelNode:
    made = ModelNode(load_signing_key(key).signing_key.verify_key.encode())
    use_node(monkeypatch, "models", made)
    monkeypatch.setattr("client.node.time.time_ns", lambda: made.world.head.time_ms * 1_000_000)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    made.mkdir()
    (made / "north.json").write_bytes((VECTORS / "case14.json").read_bytes())
    return made


def store(file: Path, key: Path, *more: str) -> int:
    return call("models", "store", str(file), "--key", str(key), *NODE, *more)


def changed(folder: Path) -> Path:
    path = folder / "north.json"
    path.write_bytes((VECTORS / "case14-changed.json").read_bytes())
    return path


def test_models_store_brings_the_file_and_what_it_is_about(
    node: ModelNode, folder: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "north.json"
    assert store(file, key, "--region", "north-area", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["version"], shown["stored"], shown["code"]) == ("north.1", True, "ok")
    assert {"bus", "line", "trafo"} <= set(shown["equipment"])
    assert shown["voltages_v"] == [208, 12_000, 14_000, 135_000]
    assert node.files[f"/v1/blobs/{shown['digest']}"] == file.read_bytes()
    assert store(file, key) == 0
    assert "has not changed" in capsys.readouterr().out
    assert store(changed(folder), key, "--reason", "line 3 is out", "--voltage", "400000", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["version"] == "north.2"
    assert {"line/3", "load/2", "trafo/0"} <= set(shown["equipment"])
    assert shown["voltages_v"][-1] == 400_000
    row = node.tables.row("models", "north.2")
    assert row is not None
    assert (row["region"], row["reason"], row["file"]) == ("north-area", "line 3 is out", "north.json")


def test_models_store_of_an_unknown_format_is_found_by_what_is_told(
    node: ModelNode, tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "Plan A.bin"
    file.write_bytes(b"of another program")
    assert store(file, key, "--region", "east", "--equipment", "cable/7", "--voltage", "20000", "--json") == 0
    assert json.loads(capsys.readouterr().out)["equipment"] == ["cable/7"]
    row = node.tables.row("models", "plan-a.1")
    assert row is not None
    assert (row["format"], row["voltages_v"]) == ("unknown", [20_000])


def test_models_store_without_the_file_of_the_version_before_names_no_changed_piece(
    node: ModelNode, folder: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(folder / "north.json", key, "--region", "north-area")
    before = node.get_json("/v1/models/north.1")["digest"]
    node.files[f"/v1/blobs/{before}"] = b'{"_class": "pandapowerNet"'
    capsys.readouterr()
    assert store(changed(folder), key, "--json", "--no-wait") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["status"], "line" in shown["equipment"], "line/3" in shown["equipment"]) == ("pending", True, False)


def test_models_store_that_cannot_be_is_told(
    node: ModelNode, folder: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert store(folder / "north.json", key) == 64
    assert "name its region with --region" in capsys.readouterr().err
    (folder / "north.json").write_bytes(b'{"_class": "pandapowerNet"')
    assert store(folder / "north.json", key, "--region", "east") == 65
    assert "is damaged" in capsys.readouterr().err
    assert store(folder / "north.json", key, "--region", "east", "--format", "unknown") == 0
    assert store(folder / "nowhere", key) == 64
    (folder / "---").write_bytes(b"x")
    assert store(folder / "---", key) == 64
    assert node.world.head.height == 1


def test_models_watch_stores_everything_in_a_folder(
    node: ModelNode, folder: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "south.json").write_bytes((VECTORS / "case118.json").read_bytes())
    watch = ("models", "watch", str(folder), "--key", str(key), "--region", "all", "--once", *NODE)
    assert call(*watch) == 0
    assert "north.1" in capsys.readouterr().out
    assert [row["version"] for row in node.get_json("/v1/models")["items"]] == ["south.1", "north.1"]
    changed(folder)
    assert call(*watch) == 0
    out = capsys.readouterr().out
    assert "north.2" in out
    assert "south.1" in out
    (folder / "broken.json").write_bytes(b'{"_class": "pandapowerNet"')
    assert call(*watch) == 65


def test_models_watch_tells_what_fails_and_tries_again(
    node: ModelNode, folder: Path, key: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def sleep(_: float) -> None:
        looks.append(len(node.codes))
        if len(looks) == 2:
            changed(folder)
        if len(looks) > 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("client.commands.models.time.sleep", sleep)
    (folder / "north.json").write_bytes(b'{"_class": "pandapowerNet"')
    assert call("models", "watch", str(folder), "--key", str(key), "--region", "all", *NODE) == 130
    out = capsys.readouterr().out
    assert "is damaged" in out
    assert "north.1" in out


def test_models_list_asks_for_what_is_told(
    node: ModelNode, folder: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("models", "list", *NODE) == 0
    assert "no models" in capsys.readouterr().out
    store(folder / "north.json", key, "--region", "north-area")
    store(changed(folder), key)
    first_ms = node.get_json("/v1/models/north.1")["time_ms"]
    asked = {"--at": str(first_ms), "--equipment": "line", "--region": "north-area", "--voltage": "14000"}
    capsys.readouterr()
    assert call("models", "list", *NODE, "--json", *(word for pair in asked.items() for word in pair)) == 0
    assert [item["version"] for item in json.loads(capsys.readouterr().out)["items"]] == ["north.1"]
    assert call("models", "list", *NODE, "--equipment", "line/3") == 0
    out = capsys.readouterr().out
    assert "north.2" in out
    assert "north.1" not in out


def test_models_get_writes_the_file_of_a_version_and_no_other_bytes(
    node: ModelNode, folder: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(folder / "north.json", key, "--region", "north-area")
    store(changed(folder), key)
    old = node.get_json("/v1/models/north.1")
    out = tmp_path / "out.json"
    for words in (("north.1",), ("north", "--at", str(old["time_ms"])), ("north", "--at", when(old["time_ms"]))):
        assert call("models", "get", *words, "--out", str(out), "--force", *NODE) == 0
        assert out.read_bytes() == (VECTORS / "case14.json").read_bytes()
    assert call("models", "get", "north", "--out", str(out), "--force", *NODE) == 0
    assert out.read_bytes() == (VECTORS / "case14-changed.json").read_bytes()
    node.files[f"/v1/blobs/{old['digest']}"] = b"a lie"
    assert call("models", "get", "north.1", "--out", str(out), "--force", *NODE) == 65
    assert "sent other bytes" in capsys.readouterr().err
    for words, code in (
        (("north", "--at", "5"), 65),
        (("south",), 65),
        (("north.9",), 65),
        (("north.1", "--at", "5"), 64),
    ):
        assert call("models", "get", *words, "--out", str(out), "--force", *NODE) == code


def test_models_diff_names_equipment_and_parameters(
    node: ModelNode, folder: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(folder / "north.json", key, "--region", "north-area")
    store(changed(folder), key)
    capsys.readouterr()
    assert call("models", "diff", "north.1", "north", *NODE) == 0
    out = capsys.readouterr().out
    assert "changed  line 3" in out
    assert "in_service: true -> false" in out
    assert call("models", "diff", "north.1", str(VECTORS / "case14.json"), *NODE) == 0
    assert "no piece of equipment differs" in capsys.readouterr().out
    assert call("models", "diff", "north.1", str(VECTORS / "ieee14-cgmes.zip"), "--json", *NODE) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["same"], shown["understood"], shown["changes"]) == (False, False, [])
    for name, content in (("a", b"12345"), ("b", b"12x45"), ("c", b"123")):
        (tmp_path / name).write_bytes(content)
    for other, said in (("a", "the same"), ("b", "is byte 2"), ("c", "5 and 3 of them, the first other one is byte 3")):
        assert call("models", "diff", str(tmp_path / "a"), str(tmp_path / other), *NODE) == 0
        assert said in capsys.readouterr().out
    (tmp_path / "a").write_bytes(b'{"_class": "pandapowerNet"')
    assert call("models", "diff", str(tmp_path / "a"), "north", *NODE) == 65


# ---- proofs


def state_proof(number: int, value: dict[str, cbor.Value] | None, time_ms: int, model: str = "north") -> StateProof:
    """Return a true proof of a state that holds nothing else in the key's bucket."""
    key = version_key(model, number)
    place = leaf_key("models", key)
    raw = None if value is None else cbor.encode(value)
    bucket = () if raw is None else ((place, sha256(raw)),)
    root = path_root(bucket_of(place), bucket_digest(bucket), SIBLINGS)
    header = replace(HEADER, state_root=root, time_ms=time_ms)
    return StateProof("models", key, raw, bucket, SIBLINGS, FinalHeader(header, certify(header), ()))


CONTENT = b"a model"
ENTRY: dict[str, cbor.Value] = {
    "digest": sha256(CONTENT),
    "time_ms": 2000,
    "region": "east",
    "organisation": "dispatch",
    "reason": "first",
    "height": 7,
}
LATER: dict[str, cbor.Value] = {"digest": sha256(b"later"), "time_ms": 5000}
ENDED = ModelProof("north", 1, state_proof(1, ENTRY, 9000), state_proof(2, LATER, 9000))
NEWEST = ModelProof("north", 1, state_proof(1, ENTRY, 9000), state_proof(2, None, 9000))


# holds MO-6
@pytest.mark.parametrize(("time_ms", "counts"), [(1999, False), (2000, True), (4999, True), (5000, False)])
def test_model_proof_holds_from_the_version_until_the_next_one(time_ms: int, counts: bool) -> None:  # noqa: FBT001
    proof = decode_model_proof(ENDED.encode())
    assert proof == ENDED
    proven = verify_model_proof(proof, GENESIS)
    assert (proven.digest, proven.from_ms, proven.until_ms, proven.is_newest) == (sha256(CONTENT), 2000, 5000, False)
    assert counts_at(proven, time_ms) is counts


# holds MO-6
@pytest.mark.parametrize(("time_ms", "counts"), [(1999, False), (2000, True), (9000, True), (9001, False)])
def test_model_proof_of_the_newest_holds_until_its_block(time_ms: int, counts: bool) -> None:  # noqa: FBT001
    proven = verify_model_proof(NEWEST, GENESIS)
    assert (proven.until_ms, proven.is_newest) == (9000, True)
    assert counts_at(proven, time_ms) is counts


# holds MO-6
@pytest.mark.parametrize(
    "lie",
    [
        replace(ENDED, number=2),
        replace(ENDED, model="south"),
        replace(ENDED, next=ENDED.entry),
        replace(ENDED, entry=replace(ENDED.entry, namespace="notary")),
        replace(ENDED, entry=replace(ENDED.entry, value=cbor.encode({**ENTRY, "time_ms": 1}))),
        replace(ENDED, next=replace(ENDED.next, value=None)),
        replace(ENDED, entry=state_proof(1, None, 9000)),
        replace(NEWEST, next=state_proof(2, None, 8999)),
        replace(ENDED, entry=state_proof(1, {"digest": b"short"}, 9000)),
    ],
)
def test_model_proof_that_lies_is_refused(lie: ModelProof) -> None:
    with pytest.raises(WireError):
        verify_model_proof(lie, GENESIS)


@pytest.mark.parametrize(
    "raw",
    [b"", cbor.encode({}), cbor.encode({"type": "model-proof"}), ENDED.encode()[:-1], ENDED.entry.encode()],
)
def test_model_proof_malformed_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        decode_model_proof(raw)


def test_model_proof_of_an_entry_that_is_no_map_is_refused() -> None:
    place = leaf_key("models", version_key("north", 1))
    raw = cbor.encode(5)
    bucket = ((place, sha256(raw)),)
    header = replace(HEADER, state_root=path_root(bucket_of(place), bucket_digest(bucket), SIBLINGS))
    part = replace(ENDED.entry, value=raw, bucket=bucket, final=FinalHeader(header, certify(header), ()))
    with pytest.raises((ProofError, WireError), match="no map"):
        verify_model_proof(replace(ENDED, entry=part), GENESIS)


@pytest.fixture
def genesis(tmp_path: Path) -> str:
    path = tmp_path / "genesis.cbor"
    path.write_bytes(GENESIS.encode())
    return str(path)


# holds MO-6
def test_models_verify_tells_the_version_of_a_date_offline(
    tmp_path: Path, genesis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "north.json").write_bytes(CONTENT)
    (tmp_path / "north.proof").write_bytes(ENDED.encode())
    words = ("models", "verify", str(tmp_path / "north.json"), "--proof", str(tmp_path / "north.proof"))
    assert call(*words, "--genesis", genesis, "--at", "3000", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["verified"], shown["model"], shown["number"]) == (True, "north", 1)
    assert (shown["from_ms"], shown["until_ms"], shown["region"]) == (2000, 5000, "east")
    (tmp_path / "north.proof").write_bytes(NEWEST.encode())
    assert call(*words, "--genesis", genesis) == 0
    assert "version 1 of north" in capsys.readouterr().out


# holds MO-6
def test_models_verify_of_another_file_or_time_exits_65(
    tmp_path: Path, genesis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, proof = tmp_path / "north.json", tmp_path / "north.proof"
    proof.write_bytes(ENDED.encode())
    words = ("models", "verify", str(file), "--proof", str(proof), "--genesis", genesis)
    file.write_bytes(b"another")
    assert call(*words) == 65
    assert "is not north.1" in capsys.readouterr().err
    file.write_bytes(CONTENT)
    assert call(*words, "--at", "6000") == 65
    assert "is not proven" in capsys.readouterr().err
    proof.write_bytes(NEWEST.encode())
    assert call(*words, "--at", "9001") == 65
    assert "at least" in capsys.readouterr().err
    proof.write_bytes(b"\xa0")
    assert call(*words) == 65
    assert "does not verify" in capsys.readouterr().err


def test_models_prove_writes_what_verify_takes(
    node: ModelNode, folder: Path, key: Path, tmp_path: Path, genesis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store(folder / "north.json", key, "--region", "north-area")
    item = node.get_json("/v1/models/north.1")
    entry = {**ENTRY, "digest": bytes.fromhex(item["digest"])}
    proof = tmp_path / "north.proof"
    for number, part in ((1, state_proof(1, entry, 9000)), (2, state_proof(2, None, 9000))):
        node.files[f"/v1/state/models/v%2Fnorth%2F{'%00' * 7}%0{number}"] = part.encode()
    assert call("models", "prove", "north", "--out", str(proof), *NODE) == 0
    assert call("models", "verify", str(folder / "north.json"), "--proof", str(proof), "--genesis", genesis) == 0
    node.files[f"/v1/state/models/v%2Fnorth%2F{'%00' * 7}%02"] = b"nonsense"
    assert call("models", "prove", "north", "--out", str(proof), "--force", *NODE) == 65
    assert "did not send a state proof" in capsys.readouterr().err
