"""The tree over items, salted, so that nobody can find out a value by trying (IT-9)."""

from __future__ import annotations

import hmac
from typing import Final

from rules.items.model import ItemList, NumberedItem
from wire.merkle import tree_head
from wire.release import Items
from wire.types import Digest

SALT_BYTES: Final = 32


def salted_leaf(salt: bytes, item: NumberedItem) -> Digest:
    """Return the leaf of one item: HMAC-SHA-256 of its canonical bytes under the release's salt."""
    return hmac.digest(salt, item.encode(), "sha256")


def items_of(found: ItemList, salt: bytes) -> Items:
    """Return what a release says of a file's items.

    Args:
        found: The items.
        salt: 32 random bytes, of this release alone.
    """
    root = tree_head(salted_leaf(salt, item) for item in found.items)
    return Items(found.format, len(found.items), root)
