# SPDX-License-Identifier: GPL-2.0
"""The host's side of a topology: the vhost-user device, and the programs that
the guest talks to. Both are ordinary processes on unix sockets."""

import os
import pathlib
import subprocess
import time

import machines
import siblings

GUEST_CID = 3
# The size of a scripted device's queues, that of vhost-device-vsock's.
QUEUE_SIZE = 128

# The QEMU that can give a guest any vhost-user device, and loses no interrupts of a guest in a guest,
# as a command.
NEWER_QEMU = ["/opt/usr/bin/qemu-system-x86_64", "-L", "/opt/usr/share/qemu",
              "-L", "/opt/usr/share/seabios"]


def is_all_its_own(topology):
    """Whether QEMU knows nothing of the topology's device but what it is told."""
    return topology.get("device") in ("scripted", "sibling") and not topology.get("msi")


class HostFailed(Exception):
    """A process of the host's side did not come up, or ended early."""


class Host:
    """Started by `start`, ended by `stop`; a context manager does both."""

    def __init__(self, topology, sockets, logs):
        self._topology = topology
        self._sockets = pathlib.Path(sockets)
        self._logs = pathlib.Path(logs)
        self._processes = []
        # Of the first device.
        self._device = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def device_arguments(self, number=0):
        """What QEMU's command line needs for the device of the topology, and for that of
        the guest with this number where there are several."""
        if "device" not in self._topology:
            return []
        memory = [
            "-object", f"memory-backend-memfd,id=ram,size={self._topology['memory']}M,share=on",
            "-machine", "memory-backend=ram",
        ]
        if self._topology["device"] == "scripted":
            return memory + [word for number, (_, size) in enumerate(self._offers())
                             for word in self._test_device(number, size)]
        if not self._topology.get("siblings"):
            return memory + [word for each in self._numbers() for word in self._plug(each)]
        plug = self._test_device if is_all_its_own(self._topology) else self._plug
        return memory + [word for each in self._ends(number) for word in plug(each)] \
            + siblings.link(number, self._sockets, machines.of(self._topology))

    def _ends(self, number):
        """The numbers of a sibling's ends of its devices."""
        return [number + len(siblings.CIDS) * device for device in self._numbers()]

    def sockets(self, number):
        """Where the devices of a sibling listen for it."""
        return [self.socket(each) for each in self._ends(number)]

    def _plug(self, number):
        """vhost-device-vsock, or one of several."""
        plugged = ",".join(f"{key}={value}" for key, value in self.plugged(number).items())
        return ["-chardev", f"socket,id=vsock{number},path={self.socket(number)}",
                "-device", plugged]

    def plugged(self, number=0):
        """The properties of the device in QEMU, by their names."""
        machine = machines.of(self._topology)
        return {"driver": machine.device, "id": f"device{number}", "chardev": f"vsock{number}",
                **machine.bus}

    def restart_device(self):
        """Ends the process of the first device, and starts another in its place; gives the path
        of its socket."""
        self._end(self._device)
        self._processes.remove(self._device)
        for path in (self.socket(0), self._vm(0)):
            pathlib.Path(path).unlink(missing_ok=True)
        self._device = self._start_device(0)
        return self.socket(0)

    def _test_device(self, number, size=QUEUE_SIZE):
        """A device that is all its process's: QEMU knows nothing of it but what it is told here."""
        machine = machines.of(self._topology)
        bus = "".join(f",{key}={value}" for key, value in machine.bus.items())
        packed = ",packed=on" if self._topology.get("packed") else ""
        return ["-chardev", f"socket,id=vsock{number},path={self.socket(number)}",
                "-device", f"{machine.any_device},chardev=vsock{number},virtio-id=19,"
                           f"num_vqs=3,vq_size={size},config_size=8{bus}{packed}"]

    def _start(self):
        if self._topology.get("device") == "scripted":
            self._start_scripted()
        elif self._topology.get("device") == "sibling":
            for number in self._numbers():
                self._start_sibling(number)
        elif self._topology.get("siblings"):
            self._start_between_siblings()
        elif self._topology.get("device"):
            for number in self._numbers():
                device = self._start_device(number)
                self._device = self._device or device
                if self._topology.get("peer"):
                    self._start_peer(number, device)

    def _numbers(self):
        return range(self._topology.get("devices", 1))

    @staticmethod
    def _log_of(program, number):
        return f"{program}{number or ''}"

    def _vm(self, number):
        return f"{self._sockets}/vm{number}.sock"

    def _start_device(self, number):
        # The device takes the header and one data descriptor of a packet,
        # which is what rvsock sends; the C driver sends what is above 32 KiB in
        # several, and the device drops it silently. So where the C driver is
        # loaded for comparison it only receives. The buffer is as large as the
        # guest's own, since a reader cannot count on more than the smaller one.
        device = self._spawn(
            self._log_of("device", number),
            ["/device/bin/vhost-device-vsock", f"--guest-cid={GUEST_CID + number}",
             f"--socket={self.socket(number)}", f"--uds-path={self._vm(number)}",
             "--tx-buffer-size=262144"],
            RUST_LOG="warn")
        self._wait_for(device, "vhost-device-vsock", pathlib.Path(self.socket(number)).exists)
        return device

    def _start_between_siblings(self):
        command = ["/device/bin/vhost-device-vsock"]
        command += [f"--vm=guest-cid={cid},socket={self.socket(number)},"
                    f"uds-path={self._vm(number)}" for number, cid in enumerate(siblings.CIDS)]
        device = self._spawn("device", command, RUST_LOG="error")
        self._wait_for(device, "vhost-device-vsock", lambda: all(
            pathlib.Path(self.socket(number)).exists() for number in range(len(siblings.CIDS))))

    def socket(self, number):
        """Where a device listens for its virtual machine."""
        return f"{self._sockets}/device{number}.sock"

    def _offers(self):
        """The scripted devices of the topology: what each is told, and the size of its queues,
        which is not its own to say."""
        for offer in self._topology["offers"]:
            words = offer.split(",") if offer else []
            sizes = [word for word in words if word.startswith("size=")]
            yield ([word for word in words if word not in sizes],
                   sizes[0].removeprefix("size=") if sizes else QUEUE_SIZE)

    def _start_scripted(self):
        command = ["build/scripted/rvsock-scripted", "--scenarios=tests/scripted/scenarios"]
        command += [f"--device={','.join([self.socket(number), *words])}"
                    for number, (words, _) in enumerate(self._offers())]
        device = self._spawn("device", command)
        self._wait_for(device, "rvsock-scripted",
                       lambda: "ready" in (self._logs / "device.log").read_text())

    def _start_sibling(self, device_number):
        command = ["build/sibling/rvsock-sibling"]
        command += [f"--{offer}" for offer in ("platform", "packed") if self._topology.get(offer)]
        command += [f"--guest={self.sockets(number)[device_number]},{cid}"
                    for number, cid in enumerate(siblings.CIDS)]
        name = self._log_of("device", device_number)
        device = self._spawn(name, command)
        self._wait_for(device, "rvsock-sibling",
                       lambda: "ready" in (self._logs / f"{name}.log").read_text())

    def _start_peer(self, number, device):
        name = self._log_of("peer", number)
        command = ["build/peer/rvsock-peer", f"--socket={self._vm(number)}",
                   f"--stats={self._logs}/{name}.jsonl", f"--device-pid={device.pid}"]
        if os.environ.get("FLIP_BYTE"):
            command.append(f"--flip-byte={os.environ['FLIP_BYTE']}")
        peer = self._spawn(name, command)
        self._wait_for(peer, "rvsock-peer",
                       lambda: "ready" in (self._logs / f"{name}.log").read_text())

    def _spawn(self, name, command, **environment):
        with open(self._logs / f"{name}.log", "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT,
                                       env={**os.environ, **environment})
        self._processes.append(process)
        return process

    def _wait_for(self, process, name, ready):
        deadline = time.monotonic() + 10
        while not ready():
            if process.poll() is not None:
                raise HostFailed(f"{name} ended with status {process.returncode} before it "
                                 f"was ready; its log is in {self._logs}")
            if time.monotonic() > deadline:
                raise HostFailed(f"{name} was not ready within 10 s; its log is in {self._logs}")
            time.sleep(0.02)

    def stop(self):
        """Ends what runs, the last started first, by force if it must be."""
        for process in reversed(self._processes):
            self._end(process)
        self._processes.clear()

    def _end(self, process):
        # Between siblings it ends with the last of its virtual machines, and then has something
        # to tell.
        if self._topology.get("device") != "sibling":
            process.terminate()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
