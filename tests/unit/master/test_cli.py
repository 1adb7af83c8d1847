from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit.exitcodes import run
from master import cli

TROUBLE = {"health": "no room on the disk", "broker": "not connected"}


class StatusClient:
    def __init__(self, nodes: object) -> None:
        self.nodes = nodes

    def get_json(self, path: str) -> dict[str, Any]:
        assert path == "/v1/status"
        past = {"known_from": 5, "blocks_from": 33, "snapshot": "fetching", "subtrees_missing": 7}
        mempool = {"transactions": 3, "bytes": 900}
        waits = {"waits_for": "prepare", "missing": ["c", "d"]}
        return {"node": "a", "ledger_stale": True, "mempool": mempool, "past": past, "peers": [], **waits, **TROUBLE}


def test_status_for_people_is_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "NodeClient", StatusClient)
    assert run(cli.app, program=cli.PROGRAM, args=["status", "--url", "http://node"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "mempool       3 transactions, 900 bytes" in lines
    assert "ledger_stale  yes" in lines
    assert "health        no room on the disk" in lines
    assert "broker        not connected" in lines
    assert "waits for     prepare; nothing of c, d" in lines
    assert "snapshot      fetching, 7 of its parts are missing" in lines
    assert "past          headers and events from block 5, transactions from block 33" in lines


@pytest.mark.parametrize("member", ["Bad X", "../other"])
def test_certificate_of_a_member_that_no_genesis_takes_is_refused(member: str, tmp_path: Path) -> None:
    out = tmp_path / "keys"
    assert run(cli.app, program=cli.PROGRAM, args=["certificate", member, "--out", str(out)]) == 65
    assert not out.exists()
