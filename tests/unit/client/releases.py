"""A release in a folder, as its manufacturer writes it and as a node lists it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client.releases import read_release
from tests.unit.client.nodes import FakeNode
from wire.types import sha256

MANIFEST = """[release]
release = "linden-sc-1-2-4-0"
device = "linden-sc-1"

[[artefact]]
kind = "strategy"
name = "strategy.csv"
version = "2.4.0"

[[artefact]]
kind = "firmware"
name = "firmware.bin"
version = "2.4.0"
"""
FIRMWARE = bytes(range(256)) * 700
NODE = ("--node", "http://node")


def accept(node: FakeNode, *codes: str) -> None:
    """Let the node take whatever comes and commit it with these outcomes, the last one again and again."""

    def take(_: object) -> dict[str, Any]:
        tx = sha256(node.posted[-1][1]).hex()
        code = (codes or ("ok",))[min(len(node.posted), len(codes) or 1) - 1]
        asked = 0

        def state(_: object) -> dict[str, Any]:
            nonlocal asked
            asked += 1
            return {"status": "pending"} if asked == 1 else {"status": "committed", "code": code, "height": 9}

        node.answers[f"/v1/tx/{tx}"] = state
        return {"results": [{"id": tx, "status": "pending"}]}

    node.post_answer = take


def listed(folder: Path, **changes: object) -> dict[str, Any]:
    release = read_release(folder, "alder")
    return {
        "release": release.release,
        "digest": release.digest().hex(),
        "manufacturer": "alder",
        "target": {"device": "linden-sc-1", "model": None},
        "status": "pending",
        "policies": [
            {
                "kinds": ["firmware", "strategy"],
                "roles": [{"role": "laboratory", "count": 1}, {"role": "regulator", "count": 2}],
                "endorsements_due": 4,
                "excluded": ["owner-of-device"],
            }
        ],
        "endorsements": [],
        "tests": [],
        "missing_roles": ["laboratory", "regulator"],
        "missing": [
            {"role": "laboratory", "count": 1},
            {"role": "regulator", "count": 2},
            {"role": None, "count": 1},
        ],
        "artefacts": [{"kind": entry.kind} for entry in release.artefacts],
        "effective_kinds": [],
        "effective_from": None,
        "effective_height": None,
        "revoked": None,
        **changes,
    }
