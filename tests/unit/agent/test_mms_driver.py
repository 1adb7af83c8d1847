from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceProtocolError
from agent.drivers.mms_pipe import FILE_BYTES_MAX
from agent.drivers.mms_profile import FileTable, IdentityTable, MmsProfile
from agent.drivers.table import DRIVERS
from rules.fingerprint import fingerprint
from rules.items.model import Scaled
from rules.items.table import read_items
from tests.unit.agent.iedbench import READS, FakeIed, scl
from tests.unit.agent.mms_reads import RELAY, SETTINGS, read, refusal, relay
from wire.evidence import Identity

READING_FUNCTIONS = [
    "FileDirectoryEntry_destroy",
    "FileDirectoryEntry_getFileName",
    "FileDirectoryEntry_getFileSize",
    "FileDirectoryEntry_getLastModified",
    "IedClientError_toString",
    "IedConnection_connect",
    "IedConnection_create",
    "IedConnection_destroy",
    "IedConnection_getFileDirectory",
    "IedConnection_getMmsConnection",
    "IedConnection_setConnectTimeout",
    "IedConnection_setRequestTimeout",
    "LinkedList_destroy",
    "LinkedList_destroyStatic",
    "LinkedList_getData",
    "LinkedList_getNext",
    "LinkedList_size",
    "MmsConnection_downloadFile",
    "MmsConnection_getDomainNames",
    "MmsConnection_getDomainVariableNames",
    "MmsConnection_getVariableAccessAttributes",
    "MmsConnection_readVariable",
    "MmsError_create",
    "MmsError_getValue",
    "MmsError_toString",
    "MmsErrror_destroy",
    "MmsValue_delete",
    "MmsValue_getArraySize",
    "MmsValue_getBitStringBit",
    "MmsValue_getBitStringSize",
    "MmsValue_getBoolean",
    "MmsValue_getDataAccessError",
    "MmsValue_getElement",
    "MmsValue_getOctetStringOctet",
    "MmsValue_getOctetStringSize",
    "MmsValue_getType",
    "MmsValue_getTypeString",
    "MmsValue_getUtcTimeInMs",
    "MmsValue_toDouble",
    "MmsValue_toFloat",
    "MmsValue_toInt64",
    "MmsValue_toString",
    "MmsVariableSpecification_destroy",
    "MmsVariableSpecification_getArrayElementSpecification",
    "MmsVariableSpecification_getChildSpecificationByIndex",
    "MmsVariableSpecification_getName",
    "MmsVariableSpecification_getSize",
    "MmsVariableSpecification_getType",
    "toCharP",
    "toFileDirectoryEntry",
]
"""``destroy`` and ``delete`` free memory of this side; none of these asks the device to change anything."""


# --- what a read gives --------------------------------------------------------------------------------------------


# holds MM-7 MM-8
def test_reading_has_identity_files_and_the_active_groups_values(ied: FakeIed) -> None:
    found = read()
    assert found.identity == Identity("Sample Vendor", "line protection", "5.1", "SN-1", "RP-1")
    firmware, settings, strategy = found.files
    assert (firmware.kind, firmware.version, firmware.size, firmware.method) == ("firmware", "2.4.0", 5, "full-file")
    assert firmware.digest == fingerprint(b"image")
    assert (strategy.version, strategy.digest) == ("", fingerprint(b"a,b\n"))
    assert (settings.name, settings.version, settings.method) == ("LD0/LLN0.SGCB", "5", "record-read")
    assert settings.digest == fingerprint(SETTINGS)
    assert settings.size == len(SETTINGS)
    assert [part.kind for part in found.listed] == ["firmware", "settings", "strategy"]
    assert not any(part.errors for part in found.files)


def test_reading_of_some_kinds_lists_all_and_fetches_those_alone(ied: FakeIed) -> None:
    found = read(kinds=frozenset({"strategy"}))
    assert [part.kind for part in found.files] == ["strategy"]
    assert [part.kind for part in found.listed] == ["firmware", "settings", "strategy"]
    assert [arguments["path"] for call, arguments in ied.asked if call == "fetch"] == ["/strategy.csv"]


