"""Ports that nobody has, at this moment."""

import socket
from contextlib import suppress


def free_port(host: str, wanted: int) -> int:
    """Return the port that is wanted when nobody has it, else another."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with suppress(OSError):
        # Asking first: a server on all addresses does not keep every system from binding one of them.
        with socket.socket(family) as client:
            client.settimeout(1)
            taken = client.connect_ex((host, wanted)) == 0
        for port in (0,) if taken else (wanted, 0):
            with suppress(OSError), socket.socket(family) as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((host, port))
                return int(server.getsockname()[1])
    # Nothing can be served there: whoever tries says why.
    return wanted
