"""Ports of loopback for servers in processes of their own."""

import socket
import sys

_held: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, and on which no other test will.

    Linux gives a port that is merely bound to nobody who asks for any port, nor to a connection
    that goes out, while a server that names it may still listen on it: servers set SO_REUSEADDR.
    So it stays ours over all starts of a server, until this process ends. Elsewhere that option
    means something else, and the port is only likely to be free.
    """
    holder = socket.socket()
    if sys.platform == "linux":
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder)
    holder.bind(("127.0.0.1", 0))
    port = int(holder.getsockname()[1])
    if holder not in _held:
        holder.close()
    return port
