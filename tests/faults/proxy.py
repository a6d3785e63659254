"""A TCP proxy on 127.0.0.1 that can be cut like a network cable.

Belongs here: passing bytes on, and not doing so. Does not belong: when it is cut (kinds.py).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that ends a connection with RST instead of FIN."""


class Proxy:
    """Passes connections from its own port to another; `cut` resets all of them and refuses new ones."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.is_cut = False
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._stopped = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._thread.start()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        return listener

    def cut(self) -> None:
        """Reset every connection; from now on connections are refused."""
        with self._lock:
            self.is_cut = True
            self._selector.unregister(self._listener)
            self._listener.close()
            for side in list(self._pairs):
                self._drop(side)

    def mend(self) -> None:
        """Accept connections again, on the same port."""
        with self._lock:
            self._listener = self._listen(self.port)
            self._selector.register(self._listener, selectors.EVENT_READ)
            self.is_cut = False

    def close(self) -> None:
        """End it."""
        if not self.is_cut:
            self.cut()
        self._stopped = True
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._stopped:
            ready = self._selector.select(0.05)
            with self._lock:
                for key, _ in ready:
                    side = key.fileobj
                    assert isinstance(side, socket.socket)
                    if side is self._listener and not self.is_cut:
                        self._accept()
                    elif side in self._pairs:
                        self._pass_on(side)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            near, _ = self._listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                self._reset(near)
                return
            for one, other in ((near, far), (far, near)):
                self._pairs[one] = other
                self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, side: socket.socket) -> None:
        try:
            data = side.recv(65536)
            if data:
                self._pairs[side].sendall(data)
                return
        except OSError:
            pass
        self._drop(side)

    def _drop(self, side: socket.socket) -> None:
        other = self._pairs.pop(side, None)
        for each in (side, other):
            if each is not None:
                self._pairs.pop(each, None)
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(each)
                self._reset(each) if self.is_cut else each.close()

    @staticmethod
    def _reset(side: socket.socket) -> None:
        with contextlib.suppress(OSError):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        side.close()
