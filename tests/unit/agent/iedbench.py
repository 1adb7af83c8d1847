"""An IED as the driver sees it through its child process, without process and without library."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.drivers.mms_link import ChildError, MmsCounters
from wire.cbor import Value

READS = Path(__file__).parents[3] / "agent" / "drivers" / "mms_reads.py"
TEXTS = {
    "LLN0$DC$NamPlt$d": "line protection",
    "LLN0$DC$NamPlt$swRev": "5.1",
    "LLN0$DC$NamPlt$configRev": "17",
    "LPHD1$DC$PhyNam$vendor": "Sample Vendor",
    "LPHD1$DC$PhyNam$serNum": "SN-1",
    "LPHD1$DC$PhyNam$model": "RP-1",
    "LPHD1$DC$PhyNam$swRev": "2.4.0",
}
SCL = """<SCL xmlns="http://www.iec.ch/61850/2003/SCL">
<IED name="{name}" configVersion="{version}"><AccessPoint name="P">
<Server><LDevice inst="LD0"><LN0 lnClass="LLN0" inst=""><DOI name="NamPlt">{revision}</DOI></LN0></LDevice></Server>
</AccessPoint></IED></SCL>"""
REVISION = '<DAI name="configRev"><Val>{}</Val></DAI>'


def scl(name: str = "BAY1", revision: str | None = "17", version: str = "") -> bytes:
    shown = "" if revision is None else REVISION.format(revision)
    return SCL.format(name=name, version=version, revision=shown).encode()


@functools.cache
def calls_of_reads() -> frozenset[str]:
    """Return the public methods of `Reads`, from its text: the library need not be there."""
    tree = ast.parse(READS.read_text(encoding="utf-8"))
    (reads,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Reads")
    names = {node.name for node in reads.body if isinstance(node, ast.FunctionDef)}
    return frozenset(name for name in names if not name.startswith("_"))


@dataclass(slots=True)
class FakeIed:
    """What the device keeps, and what it shall do."""

    domains: list[str] = field(default_factory=lambda: ["BAY1LD0", "BAY1MEAS"])
    texts: dict[str, str] = field(default_factory=lambda: dict(TEXTS))
    param_rev: list[int] = field(default_factory=lambda: [5])
    """The last one stays; each read takes one of the others."""
    block: list[tuple[int, int]] = field(default_factory=lambda: [(2, 1)])
    """Number of groups and the active one, likewise."""
    trees: dict[str, list[Value]] = field(
        default_factory=lambda: {
            "PTUF1$SG": [["StrVal.setMag.f", "float", b"\x42\x44\x00\x00"], ["OpDlTmms.setVal", "integer", 150]],
            "GAPC1$SG": [["Ena.setVal", "boolean", True]],
        }
    )
    files: dict[str, bytes] = field(default_factory=lambda: {"/firmware.bin": b"image", "/strategy.csv": b"a,b\n"})
    declared: dict[str, int] = field(default_factory=dict)
    bare_names: bool = False
    """The device names files without their folder."""
    scl: list[Value] = field(default_factory=list)
    raises: dict[str, list[ChildError]] = field(default_factory=dict)
    """By call, what its next calls end with."""
    answers: dict[str, Value] = field(default_factory=dict)
    """By call, what stands in for its answer."""
    asked: list[tuple[str, dict[str, Value]]] = field(default_factory=list)
    children: list[FakeChild] = field(default_factory=list)

    async def start(self, port: int, counters: MmsCounters) -> FakeChild:
        if self.raises.get("start"):
            raise self.raises["start"].pop(0)
        counters.children += 1
        self.children.append(FakeChild(self, counters))
        return self.children[-1]

    def answer(self, call: str, arguments: dict[str, Value]) -> Value:
        self.asked.append((call, arguments))
        if self.raises.get(call):
            raise self.raises[call].pop(0)
        if call in self.answers:
            return self.answers[call]
        simple: dict[str, Callable[[], Value]] = {
            "connect": lambda: None,
            "domains": lambda: list(self.domains),
            "items": lambda: list(self.trees),
            "scl": lambda: list(self.scl),
            "files": lambda: self._files(str(arguments["folder"])),
            "fetch": lambda: len(self.files[str(arguments["path"])]),
            "value": lambda: self._value(str(arguments["item"])),
            "tree": lambda: self._tree(str(arguments["item"])),
        }
        return simple[call]()

    def _value(self, item: str) -> Value:
        if item == "LLN0$ST$NamPlt$paramRev":
            return ["integer", self.param_rev.pop(0) if len(self.param_rev) > 1 else self.param_rev[0]]
        if item in self.texts:
            return ["text", self.texts[item].encode()]
        raise ChildError("missing", f"answers object-non-existent for {item}")

    def _tree(self, item: str) -> Value:
        if item != "LLN0$SP$SGCB":
            return list(self.trees[item])
        groups, active = self.block.pop(0) if len(self.block) > 1 else self.block[0]
        return [["NumOfSG", "integer", groups], ["ActSG", "integer", active], ["LActTm", "time", 9]]

    def _files(self, folder: str) -> Value:
        inside = folder.rstrip("/") + "/"
        found: list[Value] = []
        for path, content in self.files.items():
            if path.startswith(inside):
                name = path.removeprefix(inside) if self.bare_names else path
                found.append([name.encode(), self.declared.get(path, len(content)), 0])
        return found


@dataclass(slots=True)
class FakeChild:
    """Stands where `agent.drivers.mms_link.Child` does."""

    ied: FakeIed
    counters: MmsCounters
    is_alive: bool = True
    is_associated: bool = False
    content: bytes = b""

    async def ask(self, call: str, patience_ms: int, *, size: int | None = None, **arguments: Value) -> Value:
        assert call in calls_of_reads()
        assert patience_ms > 0
        assert (size is not None) == (call == "fetch")
        self.counters.requests += 1
        answer = self.ied.answer(call, arguments)
        if call == "fetch":
            self.content = self.ied.files[str(arguments["path"])]
        return answer

    def check_room(self, size: int) -> None:
        if self.ied.raises.get("room"):
            raise self.ied.raises["room"].pop(0)

    def piece(self, at: int, count: int) -> bytes:
        return self.content[at : at + count]

    async def end(self) -> None:
        self.is_alive = self.is_associated = False
