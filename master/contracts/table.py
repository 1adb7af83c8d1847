"""The contracts of this software, by name and version. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Final

from master.contracts.access import ACCESS
from master.contracts.consistency import CONSISTENCY
from master.contracts.context import Contract
from master.contracts.members import MEMBERSHIP
from master.contracts.models import MODELS
from master.contracts.notary import NOTARY
from master.contracts.orders import ORDERS
from master.contracts.references import REFERENCES
from master.contracts.validators import VALIDATORS
from wire import cbor
from wire.errors import FormatError
from wire.genesis import CodeEntry
from wire.types import Digest, sha256

_SHARED: Final = ("master.contracts.context", "master.contracts.membership", "master.contracts.parameters")
"""Modules that every contract stands on."""

_ALL: Final = (
    ACCESS,
    CONSISTENCY,
    MEMBERSHIP,
    MODELS,
    NOTARY,
    ORDERS,
    REFERENCES,
    VALIDATORS,
)

CONTRACTS: Final[Mapping[tuple[str, int], Contract]] = {(entry.name, entry.version): entry for entry in _ALL}


@cache
def code_table() -> tuple[CodeEntry, ...]:
    """Return name, version and digest of every contract, sorted: what goes into a genesis file.

    The digest covers the source of the contract's modules, of the rules that it calls and of what all contracts share,
    with line ends as they are in the repository.
    """
    return tuple(
        CodeEntry(name, version, _code_digest(CONTRACTS[name, version])) for name, version in sorted(CONTRACTS)
    )


def check_code_table(entries: Iterable[CodeEntry]) -> None:
    """Refuse contracts that this software does not have, or has with other code.

    Raises:
        FormatError: Names the contract.
    """
    own = {(entry.name, entry.version): entry.digest for entry in code_table()}
    for entry in entries:
        digest = own.get((entry.name, entry.version))
        if digest is None:
            raise FormatError(f"code table: this software has no contract {entry.name} version {entry.version}")
        if digest != entry.digest:
            raise FormatError(
                f"code table: contract {entry.name} version {entry.version} has the code {digest.hex()[:16]} here, "
                f"{entry.digest.hex()[:16]} is due"
            )


def _code_digest(contract: Contract) -> Digest:
    modules = sorted({*_SHARED, *contract.modules})
    return sha256(cbor.encode([[module, sha256(_source(module).encode())] for module in modules]))


def _source(module: str) -> str:
    spec = find_spec(module)
    source: str | None = None
    if spec is not None and spec.loader is not None and hasattr(spec.loader, "get_source"):
        source = spec.loader.get_source(module)
    if source is None:
        raise FormatError(f"code table: the source of {module} is not installed")
    return source
