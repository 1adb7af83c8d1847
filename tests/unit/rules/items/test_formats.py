from __future__ import annotations

import pytest

from rules.items.model import (
    CELLS_MAX,
    CONTENT_BYTES_MAX,
    LIST_BYTES_MAX,
    LIST_CELLS_MAX,
    TEXT_CHARACTERS_MAX,
    Cell,
    ItemList,
    ItemsError,
    NumberedItem,
)
from rules.items.table import FORMATS, read_items, read_items_as
from rules.items.xml_list import DEPTH_MAX, ELEMENTS_MAX
from wire.release import ITEMS_MAX

SETTINGS = b"""number,name,value,unit,min,max
17,UFLS stage 1 frequency,49.00,Hz,45.00,49.50
18,"UFLS stage 1, delay",0.15,s,0.05,10.00
"""
STAGE = NumberedItem(
    17,
    "UFLS stage 1 frequency",
    (Cell("value", "49.00"), Cell("unit", "Hz"), Cell("min", "45.00"), Cell("max", "49.50")),
)


def texts(found: ItemList) -> list[tuple[int, str, list[tuple[str, str]]]]:
    return [(item.number, item.label, [(cell.column, cell.text) for cell in item.cells]) for item in found.items]


def refused(name: str, content: bytes | str, reason: str) -> None:
    with pytest.raises(ItemsError, match=reason):
        read_items_as(name, content if isinstance(content, bytes) else content.encode())


# --- all formats


# holds IT-8
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (SETTINGS, "csv"),
        (b"\xef\xbb\xbf" + SETTINGS, "csv"),
        (b"ab,c\n1,2\n", "csv"),
        (b"<list><s number='1' value='2'/></list>", "xml"),
        (b"\xef\xbb\xbf \r\n\t<list><s number='1' value='2'/></list>", "xml"),
    ],
)
def test_format_is_chosen_by_the_first_bytes(content: bytes, name: str) -> None:
    assert read_items(content).format == name


# holds IT-8
def test_format_that_is_not_known_or_content_that_is_too_long_is_refused() -> None:
    refused("toml", b"", "the format toml is not known here")
    line = b"1,2\n"
    most = b"a,b\n" + line * ((CONTENT_BYTES_MAX - 4) // 4)
    assert len(most) == CONTENT_BYTES_MAX
    for name in FORMATS:
        refused(name, most + b"\n", "more than 262144 bytes are not looked into")
    refused("csv", most, "more than 4096 items")


# holds IT-8
@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF\x00\x01\x02", b"\xff\xfe<\x00a\x00\x3e", b"plain text\nof lines", b"<"]
)
@pytest.mark.parametrize("name", list(FORMATS))
def test_format_refuses_what_is_of_none(name: str, content: bytes) -> None:
    refused(name, content, ".")


# holds IT-4
@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (("17", "18"), [17, 18]),
        (("18", "17"), [17, 18]),
        (("1", "4294967295"), [1, 4_294_967_295]),
        (("1", "4294967296"), [1, 2]),
        (("1", "42949672950"), [1, 2]),
        (("1", "1"), [1, 2]),
        (("01", "2"), [1, 2]),
        (("0", "7"), [1, 2]),
        (("5", ""), [1, 2]),
        (("5", "\u0667"), [1, 2]),
        (("5", "-6"), [1, 2]),
    ],
)
def test_items_have_their_own_numbers_if_every_one_has_one(numbers: tuple[str, str], expected: list[int]) -> None:
    found = read_items(f"No,value\n{numbers[0]},a\n{numbers[1]},b\n".encode())
    assert [item.number for item in found.items] == expected
    # plain blanks around a name do not count; what else is blank, Python's tables alone say
    assert read_items(b" NO ,value\n5,a\n6,b\n").items[0].number == 5
    assert read_items("No\u00a0,value\n5,a\n6,b\n".encode()).items[0].number == 1
    # a text that is no number is not lost
    own = [item.cells[0].text for item in found.items if item.cells[0].column == "No"]
    assert own == (list(numbers) if expected == [1, 2] else [])


