"""A dispatch model from a file to every node, its difference, and its proof without any node."""

from __future__ import annotations

import json
import select
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from client.demo.cluster import Cluster
from client.demo.references import signer_of
from client.demo.topology import DISPATCH, MEMBERS
from client.node import bring_blobs, submit_with_blobs, wait_outcome
from kit.http import NodeClient
from master.api.blobs import PACE_BYTES
from master.uploads import COPIES_MAX
from tests.e2e.harness import run_program
from tests.unit.contracts.model_calls import arguments
from wire.types import sha256

pytestmark = pytest.mark.e2e
VECTORS = Path(__file__).parents[1] / "vectors" / "models"


def call(*words: str) -> dict[str, Any]:
    done = run_program("gridwitness", "models", *words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def test_model_stored_at_one_node_is_held_by_a_quorum_and_proven_offline(cluster: Cluster, tmp_path: Path) -> None:
    node = ("--node", cluster.layout.api_url(MEMBERS[1]))
    key = ("--key", str(cluster.layout.keys / f"{DISPATCH}.key"))
    folder = tmp_path / "models"
    folder.mkdir()
    file, proof = folder / "north.json", tmp_path / "north.proof"
    shutil.copy(VECTORS / "case14.json", file)
    first = call("store", str(file), "--region", "north", *key, *node)
    assert (first["version"], first["code"]) == ("north.1", "ok")
    holders = 0
    for member in MEMBERS:
        with NodeClient([cluster.layout.api_url(member)]) as client:
            found = client.get_bytes(f"/v1/blobs/{first['digest']}")
            holders += found == file.read_bytes()
    assert holders == len(MEMBERS)  # three at least before the block was final, and the fourth by now
    with NodeClient([node[1]]) as client:
        stored_ms = client.get_json("/v1/models/north.1")["time_ms"]
    old = file.read_bytes()
    shutil.copy(VECTORS / "case14-changed.json", file)
    done = run_program("gridwitness", "models", "watch", str(folder), "--once", "--region", "north", *key, *node)
    assert done.returncode == 0, done.stderr
    listed = call("list", "--equipment", "line/3", *node)["items"]
    assert [item["version"] for item in listed] == ["north.2"]
    assert [item["version"] for item in call("list", "--at", str(stored_ms), *node)["items"]] == ["north.1"]
    changes = call("diff", "north.1", "north.2", *node)["changes"]
    assert ("line", "3") in {(change["kind"], change["name"]) for change in changes}
    assert call("prove", "north", "--at", str(stored_ms), "--out", str(proof), *node)["version"] == "north.1"
    kept = tmp_path / "kept.json"
    kept.write_bytes(old)
    offline = ("--proof", str(proof), "--genesis", str(cluster.layout.genesis), "--at", str(stored_ms))
    assert call("verify", str(kept), *offline)["digest"] == sha256(old).hex()
    lie = run_program("gridwitness", "models", "verify", str(file), *offline)
    assert (lie.returncode, "is not north.1" in lie.stderr) == (65, True)


# holds BL-9
def test_blob_that_strangers_bring_slowly_comes_all_the_same(cluster: Cluster) -> None:
    content = (VECTORS / "case14.json").read_bytes() + b"\n"
    digest = sha256(content).hex()
    request = f"PUT /v1/blobs/{digest} HTTP/1.1\r\nhost: node\r\ncontent-length: {len(content)}\r\n\r\n".encode()
    where = urlsplit(cluster.layout.api_url(MEMBERS[2]))
    with cluster.client(MEMBERS[2]) as client, ExitStack() as held:
        signer = signer_of(cluster, client, DISPATCH)
        raw = signer.sign("models", "store", arguments(content, model="contested", region="west"))
        tx, missing = submit_with_blobs(client, raw)
        assert missing == [digest]
        strangers = [
            held.enter_context(socket.create_connection((where.hostname or "", where.port or 0), timeout=30))
            for _ in range(COPIES_MAX + 2)
        ]
        for stranger in strangers:
            stranger.sendall(request + content[:PACE_BYTES])
        put_out: set[socket.socket] = set()
        while len(put_out) < len(strangers) - COPIES_MAX:
            put_out.update(select.select(set(strangers) - put_out, (), (), 20)[0])
        bring_blobs(client, missing, {digest: content})
        assert wait_outcome(client, tx, 20).code == "ok"
        answers = sorted(stranger.recv(12) for stranger in strangers)
        assert answers == [b"HTTP/1.1 200"] * (COPIES_MAX - 1) + [b"HTTP/1.1 429"] * 3
