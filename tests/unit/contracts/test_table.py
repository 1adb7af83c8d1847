from __future__ import annotations

import pytest

from master.contracts import table
from master.contracts.context import Contract
from master.contracts.table import CONTRACTS, check_code_table, code_table
from wire.errors import FormatError
from wire.types import check_identifier


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_contract_of_the_table_is_complete(contract: Contract) -> None:
    assert CONTRACTS[contract.name, contract.version] is contract
    assert contract.methods
    for name in (contract.name, *contract.methods):
        check_identifier(name, "contract")
    assert list(contract.modules) == sorted(set(contract.modules))
    for method in (*contract.methods.values(), *contract.reactions.values()):
        assert method.__module__ in contract.modules
    for name, _ in contract.reactions:
        assert name in {other.name for other in CONTRACTS.values()}


def test_code_table_has_every_contract_and_is_accepted() -> None:
    entries = code_table()
    assert [(entry.name, entry.version) for entry in entries] == sorted(CONTRACTS)
    assert len({entry.digest for entry in entries}) == len(entries)
    check_code_table(entries)


def test_code_table_changes_with_the_source_of_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    before = table._code_digest(CONTRACTS["consistency", 1])
    real = table._source

    def changed(module: str) -> str:
        return real(module) + ("# one comment more\n" if module == "rules.appraisal" else "")

    monkeypatch.setattr(table, "_source", changed)
    assert table._code_digest(CONTRACTS["consistency", 1]) != before


@pytest.mark.parametrize("module", ["master.contracts.nowhere", "sys"])
def test_code_table_over_a_module_without_source_is_refused(module: str) -> None:
    with pytest.raises(FormatError, match=f"the source of {module} is not installed"):
        table._code_digest(Contract("x", 1, {}, {}, (module,)))