# holds MM-7
@pytest.mark.parametrize("item", ["LPHD1$DC$PhyNam$serNum", "LLN0$DC$NamPlt$d", "LPHD1$DC$PhyNam$swRev"])
def test_attribute_that_the_device_does_not_have_is_an_error_and_no_value(ied: FakeIed, item: str) -> None:
    del ied.texts[item]
    error = refusal(DeviceProtocolError, f"answers object-non-existent for {re.escape(item)}")
    assert error.reason == "missing"


def test_attribute_that_the_profile_does_not_name_is_not_asked_for(ied: FakeIed) -> None:
    del ied.texts["LPHD1$DC$PhyNam$serNum"]
    found = read(relay(identity=IdentityTable(model="LPHD1.PhyNam.model")))
    assert found.identity == Identity("", "", "", "", "RP-1")
    assert all(arguments.get("item") != "LPHD1$DC$PhyNam$serNum" for _, arguments in ied.asked)


# holds MM-7
@pytest.mark.parametrize("domains", [[], ["LD0"], ["BAY1LD1"], ["BAY1LD0", "BAY1XLD0"]])
def test_device_without_exactly_one_logical_device_of_the_profile_is_refused(ied: FakeIed, domains: list[str]) -> None:
    ied.domains = domains
    assert refusal(DeviceProtocolError, "whose name ends with LD0, one is due").reason == "logical-device"


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["bare", "whole"])
@pytest.mark.parametrize("path", ["/firmware.bin", "firmware.bin", "//firmware.bin"])
def test_file_is_found_however_profile_and_device_write_its_path(ied: FakeIed, path: str, names: str) -> None:
    ied.bare_names = names == "bare"
    ied.files["firmware.bin"] = ied.files["/firmware.bin"]
    tables = tuple(dataclasses.replace(table, path=path) for table in _files() if table.kind == "firmware")
    assert read(relay(files=tables)).files[0].digest == fingerprint(b"image")


def test_file_in_a_folder_is_asked_for_with_its_whole_path(ied: FakeIed) -> None:
    ied.files = {"/sub/image.bin": b"deep"}
    ied.bare_names = True
    tables = (dataclasses.replace(_files()[0], path="/sub/image.bin"),)
    found = read(relay(files=tables))
    assert found.files[0].digest == fingerprint(b"deep")
    assert ("files", {"folder": "/sub"}) in ied.asked


def _files() -> tuple[FileTable, ...]:
    specifics = RELAY.specifics
    assert isinstance(specifics, MmsProfile)
    return specifics.files


# holds MM-10
def test_file_that_the_device_does_not_list_is_missing_and_no_error(ied: FakeIed) -> None:
    del ied.files["/strategy.csv"]
    found = read()
    assert [part.kind for part in found.listed] == ["firmware", "settings"]


# holds MM-10
def test_file_that_ends_before_its_declared_size_is_a_short_read(ied: FakeIed) -> None:
    ied.declared["/firmware.bin"] = 9
    firmware = read().files[0]
    assert (firmware.size, firmware.digest.size, firmware.errors) == (9, 5, ("short-read",))


# holds MM-10
def test_file_longer_than_declared_is_refused(ied: FakeIed) -> None:
    ied.declared["/firmware.bin"] = 4
    assert refusal(DeviceProtocolError, "lists /firmware.bin with 4 bytes and sends 5").reason == "wrong-length"


# holds MM-10
def test_file_above_the_cap_is_not_read(ied: FakeIed) -> None:
    ied.declared["/firmware.bin"] = FILE_BYTES_MAX + 1
    firmware = read().files[0]
    assert (firmware.errors, firmware.digest.size) == (("bad-size",), 0)
    assert all(arguments["path"] != "/firmware.bin" for call, arguments in ied.asked if call == "fetch")


