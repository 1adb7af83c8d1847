from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kit import config as config_module
from kit.config import ConfigProblemsError, HostPort, Origin, load, origin, rule
from kit.exitcodes import ExitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Mqtt:
    host: str
    port: int = field(default=8883, metadata=rule(minimum=1, maximum=65535))
    ca: Path = field(default=Path("/ca"), metadata=rule(exists="file"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    id: str = field(metadata=rule(pattern=re.compile("[a-z0-9-]{1,64}")))
    protocol: str = field(default="modbus", metadata=rule(choices=("modbus", "iec104")))
    timeout_ms: int = field(default=2000, metadata=rule(minimum=1, maximum=60_000, unit="ms"))
    interval_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    low: float = 0.0
    high: float = field(default=1.0, metadata=rule(minimum=0))

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    name: str
    state_dir: Path
    mqtt: Mqtt
    verbose: bool = False
    span: Span = Span()
    metrics: HostPort | None = None
    tags: tuple[str, ...] = field(default=(), metadata=rule(maximum=3))
    peers: Mapping[str, HostPort] = field(default_factory=dict)
    devices: tuple[Device, ...] = field(default=(), metadata=rule(key="device", unique="id"))


MINIMAL = 'name = "n"\nstate_dir = "state"\n[mqtt]\nhost = "h"\n'


def load_text(
    folder: Path, text: str, environ: Mapping[str, str] | None = None, drop_ins: Mapping[str, str] | None = None
) -> Config:
    path = folder / "a.toml"
    path.write_text(text, encoding="utf-8")
    for name, content in (drop_ins or {}).items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return load(path, Config, env_prefix="GW", folders=("devices.d",), environ=environ or {})


def problems_of(
    folder: Path, text: str, environ: Mapping[str, str] | None = None, drop_ins: Mapping[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigProblemsError) as caught:
        load_text(folder, text, environ, drop_ins)
    assert caught.value.exit_code == ExitCode.CONFIGURATION
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)
    return [str(p).replace(f"{folder}/", "") for p in caught.value.problems]


def test_load_of_minimal_file_fills_defaults(tmp_path: Path) -> None:
    config = load_text(tmp_path, MINIMAL.replace('"h"', '"h"\nca = "a.toml"'))
    assert config.name == "n"
    assert config.state_dir == tmp_path / "state"
    assert config.mqtt == Mqtt(host="h", ca=tmp_path / "a.toml")
    assert (config.verbose, config.metrics, config.tags, config.devices) == (False, None, (), ())


def test_load_of_full_file_gives_typed_values(tmp_path: Path) -> None:
    text = (
        'name = "n"\nstate_dir = "/var/x"\nverbose = true\nmetrics = "127.0.0.1:0"\n'
        'tags = ["a", "b"]\nspan = { low = 1, high = 2.5 }\nmqtt = { host = "h", port = 1 }\n'
        '[peers]\nsub-1 = "[::1]:7000"\n'
        '[[device]]\nid = "d1"\ninterval_ms = 5\n[[device]]\nid = "d2"\nprotocol = "iec104"\n'
    )
    config = load_text(tmp_path, text)
    assert config.state_dir == Path("/var/x")
    assert config.metrics == HostPort("127.0.0.1", 0)
    assert config.tags == ("a", "b")
    assert config.span == Span(low=1.0, high=2.5)
    assert isinstance(config.span.low, float)
    assert config.peers == {"sub-1": HostPort("::1", 7000)}
    assert [(d.id, d.protocol, d.interval_ms) for d in config.devices] == [
        ("d1", "modbus", 5),
        ("d2", "iec104", None),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nmae = 1\n", "a.toml:5: unknown key 'nmae' in [mqtt]; expected 'ca', 'host', 'port'"),
        ("prot = 1\n", "a.toml:5: unknown key 'prot' in [mqtt]; did you mean 'port'?"),
        ("[mqqt]\n", "a.toml:5: unknown key 'mqqt'; did you mean 'mqtt'?"),
        ("port = 0\n", "a.toml:5: mqtt.port: expected a whole number 1..65535, found 0"),
        ("port = 65536\n", "a.toml:5: mqtt.port: expected a whole number 1..65535, found 65536"),
        ("port = true\n", "a.toml:5: mqtt.port: expected a whole number 1..65535, found true"),
        ("port = 1.0\n", "a.toml:5: mqtt.port: expected a whole number 1..65535, found 1.0"),
        ('port = "1"\n', "a.toml:5: mqtt.port: expected a whole number 1..65535, found '1'"),
        ("\nport = [\n1]\n", "a.toml:6: mqtt.port: expected a whole number 1..65535, "),
        ("port = {}\n", "a.toml:5: mqtt.port: expected a whole number 1..65535, found a table"),
        ("ca = 'no'\n", "a.toml:5: mqtt.ca: there is no file no"),
        (f"ca = '{'a' * 400}'\n", "a.toml:5: mqtt.ca: there is no file aaa"),
        ("ca = ''\n", "a.toml:5: mqtt.ca: expected a path of 1..4096 characters, found ''"),
        ("[[device]]\n", "a.toml:5: key 'id' is missing in [device[0]]"),
        (
            "[[device]]\nid = 'a'\n[[device]]\n\nid = 'A b'\n",
            "a.toml:9: device[1].id: expected a text like [a-z0-9-]{1,64}, found 'A b'",
        ),
        (
            "[[device]]\nid = 'a'\nprotocol = 'mms'\n",
            "a.toml:7: device[0].protocol: expected one of 'modbus', 'iec104', found 'mms'",
        ),
        (
            "[[device]]\nid = 'a'\ntimeout_ms = 0\n",
            "a.toml:7: device[0].timeout_ms: expected a whole number 1..60000 ms, found 0",
        ),
        (
            "[[device]]\nid = 'a'\n[[device]]\nid = 'a'\n",
            "a.toml:7: device: id 'a' is already taken at a.toml:5; each id must differ",
        ),
        ("[device]\nid = 'a'\n", "a.toml:5: device: expected a list of 0..10000 items, found a"),
        ("[span]\nlow = 2\n", "a.toml:5: span: low 2.0 lies above high 1.0"),
        ("[span]\nhigh = -1\n", "a.toml:6: span.high: expected a number of at least 0, found -1"),
        ("[span]\nlow = inf\n", "a.toml:6: span.low: expected a number, found inf"),
        ("[peers]\nx = 'here'\n", "a.toml:6: peers.x: expected an address host:port"),
        ("[peers]\nx = 'h:65536'\n", "a.toml:6: peers.x: expected an address host:port"),
    ],
)
def test_load_of_wrong_file_names_line_found_and_expected(tmp_path: Path, text: str, expected: str) -> None:
    assert [p[: len(expected)] for p in problems_of(tmp_path, MINIMAL + text)] == [expected]


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ("tags = ['a', 1]\n", "a.toml:1: tags[1]: expected a text of 1..4096 characters, found 1"),
        ("tags = 'a'\n", "a.toml:1: tags: expected a list of 0..3 items, found 'a'"),
        ("tags = ['1','2','3','4']\n", "a.toml:1: tags: expected a list of 0..3 items, found a l"),
        ("peers = 1\n", "a.toml:1: peers: expected a table, found 1"),
        ("span = 1\n", "a.toml:1: span: expected a table, found 1"),
        ("verbose = 1\n", "a.toml:1: verbose: expected true or false, found 1"),
        ("metrics = 'x'\n", "a.toml:1: metrics: expected an address host:port or [IPv6]:port"),
        ("metrics = 1999-01-01\n", "a.toml:1: metrics: expected an address host:port or [IPv6]"),
    ],
)
def test_load_of_wrong_top_key_names_line_found_and_expected(tmp_path: Path, top: str, expected: str) -> None:
    assert [p[: len(expected)] for p in problems_of(tmp_path, top + MINIMAL)] == [expected]


