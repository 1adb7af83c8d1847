"""The rules of this software, by name and version. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rules.appraisal import appraise
from rules.fingerprint import fingerprint
from rules.items.table import read_items

Rule = Callable[..., object]

RULES: Final[Mapping[tuple[str, int], Rule]] = {
    ("appraisal", 1): appraise,
    ("fingerprint", 1): fingerprint,
    ("items", 1): read_items,
}
