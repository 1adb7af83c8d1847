from __future__ import annotations

from dataclasses import replace

import pytest

from master.contracts import table
from master.contracts.context import Contract
from master.contracts.table import CONTRACTS, code_table, own_software, software_of
from tests.unit.contracts.notary2 import NOTARY_2
from wire.errors import FormatError
from wire.types import check_identifier


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_contract_of_the_table_is_complete(contract: Contract) -> None:
    assert CONTRACTS[contract.name, contract.version] is contract
    assert contract.methods or contract.reactions
    assert contract.takes(contract.version)
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
    assert own_software().lack(entries) is None
    assert own_software().everything() == entries


def test_software_with_two_versions_begins_new_ledgers_with_the_newer_and_tells_what_it_lacks() -> None:
    two = software_of((*CONTRACTS.values(), NOTARY_2))
    assert [entry.version for entry in two.newest() if entry.name == "notary"] == [2]
    assert [entry.version for entry in two.everything() if entry.name == "notary"] == [1, 2]
    assert two.lack(two.everything()) is None
    (second,) = (entry for entry in two.newest() if entry.name == "notary")
    own = own_software()
    assert own.lack([second]) == "contract notary version 2, which this software does not have"
    other = replace(own.newest()[0], digest=bytes(32))
    assert f"contract {other.name} version 1 with the code 0000000000000000, which" in str(own.lack([other]))


# holds GV-7
def test_contract_takes_calls_of_its_own_version_and_of_those_it_says_it_speaks() -> None:
    assert [NOTARY_2.takes(version) for version in (0, 1, 2, 3)] == [False, True, True, False]
    assert [replace(NOTARY_2, speaks_from=None).takes(version) for version in (1, 2)] == [False, True]


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
