# SPDX-License-Identifier: GPL-2.0
"""QEMU's control socket, by its machine protocol: an object of JSON a line."""

import json
import socket

# Seconds that QEMU, and a guest that it waits for, may take to answer.
PATIENCE = 20


class QmpFailed(Exception):
    """QEMU did not do what it was asked; the message is its own."""


class Qmp:
    """A connection to the control socket, which takes one at a time; a context manager."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.connect(str(path))
            self._lines = self._socket.makefile("rb")
            self._events = []
            self._message()
            self.ask("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._lines.close()
        self._socket.close()

    def ask(self, command, **arguments):
        """Has a command carried out; gives what it returns."""
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode())
        while True:
            message = self._message()
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise QmpFailed(f"{command}: {message['error']['desc']}")
            else:
                return message["return"]

    def wait(self, event, **data):
        """Waits for an event with these data, which may have come already."""
        while not any(one["event"] == event and data.items() <= one.get("data", {}).items()
                      for one in self._events):
            message = self._message()
            if "event" in message:
                self._events.append(message)

    def _message(self):
        line = self._lines.readline()
        if not line:
            raise ConnectionError("QEMU has closed its control socket")
        return json.loads(line)
