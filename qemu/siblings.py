# SPDX-License-Identifier: GPL-2.0
"""The other guest of a topology with siblings: on the same device, of CID 4, and linked with
the first one by a network of their own. It does what that one asks for, and boots again
whenever it has powered off."""

import os
import re
import subprocess
import threading
import time

# The guests by their numbers: CIDs, and addresses on the link.
CIDS = (3, 4)
ADDRESSES = ("10.0.3.3", "10.0.3.4")

# What the device counts of each guest where all is well: none of it.
NONE_OF = ("lies", "malformed", "small_buffers")


def link(number, sockets, machine):
    """QEMU's arguments for a guest's end of the link, on a machine."""
    here, there = (f"{sockets}/link{end}.sock" for end in (number, 1 - number))
    return ["-netdev", f"dgram,id=link,local.type=unix,local.path={here},"
                       f"remote.type=unix,remote.path={there}",
            "-device", f"{machine.network},netdev=link,mac=52:54:00:00:00:0{CIDS[number]}"]


class Sibling:
    """The guest that a command boots, again and again; a context manager starts and ends it.
    `devices` are the sockets of its devices, which are there when those can be connected to."""

    def __init__(self, command, devices, log):
        self._command = command
        self._devices = devices
        self._log = log
        self._lock = threading.Lock()
        self._qemu = None
        self._over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with self._lock:
            self._over = True
            if self._qemu:
                self._qemu.kill()
        self._thread.join()

    def _run(self):
        with open(self._log, "wb") as log:
            while self._boot(log):
                # The status of a command that is wrong, too, is in the log.
                if self._qemu.wait() != 0:
                    return

    def _boot(self, log):
        """Starts it as soon as the devices can have it; gives whether it is to run."""
        while not all(map(os.path.exists, self._devices)) and not self._over:
            time.sleep(0.02)
        with self._lock:
            if not self._over:
                self._qemu = subprocess.Popen(self._command, stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log)
        return not self._over


def mistakes(log):
    """What the device has counted that the drivers should never have let it, a sentence each."""
    told = dict(re.findall(r"^counters of (\d+): (.*)$", log, re.M))
    for cid in CIDS:
        counted = dict(re.findall(r"(\w+)=(\d+)", told.get(str(cid), "")))
        for name in NONE_OF:
            if counted.get(name) != "0":
                yield f"the device counts {counted.get(name, 'no')} {name} of guest {cid}"
