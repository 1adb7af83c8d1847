"""The contracts of this software, by name and version. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Final

from master.contracts.access import ACCESS
from master.contracts.consistency import CONSISTENCY
from master.contracts.context import Contract
from master.contracts.governance import GOVERNANCE
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

_SHARED: Final = (
    "master.contracts.context",
    "master.contracts.membership",
    "master.contracts.membership_decisions",
    "master.contracts.parameters",
)
"""Modules that every contract stands on."""

_ALL: Final = (
    ACCESS,
    CONSISTENCY,
    GOVERNANCE,
    MEMBERSHIP,
    MODELS,
    NOTARY,
    ORDERS,
    REFERENCES,
    VALIDATORS,
)

CONTRACTS: Final[Mapping[tuple[str, int], Contract]] = {(entry.name, entry.version): entry for entry in _ALL}


@dataclass(frozen=True, slots=True)
class Software:
    """The contract versions that a program can run, with the digests of their code."""

    contracts: Mapping[tuple[str, int], Contract]
    digests: Mapping[tuple[str, int], Digest]

    def newest(self) -> tuple[CodeEntry, ...]:
        """Return name, version and digest of the newest version of every contract, sorted: what a new ledger runs."""
        newest = dict(sorted(self.digests))
        return tuple(CodeEntry(name, version, self.digests[name, version]) for name, version in sorted(newest.items()))

    def everything(self) -> tuple[CodeEntry, ...]:
        """Return name, version and digest of every contract version, sorted."""
        return tuple(CodeEntry(*key, digest) for key, digest in sorted(self.digests.items()))

    def lack(self, entries: Iterable[CodeEntry]) -> str | None:
        """Return in words which of these versions it does not have, or has with other code; None: it has all."""
        for entry in entries:
            digest = self.digests.get((entry.name, entry.version))
            if digest is None:
                return f"contract {entry.name} version {entry.version}, which this software does not have"
            if digest != entry.digest:
                return (
                    f"contract {entry.name} version {entry.version} with the code {entry.digest.hex()[:16]}, "
                    f"which this software has with the code {digest.hex()[:16]}"
                )
        return None


def software_of(contracts: Iterable[Contract]) -> Software:
    """Return what runs these contracts.

    The digests cover the source of each contract's modules, of the rules that it calls and of what all contracts share,
    with line ends as they are in the repository.
    """
    table = {(entry.name, entry.version): entry for entry in contracts}
    return Software(table, {key: _code_digest(contract) for key, contract in table.items()})


@cache
def own_software() -> Software:
    """Return what this program can run."""
    return software_of(CONTRACTS.values())


def code_table() -> tuple[CodeEntry, ...]:
    """Return name, version and digest of the newest version of every contract: what goes into a genesis file."""
    return own_software().newest()


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
