"""Network namespaces: run a process in a network of its own, whose link a test can cut.

The link connects the namespace to this machine only. A cut drops packets and closes nothing.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace, and the addresses of both ends of its link."""

    name: str
    host: str
    address: str

    def cut(self) -> None:
        """Drop all packets from now on."""
        _ip("link", "set", f"{self.name}h", "down")

    def restore(self) -> None:
        """Deliver packets again."""
        _ip("link", "set", f"{self.name}h", "up")


@contextmanager
def network_namespace() -> Iterator[Namespace]:
    """Create a namespace; skip the test where that is not permitted."""
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need the command ip (iproute2)")
    number = os.getpid() % 16_384
    network = f"10.213.{number >> 6}.{(number & 63) << 2}"
    first = network.rsplit(".", 1)
    host, address = (f"{first[0]}.{int(first[1]) + i}" for i in (1, 2))
    space = Namespace(f"wos{number}", host, address)
    try:
        _ip("netns", "add", space.name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted: {error.stderr.decode().strip()}")
    try:
        inside = ("-n", space.name)
        names = (f"{space.name}h", f"{space.name}n")
        _ip("link", "add", names[0], "type", "veth", "peer", "name", names[1], "netns", space.name)
        _ip("addr", "add", f"{host}/30", "dev", names[0])
        _ip(*inside, "addr", "add", f"{address}/30", "dev", names[1])
        _ip("link", "set", names[0], "up")
        _ip(*inside, "link", "set", names[1], "up")
        _ip(*inside, "link", "set", "lo", "up")
        yield space
    finally:
        _ip("netns", "del", space.name)


def enter_namespace(name: str) -> None:
    """Move this process, which has one thread, into a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/var/run/netns/{name}").open() as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {name}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=60)
