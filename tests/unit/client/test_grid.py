"""Models of real grids: what is read from them, and what differs between two."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from client.grid import cgmes, files, model, pandapower
from client.grid.files import read_model_file
from client.grid.model import Change, GridModel, ModelError, difference, equipment_of, plain, voltages_of, volts
from client.grid.table import FORMATS, UNKNOWN, format_of, read_model
from client.grid.watch import Watch
from kit.exitcodes import DataError, UsageError

VECTORS = Path(__file__).parents[2] / "vectors" / "models"


def vector(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def read(content: bytes) -> GridModel:
    found = read_model(content)
    assert found is not None
    return found


def archive(**members: bytes) -> bytes:
    taken = io.BytesIO()
    with zipfile.ZipFile(taken, "w") as made:
        for name, content in members.items():
            made.writestr(name.replace("_", "."), content)
    return taken.getvalue()


RDF = (
    b'<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    b'xmlns:cim="http://iec.ch/TC57/2013/CIM-schema-cim16#">%s</rdf:RDF>'
)
LINE = b'<cim:ACLineSegment rdf:ID="_1"><cim:ACLineSegment.r>1.50</cim:ACLineSegment.r></cim:ACLineSegment>'


# holds MO-7
@pytest.mark.parametrize(
    ("name", "kind", "count", "voltages"),
    [
        ("case14.json", "line", 15, [208, 12_000, 14_000, 135_000]),
        ("case118.json", "line", 173, [138_000, 161_000, 345_000]),
        ("ieee14-cgmes.zip", "ACLineSegment", 17, [12_000, 14_000, 20_000, 135_000]),
    ],
)
def test_grid_of_a_real_model_has_its_equipment_and_voltage_levels(
    name: str, kind: str, count: int, voltages: list[int]
) -> None:
    found = read(vector(name))
    assert sum(one == kind for one, _ in found.pieces) == count
    assert voltages_of(found) == voltages


# holds MO-7
def test_grid_difference_of_real_models_names_equipment_and_parameters() -> None:
    assert difference(read(vector("case14.json")), read(vector("case14-changed.json"))) == (
        Change("line", "3", "changed", (("in_service", "true", "false"),)),
        Change("load", "2", "changed", (("p_mw", "47.799999999999997", "100.5"),)),
        Change("trafo", "0", "changed", (("tap_pos", "-1", "1"),)),
    )
    before, after = read(vector("ieee14-cgmes.zip")), read(vector("ieee14-cgmes-changed.zip"))
    assert difference(before, after) == (
        Change("ACLineSegment", "L1-2-1", "changed", (("ACLineSegment.r", "3.532005", "7.06401"),)),
        Change("EnergyConsumer", "B3-L", "changed", (("EnergyConsumer.p", "94.2", "33.3"),)),
    )
    assert {"ACLineSegment", "ACLineSegment/L1-2-1"} <= set(equipment_of(after, before))
    assert difference(after, after) == ()


# holds MO-7
def test_grid_difference_tells_what_was_added_and_removed() -> None:
    one = GridModel("x", {("line", "a"): {"r": "1"}, ("line", "b"): {"r": "1"}}, frozenset())
    two = GridModel("x", {("line", "b"): {"x": "2"}, ("bus", "c"): {}}, frozenset())
    assert difference(one, two) == (
        Change("bus", "c", "added", ()),
        Change("line", "a", "removed", (("r", "1", None),)),
        Change("line", "b", "changed", (("r", "1", None), ("x", None, "2"))),
    )


# holds MO-7
def test_grid_words_are_bounded_and_kinds_come_first() -> None:
    many = GridModel("x", {("line", f"{number:04}"): {} for number in range(400)}, frozenset(range(1, 100)))
    words = equipment_of(many, GridModel("x", {}, frozenset()))
    assert (len(words), words[0], words == sorted(set(words))) == (256, "line", True)
    assert equipment_of(many, None) == ["line"]
    assert equipment_of(many, GridModel("y", {}, frozenset())) == ["line"]
    assert voltages_of(many) == list(range(36, 100))
    long = GridModel("x", {("k" * 70, "n" * 70): {}}, frozenset())
    assert equipment_of(long, GridModel("x", {}, frozenset())) == ["k" * 64]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12", "12"), ("12.0", "12"), (" 1.2E1", "12"), ("-0.50", "-0.5"), ("NaN", "NaN"), ("a", "a"), ("1E+99", "1E+99")],
)
def test_grid_numbers_have_one_text(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("0.4", 400), ("", None), ("x", None), ("0", None), ("1E9", None)])
def test_grid_voltage_of_a_text(text: str, expected: int | None) -> None:
    assert volts(text) == expected


@pytest.mark.parametrize("content", [b"", b"text", b"{}", b"PK\x03\x04broken", b"<a/>", archive(notes_txt=b"x")])
def test_grid_of_an_unknown_format_is_not_understood(content: bytes) -> None:
    assert format_of(content) == UNKNOWN
    assert read_model(content) is None


@pytest.mark.parametrize("name", FORMATS)
def test_grid_format_recognises_its_own_alone(name: str) -> None:
    for path in VECTORS.iterdir():
        own = pandapower.NAME if path.suffix == ".json" else cgmes.NAME if path.suffix == ".zip" else UNKNOWN
        assert FORMATS[name].recognise(path.read_bytes()) == (name == own)


def net(**tables: object) -> bytes:
    return json.dumps({"_class": "pandapowerNet", "_object": tables}).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"_class": "pandapowerNet"', "no JSON"),
        (b'{"_class": "pandapowerNet", "x": "\xff"}', "no JSON"),
        (b'{"_class": "pandapowerNet", "_object": 5}', "holds no tables"),
        (b'{"_class": "pandapowerNet", "_object": ' + b"[" * 100_000 + b"}", "no JSON"),
        (net(bus={"_class": "DataFrame", "_object": "5"}), "bus is no JSON object"),
        (net(bus={"_class": "DataFrame", "_object": {}}), "no columns"),
        (net(bus={"_class": "DataFrame", "_object": {"columns": [], "index": [1], "data": []}}), "1 names for 0 rows"),
        (net(bus={"_class": "DataFrame", "_object": {"columns": ["a"], "index": [1], "data": [[]]}}), "another length"),
    ],
)
def test_grid_pandapower_damaged_is_refused(content: bytes, reason: str) -> None:
    assert pandapower.recognise(content)
    with pytest.raises(ModelError, match=reason):
        pandapower.parse(content)


def test_grid_pandapower_rows_are_called_by_their_names_where_no_two_share_one() -> None:
    frame = {"columns": ["name", "vn_kv", "geo"], "index": [0, 1], "data": [["a", 110, None], ["b", 20.5, [1]]]}
    found = pandapower.parse(net(bus={"_class": "DataFrame", "_object": frame}, res_bus=5, f_hz=50, note=None))
    assert found.pieces == {
        ("bus", "a"): {"name": "a", "vn_kv": "110"},
        ("bus", "b"): {"name": "b", "vn_kv": "20.5", "geo": "[1]"},
        ("network", "f_hz"): {"value": "50"},
    }
    assert found.voltages_v == {110_000, 20_500}
    frame["data"][1][0] = "a"  # type: ignore[index]
    again = pandapower.parse(net(bus={"_class": "DataFrame", "_object": frame}))
    assert set(again.pieces) == {("bus", "0"), ("bus", "1")}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (RDF % b"<cim:ACLineSegment>", "line 1"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]>' + RDF % b"", "document type"),
        (b"<a/>", "no RDF"),
        (RDF % b"<a><b><c><d/></c></b></a>", "no RDF"),
        (archive(a_xml=RDF % LINE)[:-30], "damaged"),
    ],
)
def test_grid_cgmes_damaged_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        cgmes.parse(content)


def test_grid_cgmes_profiles_are_put_together_by_identifier() -> None:
    state = (
        b'<cim:ACLineSegment rdf:about="#_1"><cim:Equipment.inService>true</cim:Equipment.inService>'
        b'<cim:x rdf:resource="#_2"/></cim:ACLineSegment><cim:SvVoltage rdf:ID="_9"><cim:v>1</cim:v></cim:SvVoltage>'
    )
    found = cgmes.parse(archive(a_xml=RDF % LINE, b_xml=RDF % state, c_txt=b"no profile"))
    expected = {"ACLineSegment.r": "1.5", "Equipment.inService": "true", "x": "2"}
    assert found.pieces == {("ACLineSegment", "1"): expected}
    assert cgmes.parse(RDF % LINE).pieces == {("ACLineSegment", "1"): {"ACLineSegment.r": "1.5"}}


def test_grid_cgmes_beyond_a_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive(a_xml=RDF % LINE, b_xml=RDF % LINE)
    monkeypatch.setattr(cgmes, "BYTES_MAX", 300)
    with pytest.raises(ModelError, match="unpacks to more"):
        cgmes.parse(content)
    monkeypatch.setattr(cgmes, "FILES_MAX", 1)
    with pytest.raises(ModelError, match="more than 1 files"):
        cgmes.parse(content)
    monkeypatch.setattr(cgmes, "PIECES_MAX", 0)
    with pytest.raises(ModelError, match="more than 0 objects"):
        cgmes.parse(RDF % LINE)
    monkeypatch.setattr(pandapower, "PIECES_MAX", 0)
    with pytest.raises(ModelError, match="too many"):
        pandapower.parse(vector("case14.json"))
    assert model.PIECES_MAX


def test_model_folder_becomes_the_same_archive_whatever_its_files_dates(tmp_path: Path) -> None:
    for name in ("EQ.xml", "SSH.xml"):
        (tmp_path / name).write_bytes(RDF % LINE)
    first = read_model_file(tmp_path)
    (tmp_path / "EQ.xml").touch()
    (tmp_path / ".hidden").write_bytes(b"x")
    assert read_model_file(tmp_path) == first
    assert read(first).format == "cgmes"
    assert read_model_file(tmp_path / "EQ.xml") == RDF % LINE


def test_model_file_that_cannot_be_stored_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_model_file(tmp_path / "nowhere")
    with pytest.raises(DataError, match="0 files"):
        read_model_file(tmp_path)
    (tmp_path / "empty.json").touch()
    with pytest.raises(DataError, match="is empty"):
        read_model_file(tmp_path / "empty.json")
    monkeypatch.setattr(files, "BLOB_BYTES_MAX", 10)
    (tmp_path / "a").write_bytes(bytes(11))
    for path in (tmp_path, tmp_path / "a"):
        with pytest.raises(DataError, match="MiB"):
            read_model_file(path)
    (tmp_path / "a").write_bytes(bytes(9))
    with pytest.raises(DataError, match="MiB"):
        read_model_file(tmp_path)


def test_watch_tells_each_change_once_and_waits_for_calm(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    path = tmp_path / "north.json"
    path.write_bytes(b"1")
    (tmp_path / ".part").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    assert watch.changed() == []
    assert watch.changed() == [path]
    assert watch.changed() == []
    path.write_bytes(b"22")
    assert watch.changed() == []
    assert watch.changed() == [path]
    watch.again(path)
    assert watch.changed() == [path]
    (tmp_path / "empty" / "EQ.xml").write_bytes(b"x")
    assert Watch(tmp_path, is_patient=False).changed() == [tmp_path / "empty", path]
    with pytest.raises(UsageError):
        Watch(path)
