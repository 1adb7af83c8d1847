from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.faults import CATALOGUE, LINK, Fault, link_faults
from firmware_sim.modbus.faults import FAULTS, Delivery, Exchange, applies, disturb
from firmware_sim.modbus.framing import Framer, FramingError, Request, encode_frame
from tests.unit.firmware_sim.bench import device

REQUEST = Request(0xFFFF, 255, bytes.fromhex("14 07 06 0001 0000 0004"))
PDU = bytes.fromhex("14 0a 09 06 0102030405060708")
PREVIOUS = bytes.fromhex("fffe 0000 0003 ff 83 02")
PLAIN = encode_frame(0xFFFF, 255, PDU)


def hit(kind: str) -> Delivery:
    return disturb(Fault(kind), Exchange(REQUEST, PDU, PREVIOUS))


def test_late_answer_is_right_and_held_back() -> None:
    assert disturb(Fault("late", delay_ms=70), Exchange(REQUEST, PDU)) == Delivery(PLAIN, delay_ms=70)


def test_slow_answers_wait_for_each_other() -> None:
    assert hit("slow") == Delivery(PLAIN, delay_ms=20, queued=True)


def test_half_open_connection_goes_dead_once() -> None:
    assert hit("half-open") == Delivery(b"", dead=True)
    assert Fault("half-open").requests == 1


def test_restart_waits_for_the_middle_of_a_file() -> None:
    fault = Fault("restart-in-transfer", delay_ms=70)
    middle = Request(1, 1, bytes.fromhex("14 07 06 0001 0010 0004"))
    assert not applies(fault, REQUEST)
    assert not applies(fault, Request(1, 1, bytes.fromhex("03 0000 0001")))
    assert applies(fault, middle)
    assert disturb(fault, Exchange(middle, PDU)) == Delivery(b"", close=True, restart_ms=70)


def test_mixed_transactions_begin_with_another_id_and_go_on_with_the_answer_before() -> None:
    assert disturb(Fault("mixed-transactions"), Exchange(REQUEST, PDU)) == Delivery(encode_frame(0, 255, PDU))
    assert hit("mixed-transactions") == Delivery(PREVIOUS)


@pytest.mark.parametrize("kind", [kind for kind, entry in CATALOGUE.items() if entry.changes != LINK])
def test_fault_that_is_none_of_the_link_never_touches_an_answer(kind: str) -> None:
    assert not applies(Fault(kind), REQUEST)


def test_modbus_knows_exactly_the_link_faults_of_the_catalogue() -> None:
    assert set(FAULTS) == link_faults("modbus")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("never", b""),
        ("oversize-length", PLAIN[:4] + b"\xff\xff" + PLAIN[6:]),
        ("cut-frame", PLAIN[: len(PLAIN) // 2]),
        ("too-long", encode_frame(0xFFFF, 255, PDU + bytes(1024))),
        ("too-short", encode_frame(0xFFFF, 255, PDU[:6])),
        ("wrong-transaction", encode_frame(0, 255, PDU)),
        ("wrong-unit", encode_frame(0xFFFF, 0, PDU)),
        ("wrong-function", encode_frame(0xFFFF, 255, b"\x15" + PDU[1:])),
        ("busy", encode_frame(0xFFFF, 255, b"\x94\x06")),
        ("failure", encode_frame(0xFFFF, 255, b"\x94\x04")),
    ],
)
def test_fault_sends_exactly_its_bytes(kind: str, payload: bytes) -> None:
    assert hit(kind) == Delivery(payload)


@pytest.mark.parametrize("kind", ["close", "offline"])
def test_closing_fault_sends_nothing_and_closes(kind: str) -> None:
    assert hit(kind) == Delivery(b"", close=True)


def test_garbage_is_no_modbus_frame() -> None:
    framer = Framer()
    framer.feed(hit("garbage").payload)
    with pytest.raises(FramingError):
        framer.take()


def test_every_fault_differs_from_the_plain_answer() -> None:
    at_connection = {"single-connection"}
    assert {kind for kind in FAULTS if hit(kind) == Delivery(PLAIN)} == at_connection


def test_every_fault_is_in_the_guide() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "simulator.md").read_text()
    assert [kind for kind in CATALOGUE if f"| `{kind}` |" not in guide] == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"kind": "gone"}, "unknown fault 'gone', expected one of busy"),
        ({"kind": "late", "delay_ms": 0}, "delay_ms is 0"),
        ({"kind": "late", "delay_ms": 600_001}, "delay_ms is 600001"),
        ({"kind": "busy", "functions": frozenset({128})}, "functions"),
        ({"kind": "busy", "requests": 0}, "requests is 0"),
        ({"kind": "wrong-clock", "offset_ms": -400_000_000_000}, "offset_ms is -400000000000"),
    ],
)
def test_fault_without_meaning_is_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Fault(**values)  # type: ignore[arg-type]


def test_fault_on_one_function_spares_the_others() -> None:
    target = device()
    fault = Fault("busy", functions=frozenset({20}))
    target.set_fault(fault)
    assert target.hit(3) is None
    assert target.hit(20) is fault


def test_fault_with_a_count_ends_by_itself() -> None:
    target = device()
    target.set_fault(Fault("busy", functions=frozenset({20}), requests=2))
    hits = [target.hit(function) is not None for function in (20, 3, 20, 20)]
    assert hits == [True, False, True, False]
    assert target.fault is None


def test_fault_without_a_count_stays_until_cleared() -> None:
    target = device()
    target.set_fault(Fault("never"))
    assert all(target.hit(3) is not None for _ in range(50))
    target.set_fault(None)
    assert target.hit(3) is None
