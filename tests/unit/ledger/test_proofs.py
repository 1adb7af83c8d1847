from __future__ import annotations

import pytest

from master.ledger.proofs import inclusion_paths
from wire.merkle import EMPTY_HEAD, inclusion_path, leaf_digest, tree_head, verify_inclusion


@pytest.mark.parametrize("count", [*range(1, 18), 100])
def test_inclusion_paths_are_those_of_the_rfc(count: int) -> None:
    leaves = [bytes((number,)) for number in range(count)]
    digests = [leaf_digest(leaf) for leaf in leaves]
    head, paths = inclusion_paths(digests)
    assert head == tree_head(leaves)
    for index, leaf in enumerate(leaves):
        assert paths[index] == inclusion_path(digests, index)
        verify_inclusion(leaf, index, count, paths[index], head)


def test_inclusion_paths_of_no_leaves_are_none() -> None:
    assert inclusion_paths([]) == (EMPTY_HEAD, ())
