"""Addresses and networks: what is one, and what only looks like one."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.fleet.address import OWN_NETWORKS, is_worker_address
from shared.networks import parse_ip, parse_ip_and_port, parse_networks

OWN = parse_networks(OWN_NETWORKS)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:9100",
        "10.1.2.3:1",
        "172.31.255.255:65535",
        "192.168.0.9:80",
        "100.64.3.4:9100",
        "[::1]:9100",
        "[fd00::7]:9100",
        "[::ffff:10.0.0.7]:9100",
    ],
)
def test_a_worker_may_be_on_this_machine_and_in_private_networks(address: str) -> None:
    assert is_worker_address(address, OWN)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254:80",  # where clouds keep the keys of a machine
        "[::ffff:169.254.169.254]:80",
        "[fe80::1]:9100",
        "[fe80::1%eth0]:9100",
        "8.8.8.8:53",
        "[2001:db8::1]:9100",
        "[::ffff:8.8.8.8]:53",
        "172.32.0.1:9100",
        "0.0.0.0:9100",
        "[::]:9100",
    ],
)
def test_and_nowhere_else(address: str) -> None:
    assert not is_worker_address(address, OWN)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "10.0.0.7",
        "10.0.0.7:",
        "10.0.0.7:0",
        "10.0.0.7:65536",
        "10.0.0.7:-1",
        "10.0.0.7:+80",
        "10.0.0.7:８０",
        "10.0.0.7:9100/path",
        "10.0.0.7:9100\r\nX-Evil: 1",
        " 10.0.0.7:9100",
        "user@10.0.0.7:9100",
        "localhost:9100",
        "0x7f.1:80",
        "127.1:80",
        "010.0.0.1:80",
        "2130706433:80",
        "fd00::7:9100",
        "[10.0.0.7]:9100",
        "[fd00::7]",
        "[fd00::7:9100",
    ],
)
def test_only_ip_and_port_is_an_address(address: str) -> None:
    assert parse_ip_and_port(address) is None
    assert not is_worker_address(address, OWN)


@given(st.text())
def test_whatever_the_registry_holds_is_read(text: str) -> None:
    parsed = parse_ip_and_port(text)
    if parsed is not None:
        assert text.isascii()
        assert not set(text) & set(" \r\n/@%")


@given(st.ip_addresses(v=4), st.integers(1, 65535))
def test_ipv4_in_ipv6s_clothes_is_judged_as_what_it_is(address: ipaddress.IPv4Address, port: int) -> None:
    assert is_worker_address(f"{address}:{port}", OWN) == is_worker_address(f"[::ffff:{address}]:{port}", OWN)


def test_networks_are_comma_separated_and_a_wrong_one_is_named() -> None:
    assert [str(network) for network in parse_networks(" 10.0.0.0/8,2001:db8::/32 , 192.0.2.1,")] == [
        "10.0.0.0/8",
        "2001:db8::/32",
        "192.0.2.1/32",
    ]
    with pytest.raises(ValueError, match=r"'10\.0\.0\.1/8' is no network"):
        parse_networks("10.0.0.0/8,10.0.0.1/8")
    assert parse_ip("::ffff:192.0.2.1") == ipaddress.ip_address("192.0.2.1")