# --- settings -----------------------------------------------------------------------------------------------------


# holds MM-8
def test_settings_that_change_during_the_read_are_read_again(ied: FakeIed) -> None:
    ied.param_rev = [5, 5, 6]  # the first one is read as the counter of changes
    settings = read(kinds=frozenset({"settings"})).files[0]
    assert settings.version == "6"
    assert [arguments["item"] for call, arguments in ied.asked if call == "tree"].count("PTUF1$SG") == 2


# holds MM-8
def test_settings_that_never_stand_still_are_refused(ied: FakeIed) -> None:
    ied.block = [(2, 1), (2, 2), (2, 1), (2, 2)]
    assert refusal(DeviceProtocolError, "changed its settings during each of 3 reads").reason == "unsettled"


# holds MM-8
def test_settings_of_another_group_are_another_text(ied: FakeIed) -> None:
    before = read().files[1].digest
    ied.block = [(2, 2)]
    assert read().files[1].digest != before


# holds MM-8
def test_settings_of_another_configuration_are_another_text(ied: FakeIed) -> None:
    before = read().files[1].digest
    ied.texts["LLN0$DC$NamPlt$configRev"] = "18"
    assert read().files[1].digest != before


# holds MM-8
def test_settings_are_understood_as_numbered_items(ied: FakeIed) -> None:
    content = read().files[1].content
    assert content == SETTINGS
    items = read_items(content).items
    assert [item.number for item in items] == [1, 2, 3, 4, 5, 6]
    assert items[5].label == "LD0/PTUF1.StrVal.setMag.f"
    assert items[5].cells[0].scaled() == Scaled(49, 0)
    assert read().files[0].content is None


# holds MM-11
@pytest.mark.parametrize("count", [0, 5, 2**63 - 1])
def test_revision_counter_is_read_where_the_profile_names_one(ied: FakeIed, count: int) -> None:
    ied.param_rev = [count]
    assert read().revision == count
    assert read(relay(revision_at="", settings=None)).revision is None
    asked = [arguments.get("item") for _, arguments in ied.asked]
    assert asked.index("LLN0$ST$NamPlt$paramRev") < asked.index("PTUF1$SG")


# holds MM-11
@pytest.mark.parametrize("count", [-1, 2**63, 10**30])
def test_revision_counter_that_is_no_count_is_refused(ied: FakeIed, count: int) -> None:
    ied.param_rev = [count]
    error = refusal(DeviceProtocolError, f"counts .{str(count)[:9]}.* changes in LLN0.NamPlt.paramRev")
    assert error.reason == "revision"


# holds MM-11
@pytest.mark.parametrize("text", ["", "five", "1.0", "\u0665", "+5", "1" * 200])
def test_revision_that_is_a_text_is_no_count(ied: FakeIed, text: str) -> None:
    ied.texts["LLN0$ST$NamPlt$valRev"] = text
    assert refusal(DeviceProtocolError, "changes in", relay(revision_at="LLN0.NamPlt.valRev")).reason == "revision"


def test_device_without_the_revision_counter_of_its_profile_is_refused(ied: FakeIed) -> None:
    assert (
        refusal(DeviceProtocolError, "answers object-non", relay(revision_at="LLN0.NamPlt.valRev")).reason == "missing"
    )


def test_device_without_any_setting_value_is_refused(ied: FakeIed) -> None:
    ied.trees.clear()
    assert refusal(DeviceProtocolError, "no value in any group").reason == "settings"


@pytest.mark.parametrize("block", [(0, 1), (2, 0), (2, 3), (256, 1)])
def test_control_block_out_of_its_bounds_is_refused(ied: FakeIed, block: tuple[int, int]) -> None:
    ied.block = [block]
    assert refusal(DeviceProtocolError, "a whole number 1..").reason == "child-odd"


# --- SCL ----------------------------------------------------------------------------------------------------------