def test_load_reports_all_problems_together(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "verbose = 7\nx = 1\n\n[mqtt]\nport = 0\n")
    assert [p.split(" ")[0] for p in problems] == [
        "a.toml:1:",
        "a.toml:1:",
        "a.toml:1:",
        "a.toml:2:",
        "a.toml:4:",
        "a.toml:5:",
    ]
    assert any("key 'host' is missing in [mqtt]" in p for p in problems)
    assert any("key 'state_dir' is missing" in p for p in problems)


def test_load_without_a_section_reports_the_keys_missing_in_it(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, 'name = "n"\nstate_dir = "s"\n')
    assert problems == ["a.toml:1: key 'host' is missing in [mqtt]"]


def test_load_of_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblemsError, match=r"a\.toml: cannot be read: No such file"):
        load(tmp_path / "a.toml", Config, env_prefix="GW", environ={})


def test_load_reports_syntax_errors_of_all_files(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "x =\n", drop_ins={"a.toml.d/1.toml": "\ny\n"})
    assert [p.split(" ")[0] for p in problems] == ["a.toml:1:", "a.toml.d/1.toml:2:"]


def test_drop_ins_in_name_order_override_and_join(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        'tags = ["x"]\n' + MINIMAL + '[[device]]\nid = "a"\n',
        drop_ins={
            "a.toml.d/20.toml": '[mqtt]\nhost = "twenty"\nca = "20.toml"\n',
            "a.toml.d/10.toml": 'tags = ["y"]\n[mqtt]\nhost = "ten"\nport = 7\n',
            "a.toml.d/.hidden.toml": "broken",
            "devices.d/b.toml": '[[device]]\nid = "b"\n',
        },
    )
    assert config.mqtt.host == "twenty"
    assert config.mqtt.port == 7
    assert config.mqtt.ca == tmp_path / "a.toml.d" / "20.toml"
    assert config.tags == ("y",)
    assert [d.id for d in config.devices] == ["a", "b"]


def test_wrong_drop_in_is_named(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        MINIMAL + '[[device]]\nid = "a"\n',
        drop_ins={"devices.d/b.toml": '\n[[device]]\nid = "a"\nspeed = 1\n'},
    )
    assert problems == [
        "devices.d/b.toml:4: unknown key 'speed' in [device[1]]; expected 'id', 'interval_ms', 'protocol', 'timeout_ms'"
    ]