# holds IT-4
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"a,b\n1,{'x' * (TEXT_CHARACTERS_MAX + 1)}\n", "item 1 holds a text of more than 256 characters"),
        ("a,b\n1,x\x1by\n", "item 1 holds a control character"),
        ("a,b\n1,x\u202ey\n", "item 1 holds a control character or one that is not seen"),
        ('a,b\n1,"x\ny"\n', "item 1 holds a control character"),
        ("a,b\n1,e\u0301\n", "item 1: text is not in Unicode normal form NFC"),
        ("a,b\n1,\u0378\n", r"item 1: text holds the code point U\+0378"),
        ("a,b\n" + "1,x\n" * (ITEMS_MAX + 1), "more than 4096 items"),
        ("a,b\n", "there are no items"),
        (
            ",".join(f"c{place}" for place in range(CELLS_MAX))
            + "\n"
            + ("," * (CELLS_MAX - 1) + "\n") * (LIST_CELLS_MAX // CELLS_MAX + 1),
            "the items have more than 65536 cells",
        ),
        (
            ",".join(f"{place:0256}" for place in range(CELLS_MAX))
            + "\n"
            + ("," * (CELLS_MAX - 1) + "\n") * (LIST_BYTES_MAX // (256 * CELLS_MAX) + 1),
            "the texts of all items have more than 1048576 bytes",
        ),
    ],
)
def test_items_that_are_too_much_or_cannot_be_shown_are_refused(content: str, reason: str) -> None:
    refused("csv", content, reason)


# holds IT-4
@pytest.mark.parametrize(
    ("text", "unscaled", "decimals"),
    [
        ("49.00", 4900, 2),
        ("-0.5", -5, 1),
        ("+7", 7, 0),
        ("007", 7, 0),
        ("0", 0, 0),
        ("9" * 18 + "." + "9" * 18, int("9" * 36), 18),
    ],
)
def test_cell_of_a_decimal_has_its_scaled_integer(text: str, unscaled: int, decimals: int) -> None:
    scaled = Cell("value", text).scaled()
    assert scaled is not None
    assert (scaled.unscaled, scaled.decimals) == (unscaled, decimals)


# holds IT-4
@pytest.mark.parametrize("text", ["", "49,00", "1e3", ".5", "5.", "0x10", "9" * 19, " 5", "\u0665", "nan", "1_000"])
def test_cell_of_anything_else_has_none(text: str) -> None:
    assert Cell("value", text).scaled() is None


# --- CSV


# holds IT-5
def test_csv_lines_are_items_and_texts_stay_exact() -> None:
    found = read_items(SETTINGS)
    assert found.items[0] == STAGE
    assert texts(found)[1] == (
        18,
        "UFLS stage 1, delay",
        [("value", "0.15"), ("unit", "s"), ("min", "0.05"), ("max", "10.00")],
    )


# holds IT-5
@pytest.mark.parametrize(
    "content",
    [
        SETTINGS.replace(b"\n", b"\r\n"),
        SETTINGS.replace(b"\n17", b"\n\n17"),
        SETTINGS.rstrip(),
        SETTINGS.replace(b"Hz", b'"Hz"'),
        b"\xef\xbb\xbf" + SETTINGS,
        SETTINGS.replace(b'"', b"").replace(b",", b";").replace(b"1; delay", b"1, delay"),
        SETTINGS.replace(b'"UFLS stage 1, delay"', b"UFLS stage 1: delay").replace(b",", b"\t").replace(b": d", b", d"),
        # lines in another order
        SETTINGS.splitlines(keepends=True)[0] + b"".join(reversed(SETTINGS.splitlines(keepends=True)[1:])),
    ],
)
def test_csv_written_otherwise_holds_the_same_items(content: bytes) -> None:
    assert read_items(content) == read_items(SETTINGS)


# holds IT-5
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a,b\n\xff,1\n", "byte 4 is no UTF-8"),
        (b"alone\n1\n", "line 1 is no heading of 2..64 names"),
        (b"a,,c\n1,2,3\n", "line 1 is no heading"),
        (b",".join(b"c%d" % place for place in range(CELLS_MAX + 1)) + b"\n", "line 1 is no heading"),
        (b"a,a\n1,2\n", "line 1 names a column twice"),
        (b"a,b\n1,2,3\n", "line 2 has 3 fields where 2 are due"),
        (b"a,b\n1\n", "line 2 has 1 fields where 2 are due"),
        (b'a,b\n1,"x" y\n', "line 2: "),
        (b'a,b\n1,"x', "line 2: "),
    ],
)
def test_csv_that_is_none_is_refused_with_its_line(content: bytes, reason: str) -> None:
    refused("csv", content, reason)


# --- XML

XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<settings device="sps-1">
  <!-- frequency -->
  <setting number="17" name="UFLS stage 1 frequency" value="49.00" unit="Hz" min="45.00" max="49.50"/>
  <setting><number>18</number><name>UFLS stage 1, delay</name><value> 0.15 </value></setting>
