from __future__ import annotations

import pytest

from rules.items.compare import compare, item_name, item_sentence
from rules.items.table import read_items

HEADING = "number,name,value,unit,min,max\n"
ONE = "17,UFLS stage 1 frequency,49.00,Hz,45.00,49.50\n"
TWO = "18,UFLS stage 1 delay,0.15,s,0.05,10.00\n"


def said(expected: str, read: str, kind: str = "settings") -> list[str]:
    changes = compare(read_items(expected.encode()), read_items(read.encode()))
    return [item_sentence(kind, change) for change in changes]


@pytest.mark.parametrize(
    ("read", "sentences"),
    [
        (ONE + TWO, []),
        (TWO + ONE, []),
        (ONE.replace("49.00", "48.50") + TWO, ["setting 17 UFLS stage 1 frequency: 49.00 Hz expected, 48.50 Hz read"]),
        (
            ONE.replace("49.00", "49.0") + TWO,
            ["setting 17 UFLS stage 1 frequency: 49.00 Hz expected, 49.0 Hz read (the same number)"],
        ),
        (
            ONE.replace("49.00,Hz", ",mHz") + TWO,
            ["setting 17 UFLS stage 1 frequency: 49.00 expected, nothing read; unit Hz expected, mHz read"],
        ),
        (
            ONE.replace("45.00,49.50", "40.00,50.00") + TWO,
            ["setting 17 UFLS stage 1 frequency: min 45.00 expected, 40.00 read; max 49.50 expected, 50.00 read"],
        ),
        (
            ONE + TWO.replace("delay", "Delay"),
            ["setting 18 UFLS stage 1 delay: name UFLS stage 1 delay expected, UFLS stage 1 Delay read"],
        ),
        (ONE, ["setting 18 UFLS stage 1 delay: is missing"]),
        (ONE + TWO + "19,,1,,0,2\n", ["setting 19: is not expected"]),
    ],
)
def test_compare_names_every_item_that_differs_and_how(read: str, sentences: list[str]) -> None:
    assert said(HEADING + ONE + TWO, HEADING + read) == sentences


def test_compare_names_rows_of_a_strategy_table() -> None:
    heading = "row,fault_code,shed_load_mw\n"
    assert said(f"{heading}1,F011,F07:12;F09:4\n", f"{heading}1,F011,F07:14;F09:4\n", "strategy") == [
        "row 1: shed_load_mw F07:12;F09:4 expected, F07:14;F09:4 read"
    ]


def test_compare_of_columns_that_differ_names_them() -> None:
    (change,) = compare(read_items(b"number,value\n1,2\n"), read_items(b"number,value,more\n1,2,3\n"))
    assert item_sentence("firmware", change) == "item 1: more nothing expected, 3 read"
    (change,) = compare(read_items(b"number,a,b\n1,2,3\n"), read_items(b"number,b,a\n1,3,2\n"))
    assert item_sentence("settings", change) == "setting 1: its cells stand in another order"


def test_compare_of_a_head_says_so() -> None:
    (change,) = compare(read_items(b"<l rev='1'><s v='1'/></l>"), read_items(b"<l rev='2'><s v='1'/></l>"))
    assert item_name("settings", change) == "head of the file"
    assert item_sentence("settings", change) == "head of the file: rev 1 expected, 2 read"


def test_name_of_an_item_tells_no_value() -> None:
    (change,) = compare(
        read_items((HEADING + ONE).encode()), read_items((HEADING + ONE.replace("49.00", "48.50")).encode())
    )
    assert item_name("settings", change) == "setting 17 UFLS stage 1 frequency"
