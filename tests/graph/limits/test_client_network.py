import pytest

from graph.limits.client_network import client_network


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("64:ff9b::c000:201", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::6", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("unknown", "unknown"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_client_network_is_the_ipv4_address_or_the_ipv6_64_prefix(host: str, network: str) -> None:
    assert client_network({"client": (host, 1)}) == network


def test_connections_without_an_address_share_one_network() -> None:
    assert client_network({}) == client_network({"client": None}) == ""
