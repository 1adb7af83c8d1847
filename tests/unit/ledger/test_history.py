from __future__ import annotations

import pytest

from master.ledger.history import completed_nodes, consistency_path, frontier_at, inclusion_path, older_nodes
from wire import merkle
from wire.merkle import Frontier, leaf_digest
from wire.types import Digest

SIZES = [*range(1, 18), 33]


def leaves_of(size: int) -> list[Digest]:
    return [leaf_digest(bytes((number,))) for number in range(size)]


def grown(size: int) -> dict[tuple[int, int], Digest]:
    nodes: dict[tuple[int, int], Digest] = {}
    frontier = Frontier()
    for digest in leaves_of(size):
        for level, index, node in completed_nodes(frontier, digest):
            assert (level, index) not in nodes
            nodes[level, index] = node
        frontier.append(digest)
    return nodes


@pytest.mark.parametrize("size", SIZES)
def test_history_paths_are_those_of_the_rfc(size: int) -> None:
    nodes, leaves = grown(40), leaves_of(size)
    for index in range(size):
        assert inclusion_path(index, size, lambda *at: nodes[at]) == merkle.inclusion_path(leaves, index)
    for first in range(1, size + 1):
        assert consistency_path(first, size, lambda *at: nodes[at]) == merkle.consistency_path(leaves, first)


def test_history_nodes_are_two_a_leaf_at_most() -> None:
    assert len(grown(33)) == 33 + 16 + 8 + 4 + 2 + 1


@pytest.mark.parametrize("size", SIZES)
def test_history_frontier_of_any_size_is_found_among_the_nodes(size: int) -> None:
    nodes, frontier = grown(40), Frontier()
    for digest in leaves_of(size):
        frontier.append(digest)
    assert frontier_at(size, lambda *at: nodes[at]).edge == frontier.edge


# holds SN-9
@pytest.mark.parametrize("size", SIZES)
def test_history_filled_in_from_its_end_has_the_same_nodes(size: int) -> None:
    expected, leaves = grown(size), leaves_of(size)
    found: dict[tuple[int, int], Digest] = {}
    for index in reversed(range(size)):
        for level, place, node in older_nodes(index, leaves[index], size, lambda *at: found[at]):
            assert (level, place) not in found
            found[level, place] = node
    assert found == expected


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_history_path_of_no_leaf_is_an_error(index: int, size: int) -> None:
    with pytest.raises(IndexError):
        inclusion_path(index, size, lambda *_: b"")


@pytest.mark.parametrize(("first", "size"), [(0, 3), (4, 3)])
def test_history_prefix_that_is_none_is_an_error(first: int, size: int) -> None:
    with pytest.raises(IndexError):
        consistency_path(first, size, lambda *_: b"")