# holds MM-9
@pytest.mark.parametrize("raw", [scl(), scl(revision=None, version="17")])
def test_scl_file_that_agrees_is_taken(ied: FakeIed, tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "bay1.cid"
    path.write_bytes(raw)
    assert read(told=path).identity.serial == "SN-1"


# holds MM-9
@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (scl(name="BAY2"), "is the IED BAY1, but its SCL file .* is of BAY2"),
        (scl(revision="18"), "has configRev '17', but its SCL file .* says '18'"),
        (scl(revision=None), "has configRev '17', but its SCL file .* says ''"),
    ],
)
def test_scl_file_of_another_ied_or_revision_is_refused_without_a_retry(
    ied: FakeIed, tmp_path: Path, raw: bytes, match: str
) -> None:
    path = tmp_path / "bay1.cid"
    path.write_bytes(raw)
    assert refusal(DeviceProtocolError, match, told=path, retries=3).reason == "scl-mismatch"
    assert len(ied.children) == 1


@pytest.mark.parametrize("raw", [b"no XML", None])
def test_scl_file_that_cannot_be_read_is_refused(ied: FakeIed, tmp_path: Path, raw: bytes | None) -> None:
    path = tmp_path / "bay1.cid"
    if raw is not None:
        path.write_bytes(raw)
    assert refusal(DeviceProtocolError, "bay1.cid that cannot be read: ", told=path).reason == "scl"


# holds MM-9
def test_scl_file_of_the_device_is_compared(ied: FakeIed) -> None:
    ied.files["/device.cid"] = b"checked by the child"
    ied.scl = [["BAY1", "", [["LD0", "17"]]]]
    assert read(relay(scl="/device.cid")).identity.model == "RP-1"
    ied.scl = [["BAY1", "", [["LD0", "16"]]]]
    assert refusal(DeviceProtocolError, "says '16'", relay(scl="/device.cid")).reason == "scl-mismatch"


def test_scl_file_that_the_profile_names_and_the_device_lacks_is_refused(ied: FakeIed) -> None:
    assert refusal(DeviceProtocolError, "does not list its SCL file", relay(scl="/device.cid")).reason == "scl"
    ied.files["/device.cid"] = b""
    ied.declared["/device.cid"] = 2**30
    assert refusal(DeviceProtocolError, "declares 1073741824 bytes", relay(scl="/device.cid")).reason == "scl"


# --- the profile, the list of functions, the extra ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"files": (), "settings": None}, "at least one"),
        ({"files": (dataclasses.replace(_files()[0], kind="settings"),)}, "not both"),
    ],
)
def test_profile_without_artefacts_or_with_two_sources_of_settings_is_refused(
    changes: dict[str, object], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        relay(**changes)  # type: ignore[arg-type]


def test_profile_names_the_method_of_each_kind() -> None:
    assert RELAY.specifics.methods() == {"firmware": "full-file", "strategy": "full-file", "settings": "record-read"}


# holds MM-4
def test_child_uses_no_function_of_the_library_but_these() -> None:
    tree = ast.parse(READS.read_text(encoding="utf-8"))
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "library"]
    named = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "library"
    }
    assert {name for name in named if not name.isupper()} <= set(READING_FUNCTIONS)
    # No other way leads to the library: every mention is one attribute, and nothing is looked up by name.
    attributes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "library"
    ]
    assert len(uses) == len(attributes)
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"getattr", "eval", "exec", "vars", "__import__", "globals"}


# holds MM-4
def test_nothing_else_of_the_agent_mentions_the_library() -> None:
    agent = READS.parents[1]
    imports = {
        path.name
        for path in agent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(name.name.startswith("pyiec61850") for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyiec61850"))
    }
    assert imports == {READS.name}


def test_gateway_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(DRIVERS["mms"].missing(), str)
    monkeypatch.setattr("agent.drivers.mms_link.find_spec", lambda _: None)
    assert DRIVERS["mms"].missing().endswith("pip install '.[agent,iec61850]'")
