"""gridwitness orders: every command signs the call that it says, and says in words why one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.keystore import create_key
from tests.unit.client.nodes import FakeNode, call, use_node
from wire.cbor import Value
from wire.tx import open_tx
from wire.types import sha256

NODE = ("--node", "http://node")
ORDER = sha256(b"order").hex()
DIGEST = sha256(b"release").hex()
RELEASE = {"release": "r-2", "digest": DIGEST, "manufacturer": "alder"}
NOW_MS = 1_790_000_000_000


def work(**changes: object) -> dict[str, Any]:
    return {
        "id": ORDER,
        "device": "linden-sc-1",
        "release": DIGEST,
        "release_name": "r-2",
        "from_ms": NOW_MS,
        "to_ms": NOW_MS + 3_600_000,
        "state": "open",
        "organisation": "grid",
        "approver": "sub-east",
        "fills": [{"account": "erna"}],
        **changes,
    }


def inspection(**changes: object) -> dict[str, Any]:
    return {
        "id": ORDER,
        "gateway": "gw-linden",
        "organisation": "office",
        "ordered_ms": NOW_MS,
        "deadline_ms": NOW_MS + 1,
        "state": "unanswered",
        "answers": {"linden-sc-1": {"status": "read", "read_after": True, "evidence_tx": "00"}},
        "waiting": ["linden-sc-2"],
        **changes,
    }


def page(*found: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(found), "next": None}


@pytest.fixture
def key(tmp_path: Path) -> tuple[str, str]:
    create_key(tmp_path / "keys", "grid")
    return "--key", str(tmp_path / "keys" / "grid.key")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    answers = {
        "/v1/status": {"chain": "test-00000000"},
        "/v1/references": page(RELEASE),
        "/v1/work-orders": page(work()),
        "/v1/inspections": page(inspection()),
        "/v1/devices": page({"device": "linden-sc-2"}, {"device": "linden-sc-1"}),
    }
    made = FakeNode(answers)
    use_node(monkeypatch, "orders", made)
    for module in ("client.node", "client.commands.orders"):
        monkeypatch.setattr(f"{module}.time.sleep", lambda _: None)
    return made


def accept(node: FakeNode, code: str = "ok") -> None:
    """Let the node commit whatever comes with this outcome."""

    def take(_: object) -> dict[str, Any]:
        tx = sha256(node.posted[-1][1]).hex()
        node.answers[f"/v1/tx/{tx}"] = {"status": "committed", "code": code, "height": 9}
        return {"results": [{"id": tx, "status": "pending"}]}

    node.post_answer = take


def signed(node: FakeNode) -> tuple[str, dict[str, Value]]:
    made = open_tx(node.posted[-1][1]).tx
    assert (made.contract, made.version, made.sender) == ("orders", 1, "grid")
    return made.method, made.args


def test_orders_open_signs_device_release_time_and_approver(node: FakeNode, key: tuple[str, str]) -> None:
    accept(node)
    more = ("--approver", "sub-east", "--from", "2026-11-23T16:00", "--hours", "2", "--reason", "update")
    assert call("orders", "open", "linden-sc-1", "r-2", *more, *key, *NODE) == 0
    method, args = signed(node)
    assert method == "open"
    assert args == {
        "device": "linden-sc-1",
        "release": bytes.fromhex(DIGEST),
        "from_ms": 1_795_449_600_000,
        "to_ms": 1_795_449_600_000 + 7_200_000,
        "approver": "sub-east",
        "reason": "update",
    }


@pytest.mark.parametrize("method", ["approve", "close"])
def test_orders_approve_and_close_find_the_order_by_the_beginning_of_its_id(
    method: str, node: FakeNode, key: tuple[str, str]
) -> None:
    accept(node)
    assert call("orders", method, ORDER[:8], *key, *NODE) == 0
    assert signed(node) == (method, {"order": bytes.fromhex(ORDER)})


def test_orders_fill_signs_the_planned_release(node: FakeNode, key: tuple[str, str]) -> None:
    accept(node)
    assert call("orders", "fill", ORDER, *key, *NODE, "--json") == 0
    expected = {"device": "linden-sc-1", "release": bytes.fromhex(DIGEST), "order": bytes.fromhex(ORDER)}
    assert signed(node) == ("fill", expected)


def test_orders_fill_of_other_files_than_planned_signs_nothing(
    node: FakeNode, key: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    manifest = '[release]\nrelease = "r-2"\ndevice = "linden-sc-1"\n\n[[artefact]]\nkind = "firmware"\nname = "f.bin"\n'
    (folder / "release.toml").write_text(f'{manifest}version = "1"\n')
    (folder / "f.bin").write_bytes(b"something else")
    assert call("orders", "fill", ORDER, "--files", str(folder), *key, *NODE) == 65
    assert "do not fill it in" in capsys.readouterr().err
    assert call("orders", "fill", ORDER, "--files", str(folder / "none"), *key, *NODE) == 64
    assert node.posted == []


def test_orders_inspect_names_all_devices_of_the_gateway_and_a_fresh_nonce(
    node: FakeNode, key: tuple[str, str]
) -> None:
    accept(node)
    nonces = set()
    for _ in range(2):
        assert call("orders", "inspect", "gw-linden", *key, *NODE) == 0
        method, args = signed(node)
        assert (method, args["gateway"]) == ("inspect", "gw-linden")
        assert args["devices"] == ["linden-sc-1", "linden-sc-2"]
        nonces.add(args["nonce"])
    assert len(nonces) == 2
    assert call("orders", "inspect", "gw-linden", "--device", "linden-sc-2", *key, *NODE) == 0
    assert signed(node)[1]["devices"] == ["linden-sc-2"]


def answering(node: FakeNode, item: dict[str, Any]) -> Callable[[object], dict[str, Any]]:
    def take(_: object) -> dict[str, Any]:
        tx = sha256(node.posted[-1][1]).hex()
        node.answers[f"/v1/tx/{tx}"] = {"status": "committed", "code": "ok", "height": 9}
        node.answers[f"/v1/inspections/{tx}"] = item
        return {"results": [{"id": tx, "status": "pending"}]}

    return take


def test_orders_inspect_waits_for_the_answer(
    node: FakeNode, key: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.post_answer = answering(node, inspection(state="answered", waiting=[]))
    assert call("orders", "inspect", "gw-linden", "--wait", *key, *NODE, "--json") == 0
    assert json.loads(capsys.readouterr().out)["answers"] == "linden-sc-1 read"
    node.post_answer = answering(node, inspection(state="open"))
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr("client.commands.orders.time.monotonic", lambda: next(clock))
    assert call("orders", "inspect", "gw-linden", "--wait", "--within", "30", *key, *NODE) == 75
    assert "no answer about linden-sc-2" in capsys.readouterr().err


def test_orders_lists_show_states_fills_and_who_waits(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    assert call("orders", "list", "--state", "open", *NODE) == 0
    assert "erna" in capsys.readouterr().out
    assert node.asked[-1][1]["state"] == "open"
    assert call("orders", "inspections", "--gateway", "gw-linden", *NODE) == 0
    out = capsys.readouterr().out
    assert "unanswered" in out
    assert "linden-sc-1 read" in out
    assert "before the order" not in out
    old = {"linden-sc-1": {"status": "read", "read_after": False, "evidence_tx": "00"}}
    node.answers["/v1/inspections"] = page(inspection(answers=old))
    assert call("orders", "inspections", *NODE) == 0
    assert "linden-sc-1 read before the order" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "said"), [("wrong-approver", "a dispatch centre or sub-centre approves"), ("unheard-of", "unheard-of")]
)
def test_orders_that_are_refused_say_why(
    code: str, said: str, node: FakeNode, key: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    accept(node, code)
    assert call("orders", "approve", ORDER, *key, *NODE) == 65
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("close", "xyz"), 64, "is no id of a work order"),
        (("close", "00000000"), 65, "there is no work order 00000000"),
        (("open", "d", "r-9", "--approver", "x"), 65, "no release r-9"),
        (("open", "d", "r-2", "--approver", "x", "--from", "soon"), 64, "is no time"),
    ],
)
def test_orders_that_name_what_is_not_there_are_refused_here(
    arguments: tuple[str, ...],
    code: int,
    said: str,
    node: FakeNode,
    key: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("orders", *arguments, *key, *NODE) == code
    assert said in capsys.readouterr().err
    assert node.posted == []


def test_orders_inspect_of_a_gateway_without_devices_or_with_too_many_is_refused(
    node: FakeNode, key: tuple[str, str]
) -> None:
    node.answers["/v1/devices"] = page()
    assert call("orders", "inspect", "gw-linden", *key, *NODE) == 65
    node.answers["/v1/devices"] = page(*({"device": f"d-{number:02}"} for number in range(65)))
    assert call("orders", "inspect", "gw-linden", *key, *NODE) == 64
