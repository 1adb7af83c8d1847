"""Setting lists of every form: what is written is read, and whatever one changes is named."""

from __future__ import annotations

import csv
import io
import string
from dataclasses import replace
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.items.compare import compare, item_name, item_sentence
from rules.items.model import Cell, ItemList, ItemsError, NumberedItem
from rules.items.root import items_of
from rules.items.table import FORMATS, read_items, read_items_as

pytestmark = pytest.mark.property

SALT = bytes(range(32))
TEXT = st.text(string.ascii_letters + string.digits + " .,;<>&'\"/-\u00e4\u4e2d", max_size=12)
COLUMNS = ("value", "unit", "min", "max")
ROW = st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT)
TABLE = st.dictionaries(st.integers(1, 2**32 - 1), ROW, min_size=1, max_size=8)
Table = dict[int, tuple[str, ...]]


def listed(format_name: str, table: Table) -> ItemList:
    return ItemList(
        format_name,
        tuple(
            NumberedItem(number, row[0], tuple(map(Cell, COLUMNS, row[1:]))) for number, row in sorted(table.items())
        ),
    )


def as_csv(table: Table, delimiter: str = ",") -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(("number", "name", *COLUMNS))
    writer.writerows((number, *row) for number, row in table.items())
    return stream.getvalue().encode()


def as_xml(table: Table) -> bytes:
    names = ("name", *COLUMNS)
    rows = (
        f'<setting number="{number}"'
        + "".join(f" {name}={quoteattr(text)}" for name, text in zip(names, row, strict=True))
        + "/>"
        for number, row in table.items()
    )
    return f"<settings>{''.join(rows)}</settings>".encode()


@given(TABLE, st.sampled_from(",;\t"), st.randoms(use_true_random=False))
def test_csv_and_xml_of_one_table_hold_the_same_items_in_any_order(table: Table, delimiter: str, rng: object) -> None:
    assert hasattr(rng, "shuffle")
    numbers = list(table)
    rng.shuffle(numbers)
    shuffled = {number: table[number] for number in numbers}
    from_csv, from_xml = read_items(as_csv(shuffled, delimiter)), read_items(as_xml(shuffled))
    assert from_csv == listed("csv", table)
    place = Cell("/", "settings/setting")
    assert [replace(item, cells=item.cells[1:]) for item in from_xml.items] == list(from_csv.items)
    assert {item.cells[0] for item in from_xml.items} == {place}


@given(st.lists(st.integers(0, 65_535), min_size=1, max_size=50))
def test_registers_are_read_as_they_stand(registers: list[int]) -> None:
    found = read_items_as("registers", b"".join(value.to_bytes(2, "big") for value in registers))
    assert [(item.number, item.cells) for item in found.items] == [
        (place, (Cell("value", str(value)),)) for place, value in enumerate(registers, start=1)
    ]


# holds IT-9
@given(TABLE, st.data())
def test_any_one_changed_item_changes_the_root_and_is_named(table: Table, data: st.DataObject) -> None:
    number = data.draw(st.sampled_from(sorted(table)))
    place = data.draw(st.integers(0, 4))
    text = data.draw(TEXT.filter(lambda text: text != table[number][place]))
    row = (*table[number][:place], text, *table[number][place + 1 :])
    before, after = read_items(as_csv(table)), read_items(as_csv({**table, number: row}))
    assert items_of(before, SALT).root != items_of(after, SALT).root
    (change,) = compare(before, after)
    assert change.number == number
    assert [cell.column for cell in change.cells] == [("name", *COLUMNS)[place]]
    assert (change.cells[0].expected, change.cells[0].read) == (table[number][place], text)
    assert item_sentence("settings", change).startswith(item_name("settings", change))


@given(TABLE, st.data())
def test_an_item_that_is_gone_or_added_is_the_only_one_named(table: Table, data: st.DataObject) -> None:
    number = data.draw(st.integers(1, 2**32 - 1).filter(lambda number: number not in table))
    more = {**table, number: ("", "1", "", "", "")}
    few, many = read_items(as_csv(table)), read_items(as_csv(more))
    assert [(change.number, change.is_expected, change.is_read) for change in compare(few, many)] == [
        (number, False, True)
    ]
    assert [(change.number, change.is_expected, change.is_read) for change in compare(many, few)] == [
        (number, True, False)
    ]
    assert compare(many, many) == ()


@given(st.integers(-(10**20), 10**20), st.integers(0, 18), st.integers(0, 3))
def test_decimals_are_the_same_number_however_many_zeros_follow(unscaled: int, decimals: int, zeros: int) -> None:
    digits = str(abs(unscaled)).zfill(decimals + 1)
    sign = "-" if unscaled < 0 else ""
    text = f"{sign}{digits[: len(digits) - decimals]}.{digits[len(digits) - decimals :]}0"
    one, other = Cell("value", text).scaled(), Cell("value", text + "0" * zeros).scaled()
    if one is None or other is None:
        assert len(digits) - decimals > 18 or decimals + 1 + zeros > 18
        return
    assert one.equals(other)
    assert other.equals(one)
    assert not one.equals(replace(other, unscaled=other.unscaled + 1))


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_the_bytes_they_are_items_or_refused(name: str, content: bytes) -> None:
    try:
        found = read_items_as(name, content)
    except ItemsError:
        return
    assert found.items
    assert items_of(found, SALT).count == len(found.items)
