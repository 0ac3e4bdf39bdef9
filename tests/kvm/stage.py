"""What a host has to have before machines can be declared on it: a pool with the tiny guest's image, a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guests import take_away
from virtlab.hosts.host import Host
from virtlab.tiny.image import Tiny

IMAGE = "tiny.qcow2"
NETWORK = """
<network>
  <name>default</name>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='off'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp>
  </ip>
</network>"""


@contextmanager
def opened(host: Host) -> Iterator[Any]:
    """A connection to a host, for the time of a C(with) block."""
    import libvirt

    libvirt.registerErrorHandler(lambda *_error: None, None)
    connection = libvirt.open(host.uri)
    try:
        yield connection
    finally:
        connection.close()


def stage(host: Host, tiny: Tiny) -> Host:
    """Give a host the network C(default), and a pool C(default) of its own that has the tiny guest's image."""
    directory = tiny.directory.parent / f"pool-{host.name}"
    directory.mkdir(exist_ok=True)
    if not (directory / IMAGE).exists():
        shutil.copyfile(tiny.disk, directory / IMAGE)
    with opened(host) as connection:
        if "default" not in {network.name() for network in connection.listAllNetworks()}:
            connection.networkDefineXML(NETWORK)
        network = connection.networkLookupByName("default")
        if not network.isActive():
            network.create()
        if "default" not in {pool.name() for pool in connection.listAllStoragePools()}:
            connection.storagePoolDefineXML(
                f"<pool type='dir'><name>default</name><target><path>{directory}</path></target></pool>"
            )
        pool = connection.storagePoolLookupByName("default")
        if not pool.isActive():
            pool.create()
        pool.refresh()
    return host


def pool_directory(host: Host) -> Path:
    """Where the volumes of the pool C(default) are."""
    with opened(host) as connection:
        xml = connection.storagePoolLookupByName("default").XMLDesc()
    return Path(xml.split("<path>")[1].split("</path>")[0])


def remove_machines(host: Host, *prefixes: str) -> None:
    """Take machines away whose names begin so, with the volumes of such names in the pool C(default)."""
    with opened(host) as connection:
        for domain in connection.listAllDomains():
            if domain.name().startswith(prefixes):
                take_away(domain)
        pool = connection.storagePoolLookupByName("default")
        for volume in pool.listAllVolumes():
            if volume.name().startswith(prefixes):
                volume.delete()
