"""The views of this node. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from master.views import access, consistency, faults, governance, members, models, orders, references, validators
from master.views.schema import Table, View

VIEWS: Final[Mapping[str, View]] = {
    view.contract: view
    for view in (
        access.VIEW,
        consistency.VIEW,
        faults.VIEW,
        governance.VIEW,
        members.VIEW,
        models.VIEW,
        orders.VIEW,
        references.VIEW,
        validators.VIEW,
    )
}
"""View by the contract whose events it folds."""

TABLES: Final[Mapping[str, Table]] = {table.name: table for view in VIEWS.values() for table in view.tables}
"""Every table by its name."""

VERSION: Final = 4
"""Raised by hand whenever a fold yields other rows than before; tables are then rebuilt."""
