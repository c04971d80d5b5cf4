"""Which addresses a webhook may be sent to, and a resolver that hands out no other.

A name in a file of targets must not reach what only this machine can reach: itself, its neighbours, the metadata
service of a cloud. The check is made on the very addresses that are connected to: a name that is resolved twice may
have two answers (DNS rebinding).
"""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

#: Prefixes of IPv6 under which an IPv4 address is reached: NAT64 (RFC 6052).
_NAT64: Final = IPv6Network("64:ff9b::/96")
_IPV4_MASK: Final = 0xFFFFFFFF


class RefusedAddressError(OSError):
    """A name stands for an address to which nothing is sent."""


def is_refused(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is none of the public network: loopback, private, link-local, multicast, and so on."""
    if isinstance(address, IPv6Address):
        embedded = IPv4Address(int(address) & _IPV4_MASK) if address in _NAT64 else address.ipv4_mapped
        if embedded is not None:
            return is_refused(embedded)
        # Site-local is deprecated, and still routed in places; tunnels carry another address in disguise.
        if address.is_site_local or address.sixtofour is not None or address.teredo is not None:
            return True
    return not address.is_global or address.is_multicast or address.is_reserved


class CheckedResolver(AbstractResolver):
    """Resolves names for aiohttp; refuses a name of which any address is refused."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name; raises `OSError`."""
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        results = []
        for its_family, _, protocol, _, address in found:
            # An IPv6 address may have a scope (`fe80::1%eth0`).
            literal = str(address[0])
            if is_refused(ip_address(literal.partition("%")[0])):
                raise RefusedAddressError(f"{host} stands for {literal}, which is no public address")
            results.append(
                ResolveResult(
                    hostname=host,
                    host=literal,
                    port=port,
                    family=its_family,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        return results

    async def close(self) -> None:
        """Release nothing: there is nothing."""
