"""How a device shows itself in IEC 61850: its data model, its values, its SCL file.

May live here: pure views of one device. The model is described in docs/guides/simulator.md, "What an IED answers".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import quoteattr

from firmware_sim.contents import FILE_NAMES, SETTINGS
from firmware_sim.device import Device
from firmware_sim.settings import SettingsError, parse_settings
from kit.config import rule

SCL_FILE: Final = "device.cid"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_VERSION: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")

Attribute = tuple[str, str, str, "str | int | float"]
"""Name, functional constraint, type and value, as `firmware_sim.mms.child` takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MmsOptions:
    """Table ``[device.mms]``: what this IED is called and has.

    Attributes:
        ied: Name of the IED.
        instance: Instance of its logical device.
        config_rev: What ``LLN0.NamPlt.configRev`` shows.
        settings: The setting values as attributes in setting groups.
        scl: The device keeps its SCL file, ``device.cid``.
        scl_config_rev: What that file says, if not the truth.
    """

    ied: str = field(default="IED1", metadata=rule(pattern=_NAME))
    instance: str = field(default="LD0", metadata=rule(pattern=_NAME))
    config_rev: str = field(default="1", metadata=rule(pattern=_VERSION))
    settings: bool = True
    scl: bool = True
    scl_config_rev: str | None = field(default=None, metadata=rule(pattern=_VERSION))


class Ied:
    """One device as an IED."""

    def __init__(self, device: Device, options: MmsOptions) -> None:
        """Take the names and numbers of settings as they are now; their values may change.

        Args:
            device: What is shown.
            options: What it is called.
        """
        self.device = device
        self.options = options
        self._places: tuple[tuple[int, int], ...] = ()
        settings = device.contents.artefacts.get(SETTINGS)
        if options.settings and settings is not None:
            try:
                found = parse_settings(settings.content)
            except SettingsError:
                found = []
            self._places = tuple((each.number, len(each.text.partition(".")[2])) for each in found)

    def attributes(self) -> list[Attribute]:
        """Give every attribute with its present value."""
        who, revision = self.device.shown_identity, self.device.revision
        texts = {
            "LLN0.NamPlt.vendor": who.vendor,
            "LLN0.NamPlt.swRev": revision,
            "LLN0.NamPlt.d": who.product,
            "LLN0.NamPlt.configRev": self.options.config_rev,
            "LPHD1.PhyNam.vendor": who.vendor,
            "LPHD1.PhyNam.swRev": revision,
            "LPHD1.PhyNam.serNum": who.serial,
            "LPHD1.PhyNam.model": who.model,
            "LPHD1.PhyNam.location": who.product_name,
        }
        found: list[Attribute] = [(name, "DC", "text", text) for name, text in texts.items()]
        found.append(("LLN0.NamPlt.paramRev", "ST", "integer", self.device.revision_counter))
        values = self.device.contents.setting_values
        for (number, decimals), value in zip(self._places, values, strict=False):
            found.append((setting_name(number), "SG", "float", value / 10**decimals))
        return found

    @property
    def groups(self) -> int:
        """Number of setting groups, 0 without settings."""
        return len(self.device.contents.groups) if self._places else 0

    def files(self) -> Mapping[str, bytes]:
        """Give every file by its name."""
        found = {
            FILE_NAMES[kind]: self.device.read_file(kind, 0, len(held.content))
            for kind, held in self.device.contents.artefacts.items()
        }
        if self.options.scl:
            found[SCL_FILE] = self.scl()
        return found

    def scl(self) -> bytes:
        """Write the SCL file: the IED's name and its configuration revision."""
        options = self.options
        revision = options.config_rev if options.scl_config_rev is None else options.scl_config_rev
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<SCL xmlns="http://www.iec.ch/61850/2003/SCL" version="2007" revision="B">\n'
            f"  <Header id={quoteattr(self.device.name)}/>\n"
            f'  <IED name="{options.ied}" configVersion="{revision}">\n'
            f'    <AccessPoint name="P1"><Server><Authentication/><LDevice inst="{options.instance}">\n'
            '      <LN0 lnClass="LLN0" inst="" lnType="LLN0"><DOI name="NamPlt">'
            f'<DAI name="configRev"><Val>{revision}</Val></DAI></DOI></LN0>\n'
            "    </LDevice></Server></AccessPoint>\n  </IED>\n</SCL>\n"
        ).encode()


def setting_name(number: int) -> str:
    """Name the attribute of a setting of the list."""
    return f"GAPC1.Set{number:03}.setMag.f"