</settings>
"""


# holds IT-6
def test_xml_elements_are_items_and_the_outermost_is_the_head() -> None:
    assert texts(read_items(XML)) == [
        (0, "", [("device", "sps-1")]),
        (
            17,
            "UFLS stage 1 frequency",
            [("/", "settings/setting"), ("value", "49.00"), ("unit", "Hz"), ("min", "45.00"), ("max", "49.50")],
        ),
        (18, "UFLS stage 1, delay", [("/", "settings/setting"), ("value", "0.15")]),
    ]


# holds IT-6
def test_xml_places_tell_groups_apart_and_cells_of_one_name_too() -> None:
    content = b"<l><g><s id='2'>a <b/>\n c</s></g><g><s id='1'><v>1</v><v>2</v></s></g><g/><n/></l>"
    assert texts(read_items(content)) == [
        (0, "", [("g", ""), ("n", "")]),
        (1, "", [("/", "l/g[2]/s"), ("v", "1"), ("v[2]", "2")]),
        (2, "", [("/", "l/g/s"), ("b", ""), ("text", "a c")]),
    ]


# holds IT-6
def test_xml_of_cells_alone_has_an_item_for_each() -> None:
    assert texts(read_items(b"<s rev='3'><ufls1>49.00</ufls1><ufls2>48.80</ufls2></s>")) == [
        (1, "rev", [("value", "3")]),
        (2, "ufls1", [("value", "49.00")]),
        (3, "ufls2", [("value", "48.80")]),
    ]
    assert texts(read_items(b"<s>alone</s>")) == [(1, "text", [("value", "alone")])]


BOMB = b"""<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><l><s v="&b;"/></l>"""
OUTSIDE = b"""<!DOCTYPE l [<!ENTITY f SYSTEM "file:///etc/hostname">]><l><s>&f;</s></l>"""


# holds IT-6
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB, "a document type is refused"),
        (OUTSIDE, "a document type is refused"),
        (b"<!DOCTYPE l SYSTEM 'l.dtd'><l><s v='1'/></l>", "a document type is refused"),
        (b"<!DOCTYPE l><l><s v='1'/></l>", "a document type is refused"),
        (b"<l><s v='&a;'/></l>", "line 1: undefined entity"),
        (b"<l><s v='1'></l>", "line 1: mismatched tag"),
        (b"<l>\n<s v='1' v='2'/></l>", "line 2: duplicate attribute"),
        (b"<l/><l/>", "line 1: junk after document element"),
        (b"<l/>", "there are no items"),
        (b"<?xml version='1.0' encoding='latin-1'?><l><s v='1'/></l>", "not in UTF-8"),
        ("<?xml version='1.0' encoding='utf-16'?><l><s v='1'/></l>".encode("utf-16"), "no UTF-8"),
        (b"<l><s v='\xe4'/></l>", "no UTF-8"),
        (b"<a>" * (DEPTH_MAX + 1), "or more than 16 inside one another"),
        (b"<l>" + b"<s/>" * ELEMENTS_MAX, "more than 32768 elements"),
        (b"<l><" + b"x" * 255 + b" v='1'/></l>", "have more than 256 characters"),
        (b"<l>" + b"<s v='1'/>" * (ITEMS_MAX + 1) + b"</l>", "more than 4096 items"),
        (b"<l><s " + b" ".join(b"a%d=''" % place for place in range(CELLS_MAX)) + b"/></l>", "more than 64 cells"),
        (b"<l><s v='&#27;'/></l>", "line 1: reference to invalid character"),
        (b"<l><s v='&#10;'/></l>", "item 1 holds a control character"),
    ],
)
def test_xml_that_is_hostile_or_none_is_refused(content: bytes, reason: str) -> None:
    refused("xml", content, reason)


# --- registers


# holds IT-7
def test_registers_are_items_in_their_order() -> None:
    assert texts(read_items_as("registers", b"\x00\x07\x13\x24\xff\xff")) == [
        (1, "", [("value", "7")]),
        (2, "", [("value", "4900")]),
        (3, "", [("value", "65535")]),
    ]
    assert len(read_items_as("registers", bytes(2 * ITEMS_MAX)).items) == ITEMS_MAX


# holds IT-7
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "there are no items"),
        (b"\x00\x07\x13", "3 bytes are no whole registers"),
        (bytes(2 * ITEMS_MAX + 2), "more than 4096 registers"),
    ],
)
def test_registers_that_are_none_are_refused(content: bytes, reason: str) -> None:
    refused("registers", content, reason)
