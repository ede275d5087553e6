"""Whose request it is: the true client address behind the proxies that we trust."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REMEMBERED = 4_096


def parse_address(text: str) -> Address | None:
    """Read an address as proxies write it: bare, with a port, in brackets, with a zone; IPv4-mapped becomes IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Networks:
    """A set of networks that remembers its answers."""

    def __init__(self, networks: Iterable[str | Network]) -> None:
        self._networks = tuple(ip_network(network) for network in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)


class ClientAddresses:
    """Finds the client behind trusted proxies: the rightmost hop of X-Forwarded-For that we do not trust."""

    def __init__(self, trusted: Networks) -> None:
        self._trusted = trusted
        self._direct: dict[str, tuple[str, bool]] = {}

    def of(self, peer: str, headers: list[tuple[bytes, bytes]]) -> str:
        """Return the client's address in canonical form.

        X-Forwarded-For counts only if the peer is a trusted proxy. A hop that is no address ends the walk: what
        stands left of it was written by somebody whom we do not know.
        """
        known = self._direct.get(peer)
        if known is None:
            known = self._remember(peer)
        address, behind_proxy = known
        return self._walk(address, headers) if behind_proxy else address

    def _remember(self, peer: str) -> tuple[str, bool]:
        address = parse_address(peer)
        known = (peer, False) if address is None else (str(address), address in self._trusted)
        if len(self._direct) >= _REMEMBERED:
            self._direct.clear()
        self._direct[peer] = known
        return known

    def _walk(self, nearest: str, headers: list[tuple[bytes, bytes]]) -> str:
        chain = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        for hop in reversed(chain.decode("latin-1").split(",")):
            address = parse_address(hop)
            if address is None:
                break
            nearest = str(address)
            if address not in self._trusted:
                break
        return nearest
