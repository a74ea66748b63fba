"""Client addresses, as they are counted by limits."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.types import Scope

# The IPv4 address is in the last 32 bits (RFC 6052): thousands of clients share these 64 bits.
_NAT64: Final = IPv6Network("64:ff9b::/96")
_PREFIX: Final = 64


def client_network(scope: Scope) -> str:
    """Return what a client cannot choose of its address.

    That is an IPv4 address as a whole, and of an IPv6 address the first 64 bits: a customer of a
    provider, or a single virtual machine, has all the rest to itself (RFC 6177, RFC 4291 2.5.1).
    """
    client: tuple[str, int] | None = scope.get("client")
    return network_of(client[0]) if client else ""


@lru_cache(maxsize=1024)
def network_of(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host  # a proxy's name for a client that it does not disclose
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if address in _NAT64:
            return str(IPv4Address(int(address) & 0xFFFF_FFFF))
        return str(IPv6Network((int(address), _PREFIX), strict=False))
    return str(address)
