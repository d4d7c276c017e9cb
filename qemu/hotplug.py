# SPDX-License-Identifier: GPL-2.0
"""Unplugs the guest's socket device, and plugs another one, when the guest asks for it: a
line "##rvsock unplug" or "##rvsock plug" of its results. What came of it the guest sees by
itself; the log is in hotplug.log."""

import time

import host
import qmp


class Hotplug:
    """Called with each piece of the results, in whole lines."""

    def __init__(self, side, control, logs):
        self._side = side
        self._control = control
        self._log = logs / "hotplug.log"

    def __call__(self, text):
        for line in text.splitlines():
            match line.split():
                case ["##rvsock", "unplug"]:
                    self._carry_out("unplug", self._unplug)
                case ["##rvsock", "plug"]:
                    self._carry_out("plug", self._plug)

    def _carry_out(self, name, request):
        start = time.monotonic()
        try:
            with qmp.Qmp(self._control) as control:
                request(control)
            outcome = "done"
        except (qmp.QmpFailed, host.HostFailed, OSError) as error:
            # The test that asked for it fails, and says so.
            outcome = str(error) or type(error).__name__
        with open(self._log, "a") as log:
            print(f"{name}: {outcome}, {time.monotonic() - start:.2f} s", file=log)

    def _unplug(self, control):
        name = self._side.plugged()["id"]
        control.ask("device_del", id=name)
        # The guest is asked first, and gives it up when its driver has.
        control.wait("DEVICE_DELETED", device=name)

    def _plug(self, control):
        device = self._side.plugged()
        # The process behind the old one has a connection to QEMU, which outlives the device,
        # and may not outlive that itself.
        self._remove_chardev(control, device["chardev"])
        path = self._side.restart_device()
        backend = {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": path}}, "server": False}}
        control.ask("chardev-add", id=device["chardev"], backend=backend)
        control.ask("device_add", **device)

    @staticmethod
    def _remove_chardev(control, name):
        """A device that is gone lets go of it a moment later."""
        deadline = time.monotonic() + qmp.PATIENCE
        while True:
            try:
                control.ask("chardev-remove", id=name)
                return
            except qmp.QmpFailed:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)
