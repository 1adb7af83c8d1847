"""A replica's values come back from the log as they were, and nothing else does."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from master.consensus.events import Now, Received, Tick
from master.consensus.guard import SignerGuard
from master.journal.graph import Decoder, Encoder, JournalError
from tests.unit.consensus.bench import Bench
from wire import cbor
from wire.block import Block
from wire.certificate import Step


def sign(_message: bytes) -> bytes:
    return b""


def through(value: Any) -> Any:  # noqa: ANN401 anything
    written: Any = cbor.decode(cbor.encode(Encoder({"sign": sign}).encode(value)))
    classes, rows = written
    return Decoder({"sign": sign}).decode(classes, rows)


BENCH = Bench()
BLOCK = BENCH.block(b"a transaction")
VALUES = [
    (),
    [1, [2, (3, None)], "four", b"5", True, False, -(2**63)],
    {"b": 1, "a": {2: (3,), (4, 5): Step.COMMIT}},
    {1, 2, (3, 4)},
    frozenset({Step.PREPARE, Step.COMMIT}),
    deque([1, 2]),
    SignerGuard(3, 0, 4, 1, 2, bytes(32), None, is_restored=True),
    Received("b", BENCH.propose(0, BLOCK, 2, (BENCH.change(1, 2, BENCH.certificate(Step.PREPARE, BLOCK, 1)),))),
    [Tick(pending=True), Now(1, 2), Tick(pending=False, waiting_ms=7)],
    [sign],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_graph_of_values_comes_back_equal_and_of_the_same_types(value: Any) -> None:  # noqa: ANN401
    found = through(value)
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value), "the order of entries and True apart from 1"


def test_graph_keeps_what_is_one_object_one_object() -> None:
    shared = [1]
    loop: list[Any] = [shared, shared]
    loop.append(loop)
    found = through(loop)
    assert found[0] is found[1]
    assert found[2] is found


def test_graph_method_of_an_object_in_it_belongs_to_that_object() -> None:
    guard = SignerGuard()
    found_guard, method = through((guard, guard.encode))
    assert method.__self__ is found_guard
    assert method() == guard.encode()


def test_graph_expanded_is_the_same_for_equal_values_whatever_is_one_object() -> None:
    one, other = (1, Now(2, 3)), (1, Now(2, 3))
    assert Encoder().encode((one, one)) != Encoder().encode((one, other))
    expanded = [Encoder(is_expanded=True).encode(value) for value in ((one, one), (one, other))]
    assert expanded[0] == expanded[1]
    assert expanded[0] != Encoder(is_expanded=True).encode((one, (1, Now(2, 4))))


def test_graph_folded_class_stands_as_what_it_is_folded_to() -> None:
    encoder = Encoder(folded={Block: lambda block: block.header.digest()})
    classes, rows = encoder.encode([BLOCK])
    assert Decoder().decode(classes, rows) == [BLOCK.header.digest()]


def test_graph_names_a_class_once() -> None:
    encoder, decoder = Encoder(), Decoder()
    first, second = encoder.encode([Now(1, 2)]), encoder.encode([Now(3, 4)])
    assert (len(first[0]), second[0]) == (1, [])  # type: ignore[arg-type]
    assert [decoder.decode(*value) for value in (first, second)] == [[Now(1, 2)], [Now(3, 4)]]


@pytest.mark.parametrize("value", [1.5, lambda: None, object(), Bench], ids=["float", "lambda", "object", "class"])
def test_graph_of_something_without_a_place_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="has no place"):
        Encoder().encode([value])


@pytest.mark.parametrize(
    ("classes", "rows", "reason"),
    [
        ([], [], "out of range"),
        ([], [7], "array"),
        ([], [[99]], "99"),
        ([], [[0, [5]]], "out of range"),
        ([], [[1, [0]]], "recursion"),
        ([], [[2, "a"]], "shorter"),
        ([], [[9, "other"]], "other"),
        ([], [[7, 3]], "out of range"),
        ([["os:environ"]], [[7, 0]], "no class of the core"),
        ([["master.engine:Engine"]], [[7, 0]], "no class of the core"),
        ([["master.consensus.events:Nothing"]], [[7, 0]], "no class of this version"),
        ([["master.consensus.events:Now", "wall_ms"]], [[7, 0, 1]], "other fields"),
        ([["master.consensus.events:Now", "wall_ms", "monotonic_ms"]], [[7, 0, 1]], "shorter"),
        ([["wire.certificate:Step"]], [[6, 0, "NONSENSE"]], "NONSENSE"),
        (7, [], "array"),
    ],
)
def test_graph_that_no_encoder_wrote_is_refused(classes: object, rows: object, reason: str) -> None:
    with pytest.raises(JournalError, match=reason):
        Decoder().decode(classes, rows)
