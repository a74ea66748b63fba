"""The networks of clients, as counted by limits."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.types import Scope

# The last 32 bits are an IPv4 address (RFC 6052). Thousands of clients share the first 64 bits.
_NAT64: Final = IPv6Network("64:ff9b::/96")
_PREFIX: Final = 64


def client_network(scope: Scope) -> str:
    """Return the part of the address that a client cannot choose.

    This is the whole IPv4 address, or the first 64 bits of an IPv6 address. A customer of a
    provider, or a single virtual machine, usually controls the other bits (RFC 6177, RFC 4291
    2.5.1).
    """
    client: tuple[str, int] | None = scope.get("client")
    return network_of(client[0]) if client else ""


@lru_cache(maxsize=1024)
def network_of(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host  # the name that a proxy uses to hide the address
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if address in _NAT64:
            return str(IPv4Address(int(address) & 0xFFFF_FFFF))
        return str(IPv6Network((int(address), _PREFIX), strict=False))
    return str(address)
