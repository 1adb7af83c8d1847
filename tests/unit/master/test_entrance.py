from __future__ import annotations

import pytest

from master.entrance import anywhere, entrance_of
from tests.unit.contracts.members_site import Site
from wire.cbor import Value


# holds MB-15
@pytest.mark.parametrize(
    ("sender", "contract", "method", "args", "node", "other"),
    [
        ("lab", "notary", "put", {}, "dispatch", None),
        ("lab", "notary", "put", {}, "sub-east", "dispatch"),
        ("bench", "notary", "put", {}, "sub-east", "dispatch"),
        ("gw-1", "consistency", "report", {}, "dispatch", None),
        ("maker-a", "notary", "put", {}, "sub-east", None),
        ("lab", "membership", "attach", {"data_centre": "sub-east"}, "sub-east", None),
        ("lab", "membership", "attach", {"data_centre": None}, "sub-east", "dispatch"),
        ("lab", "notary", "attach", {"data_centre": "sub-east"}, "sub-east", "dispatch"),
    ],
)
def test_entrance_is_the_data_centre_of_the_sender(
    sender: str, contract: str, method: str, args: dict[str, Value], node: str, other: str | None
) -> None:
    site = Site()
    assert site.add_operator("bench", by="lab").code == "ok"
    assert site.call("lab", "attach", data_centre="dispatch").code == "ok"
    # whose stations they are makes no difference to gateways
    assert site.call("grid", "attach", data_centre="sub-east").code == "ok"
    signed = site.world.sign(sender, contract, method, args)
    assert entrance_of(node, site.state)(signed) == other
    anywhere(signed)