def test_too_many_drop_ins_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "DROP_INS_MAX", 1)
    files = {"devices.d/a.toml": "", "devices.d/b.toml": ""}
    assert problems_of(tmp_path, MINIMAL, drop_ins=files) == ["devices.d: holds more than 1 files"]


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_text(
        tmp_path,
        MINIMAL + '[peers]\nsub-1 = "h:1"\n',
        {
            "GW__NAME": "7",
            "GW__STATE_DIR": "here",
            "GW__VERBOSE": "true",
            "GW__MQTT__PORT": "9",
            "GW__MQTT__CA": "a.toml",
            "GW__TAGS": '["a", "b"]',
            "GW__PEERS__SUB_1": "h:2",
            "GW__SPAN__LOW": "-3",
            "OTHER__NAME": "x",
            "GWX__NAME": "x",
        },
    )
    assert config.name == "7"
    assert config.state_dir == tmp_path / "here"
    assert config.verbose is True
    assert config.mqtt.port == 9
    assert config.tags == ("a", "b")
    assert config.peers == {"sub-1": HostPort("h", 2)}
    assert config.span.low == -3.0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GW__NAEM", "x", "unknown key 'naem'; did you mean 'name'?"),
        ("GW__MQTT__PROT", "x", "unknown key 'prot' in [mqtt]; did you mean 'port'?"),
        ("GW__MQTT__PORT", "x", "mqtt.port: expected a whole number 1..65535, found 'x'"),
        ("GW__MQTT__PORT", "1\ny = 2", "mqtt.port: expected a whole number 1..65535, found"),
        ("GW__MQTT__PORT", "0", "mqtt.port: expected a whole number 1..65535, found 0"),
        ("GW__VERBOSE", "yes", "verbose: expected true or false, found 'yes'"),
        ("GW__TAGS", "a", "tags: expected a list, found 'a'"),
        ("GW__SPAN", "x", "span: expected a table, found 'x'"),
        ("GW__NAME__X", "x", "name: expected a text of 1..4096 characters, found a table"),
        ("GW__", "x", "names no key; expected GW__SECTION__KEY"),
        ("GW__MQTT__", "x", "names no key; expected GW__SECTION__KEY"),
    ],
)
def test_wrong_environment_variable_is_refused_by_name(tmp_path: Path, name: str, value: str, expected: str) -> None:
    text = MINIMAL + 'ca = "a.toml"\n'
    (problem,) = problems_of(tmp_path, text, {name: value})
    assert problem.startswith(f"environment variable {name}: {expected}")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:80", HostPort("localhost", 80)),
        ("10.0.0.1:0", HostPort("10.0.0.1", 0)),
        ("[fe80::1]:65535", HostPort("fe80::1", 65535)),
    ],
)
def test_host_port_is_parsed_and_printed_again(text: str, address: HostPort) -> None:
    assert HostPort.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "h", "h:", ":1", "h:65536", "h:-1", "::1:5", "h :1", "h:1 "])
def test_host_port_of_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        HostPort.parse(text)


def test_environment_variable_may_hold_a_whole_table(tmp_path: Path) -> None:
    environ = {"GW__MQTT": '{ host = "x", port = 3, ca = "/dev/null/../null" }', "GW__NAME": "n"}
    text = 'state_dir = "s"\n'
    (problem,) = problems_of(tmp_path, text, environ)
    assert problem.startswith("environment variable GW__MQTT: mqtt.ca: there is no file")
    (tmp_path / "ca").touch()
    environ["GW__MQTT"] = f'{{ host = "x", port = 3, ca = "{tmp_path / "ca"}" }}'
    assert load_text(tmp_path, text, environ).mqtt == Mqtt(host="x", port=3, ca=tmp_path / "ca")


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    listen: HostPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    api: Api


def test_load_without_an_address_reports_its_key_and_not_its_parts(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[api]\nlisen = '127.0.0.1:1'\n")
    with pytest.raises(ConfigProblemsError) as caught:
        load(file, Served, env_prefix="GRIDWITNESS_TEST", environ={})
    assert "key 'listen' is missing in [api]" in str(caught.value)
    assert "'host'" not in str(caught.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    name: str
    written_at: Origin = field(metadata=origin())


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    places: tuple[Placed, ...] = field(metadata=rule(key="place"))


def test_field_for_the_origin_gets_file_and_line_of_its_table_and_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "places.toml"
    path.write_text('[[place]]\nname = "a"\n\n[[place]]\nname = "b"\n')
    found = load(path, Places, env_prefix="TEST", environ={})
    assert [str(place.written_at) for place in found.places] == [f"{path}:1", f"{path}:4"]
    path.write_text('[[place]]\nname = "a"\nwritten_at = "here"\n')
    with pytest.raises(ConfigProblemsError, match="unknown key 'written_at'"):
        load(path, Places, env_prefix="TEST", environ={})
