"""Loopback ports: reserves ports for servers in other processes."""

import atexit
import socket
import sys

_held: list[socket.socket] = []


def free_port() -> int:
    """Return a port of 127.0.0.1 that no other test gets.

    Linux assigns a bound port neither to a socket that binds to any port nor to an outgoing
    connection, but a server with SO_REUSEADDR can still listen on it. The port therefore stays
    reserved over all starts of a server, until this process ends. On other systems, that option has
    another meaning, and the port is only likely to be free.
    """
    holder = socket.socket()
    if sys.platform == "linux":
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder)
        atexit.register(holder.close)  # without a warning at the end of the process
    holder.bind(("127.0.0.1", 0))
    port = int(holder.getsockname()[1])
    if holder not in _held:
        holder.close()
    return port
