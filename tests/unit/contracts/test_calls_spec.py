"""What the spec says of calls is what the contracts and the node do."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from unittest.mock import MagicMock

import pytest

import master.contracts
from master.contracts.context import Refused, check_arguments
from master.contracts.table import CONTRACTS
from master.node import DETAILS, HTTP_STATUS
from wire.cbor import Value

TEXT = (Path(__file__).parents[3] / "docs" / "spec" / "calls.md").read_text(encoding="utf-8")
CALLS = {
    (contract, method): []
    if fields.strip() == "none"
    else re.findall(r"\(?([a-z_]+)\)?(?::[^,|]*)?(?:, |$)", fields.strip())
    for contract, method, fields in re.findall(r"^\| ([a-z]+)\.([a-z-]+) \| ([^|]+) \|", TEXT, re.MULTILINE)
}
WITH_A_CODE_OF_THEIR_OWN = {"malformed": 400, "other-data-centre": 421, "not-ready": 503}
"""Codes beside those of the two tables, and their statuses."""


class Asked(Exception):  # noqa: N818 - an answer
    """A contract named the fields that it takes."""


def tell(_args: object, names: tuple[str, ...], *_: object) -> None:
    raise Asked(sorted(names))


# holds CA-1
def test_calls_have_the_fields_that_the_spec_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in pkgutil.iter_modules(master.contracts.__path__):
        module = importlib.import_module(f"master.contracts.{found.name}")
        for name in {"Fields", "check_arguments"} & set(vars(module)):
            monkeypatch.setattr(module, name, tell)
    context = MagicMock()
    context.sender = context.organisation
    taken = {}
    for (contract, _), entry in CONTRACTS.items():
        for name, method in entry.methods.items():
            with pytest.raises(Asked) as asked:
                method(context, {})
            (taken[contract, name],) = asked.value.args
    assert {call: sorted(fields) for call, fields in CALLS.items()} == taken


# holds CA-1
def test_call_with_other_fields_is_refused() -> None:
    check_arguments({"order": b""}, ("order",))
    wrong: tuple[dict[str, Value], ...] = ({}, {"order": b"", "x": 1}, {"orders": b""})
    for args in wrong:
        with pytest.raises(Refused, match="bad-args"):
            check_arguments(args, ("order",))


# holds CA-2
def test_codes_before_any_contract_are_those_of_the_spec() -> None:
    told = {code: int(status) for code, status in re.findall(r"^\| ([a-z-]+) \| (\d{3}) \|", TEXT, re.MULTILINE)}
    known = {code: HTTP_STATUS.get(code, 400) for code in {*DETAILS, *HTTP_STATUS}}
    assert told == {**known, **WITH_A_CODE_OF_THEIR_OWN}
