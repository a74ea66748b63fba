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
def test_an_address_is_counted_by_what_a_client_cannot_choose(host: str, network: str) -> None:
    assert client_network({"client": (host, 1)}) == network


def test_a_connection_without_an_address_is_counted_with_its_like() -> None:
    assert client_network({}) == client_network({"client": None}) == ""
