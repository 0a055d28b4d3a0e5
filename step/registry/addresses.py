"""Which addresses a server may make us connect to: by the address itself, however it is spelt."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

from step.errors import Unavailable

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds keep the credentials of their machines, beside the link-local addresses that most
# use: AWS and Google over IPv6 (fd00:ec2::254, fd20:ce::254), Azure's platform (168.63.129.16),
# Alibaba (100.100.100.200) and Oracle (192.0.0.192).
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
# https://docs.cloud.google.com/compute/docs/metadata/querying-metadata
# https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
# https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
# https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    )
)
# Addresses of IPv6 whose last 32 bits are one of IPv4, which is where they lead: translated
# (RFC 6052, RFC 8215) and compatible (RFC 4291, 2.5.5.1).
_ENDING_IN_IPV4 = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"))
)


def read_ip(host: str) -> IpAddress | None:
    """The address that a host is, without its scope, and of one that holds an IPv4 address, that.

    None for a name.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return _inner(address)


def is_metadata(address: IpAddress) -> bool:
    """Whether no registry is ever there: a metadata server's, link-local, or no single host's."""
    return (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    )


def is_internal(address: IpAddress) -> bool:
    """Whether the internet does not have it, loopback and metadata servers included."""
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return not address.is_global or site_local or is_metadata(address)


def require_reachable(host: str, address: IpAddress, *, internal: bool, plain: bool) -> None:
    """Raise Unavailable if `address`, which `host` leads to, must not be connected to.

    That is a metadata server always; what the internet does not have, unless `internal`; and
    without TLS (`plain`) anything but loopback.
    """
    if is_metadata(address):
        wrong = "where no registry is"
    elif is_internal(address) and not internal:
        wrong = "which the internet does not have"
    elif plain and not address.is_loopback:
        wrong = "which is not spoken to without TLS"
    else:
        return
    leads = "" if str(address) == host else f" leads to {address}"
    raise Unavailable(
        f"{host}{leads}, {wrong}; it was not connected to",
        "Nothing was sent. Is the name right, and who answers for it?",
    )


def _inner(address: IpAddress) -> IpAddress:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    held = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    if held is None and any(address in network for network in _ENDING_IN_IPV4):
        # ::1 is loopback, and :: nothing.
        held = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if int(address) > 1 else None
    return held or address
