# SPDX-License-Identifier: GPL-2.0
"""A guest: what is in it, how it is booted and watched, and what it left.

Runs in the build root, which has QEMU, and where everything that is started
ends with the command that started it.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib

import emulator
import host
import hotplug
import initramfs
import kernels
import machines
import nested
import programs
import qmp
import siblings

CLONE = pathlib.Path(__file__).resolve().parent.parent

# Lines of the kernel's log that mean a fault, whatever a test made of them.
FAULTS = re.compile(
    r"\] (WARNING: |BUG: |INFO: (rcu|task|possible|trying)|watchdog: |rcu: .*(stall|INFO)"
    r"|Oops|general protection fault|stack segment|kernel BUG|Kernel panic|panicked at"
    r"|rust_kernel: |refcount_t: |list_(add|del) corruption|usercopy: |KASAN|UBSAN|slub"
    r"|unregister_netdevice: waiting|Unable to handle|page allocation failure)"
    r"|^(WARNING: |BUG: |Oops)|Kernel panic - not syncing"
    # What only the debugging kernel says.
    r"|ODEBUG: |DMA-API: .*(: |err)|kmemleak: .*(new suspected|disabled|error|limit)"
    r"|BUG: MAX_LOCK|lockdep: |INFO: lockdep")
# From this line of the log on, faults are made on purpose.
ON_PURPOSE = "rvsock-test: faults on purpose"


# So long (seconds, times the kernel's patience) it may take until a guest's plan
# begins; one that runs in another guest has as long after that.
START_SECONDS = 120

# So long (seconds, times the kernel's patience) a guest may tell nothing after its kernel has
# reported a fault: that may have been its last word, and a plan's limit can be hours.
SILENT_SECONDS = 120

# What QEMU takes beside the guest's memory, in MiB.
QEMU_MEMORY = 200


class GuestFailed(Exception):
    """The guest could not be made or booted; the message says what to do."""


class EmulatorFailed(GuestFailed):
    """The guest could not go on, through no fault of its own or of anything in it."""


def end_with(main):
    """Ends a script with the status that its `main` gives; what keeps a guest from running is
    told as a sentence."""
    try:
        sys.exit(main())
    except (GuestFailed, host.HostFailed, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def topologies():
    """The topologies by name."""
    with open(CLONE / "qemu/topologies.toml", "rb") as file:
        return tomllib.load(file)


@dataclasses.dataclass
class Outcome:
    """What a run left."""
    logs: pathlib.Path
    timed_out: bool
    status: int
    seconds: float
    # Whether a device of the project's own, which counts mistakes, is between siblings.
    counted: bool = False

    def results(self):
        """What the plan and its programs printed."""
        return (self.logs / "results.log").read_text(errors="replace")

    def faults(self):
        """The lines of the kernel's log that mean a fault; also of the kernel of
        another guest, the host or a sibling."""
        return [line.strip()
                for name in ("console.log", "host-console.log", "sibling-console.log")
                for line in self._log(name)[0].splitlines() if FAULTS.search(line)]

    def mistakes(self):
        """What a device between siblings has counted that it should not have to."""
        if not self.counted:
            return []
        return [mistake for log in sorted(self.logs.glob("device*.log"))
                for mistake in siblings.mistakes(log.read_text())]

    def log(self):
        """The log of the kernel under test."""
        return self._log("console.log")[0]

    def on_purpose(self):
        """The kernel's log from the announcement of faults on; empty without one."""
        return self._log("console.log")[1]

    def _log(self, name):
        path = self.logs / name
        text = path.read_text(errors="replace") if path.exists() else ""
        before, _, after = text.partition(ON_PURPOSE)
        return before, after


class Silence:
    """Whether a guest that writes its logs into a directory has stopped after a fault: it has told
    nothing for so many seconds, and its kernel's log has one."""

    def __init__(self, logs, limit):
        self._outcome = Outcome(logs, timed_out=False, status=0, seconds=0)
        self._limit = limit
        self._since = time.monotonic()

    def broken(self):
        """It has told something."""
        self._since = time.monotonic()

    def is_final(self):
        """Whether it has stopped."""
        if time.monotonic() - self._since <= self._limit:
            return False
        # If it has not, the next look at the logs is not to come at once.
        self.broken()
        return bool(self._outcome.faults())


def pack(path, scripts, kernel, topology, more=lambda archive: None):
    """Writes the initramfs: init, programs, the kernel's modules, these scripts by
    name, what the topology has in it, and what `more` adds.

    init runs the one called "plan", or else the one called "play".
    """
    archive = initramfs.Archive()
    archive.console()
    for directory in ("proc", "sys", "tmp", "bin", "modules", "tests"):
        archive.directory(directory)
    archive.file("bin/busybox", "/usr/bin/busybox")
    archive.file("init", CLONE / "qemu/init")
    archive.file("plan-functions.sh", CLONE / "qemu/plan-functions.sh")
    if kernel.functions:
        archive.file(kernel.functions, CLONE / "qemu" / kernel.functions)
    for module in sorted((kernel.directory / "modules").glob("*.ko")):
        archive.file(f"modules/{module.name}", module)
    for built in filter(pathlib.Path.exists, kernel.built):
        with tempfile.NamedTemporaryFile() as stripped:
            subprocess.run(["objcopy", "--strip-debug", built, stripped.name], check=True)
            archive.file(f"modules/{built.name}", stripped.name)
    for program in sorted((CLONE / "build/kselftest").glob("*")):
        if program.is_file() and os.access(program, os.X_OK):
            archive.file(f"tests/{program.name}", program)
    for name, content in scripts.items():
        archive.text(name, content)
    if topology.get("programs"):
        programs.add(archive)
    more(archive)
    archive.write(path)


# A guest whose memory a device cannot reach: what they exchange is copied through a part of it
# that is set aside, as where the rest is encrypted.
PLATFORM_ARGUMENTS = " swiotlb=force"
# Of every guest. QEMU emulates, also where KVM is there: no run depends on it.
COMMON = ["-nodefaults", "-display", "none", "-no-reboot"]
FREE = ["-accel", "tcg,thread=multi"]
# The guest's time is the number of instructions that it has executed, a nanosecond each: what
# it does, and how long that takes it, repeats from run to run.
COUNTED = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off",
           "-rtc", "base=2026-01-01T00:00:00,clock=vm"]
COUNTED_ARGUMENTS = " nokaslr norandmaps random.trust_cpu=off"


def _command(topology, image, kernel, more=""):
    if topology.get("nested"):
        return nested.command(image, topology, [*FREE, *COMMON])
    counted = topology.get("counted")
    machine = machines.of(topology)
    newer = host.is_all_its_own(topology)
    return [
        *(host.NEWER_QEMU if newer else ["qemu-system-x86_64"]), *(COUNTED if counted else FREE),
        *COMMON,
        *machine.arguments,
        "-cpu", machine.processor(),
        "-smp", str(topology["processors"]), "-m", str(topology["memory"]),
        "-kernel", str(kernel.directory / "vmlinuz"), "-initrd", str(image),
        "-append", kernel.arguments + machine.kernel_arguments()
        + (PLATFORM_ARGUMENTS if topology.get("platform") else "")
        + (COUNTED_ARGUMENTS if counted else "") + more,
    ]


class Run:
    """One boot of a guest, in a topology, with its logs in a directory. `more` adds
    to what it boots from, an archive; `arguments` is added to the kernel's command line,
    `emulator` to QEMU's; `sibling_plan` is what a sibling does."""

    def __init__(self, topology, logs, scripts, kernel=None, more=lambda archive: None,
                 arguments="", emulator=(), sibling_plan=CLONE / "qemu/plans/sibling.sh"):
        known = topologies()
        if topology not in known:
            raise GuestFailed(f"there is no topology '{topology}'; there are: {', '.join(known)}")
        self._kernel = kernel or kernels.chosen()
        self._topology = dict(known[topology])
        self._topology["memory"] = max(self._topology["memory"], self._kernel.memory)
        self._siblings = self._topology.get("siblings")
        self._scripts = scripts
        if self._siblings:
            self._scripts = scripts | {"address": siblings.ADDRESSES[0]}
        self._machine = machines.of(self._topology)
        self._scripts = self._scripts | self._drivers()
        self._more = more
        self._arguments = arguments and f" {arguments}"
        self._emulator = [*emulator]
        self._sibling_plan = sibling_plan
        self.logs = pathlib.Path(logs)
        self._make_logs()

    def _drivers(self):
        """What every guest loads to find its devices, a script of its archive."""
        drivers = self._machine.drivers
        return {"drivers": "".join(f"{driver}\n" for driver in drivers)} if drivers else {}

    def _make_logs(self):
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)

    def _pack(self, directory, limit=0, interactive=False):
        """Writes what the run boots from into the directory; gives its path."""
        image = directory / "initramfs"
        pack(image, self._scripts, self._kernel, self._topology, self._more)
        if not self._topology.get("nested"):
            return image
        outer = directory / "host-initramfs"
        pack(outer, {}, kernels.STOCK, self._topology,
             lambda archive: nested.add(archive, image, self._kernel, self._topology, limit,
                                        interactive))
        return outer

    def _sibling(self, side, sockets):
        """The other guest, where the topology has one."""
        if not self._siblings:
            return contextlib.nullcontext()
        image = sockets / "sibling-initramfs"
        scripts = {"plan": self._sibling_plan.read_text(), "address": siblings.ADDRESSES[1],
                   **self._drivers()}
        pack(image, scripts, self._kernel, self._topology, self._add_to_sibling)
        command = _command(self._topology, image, self._kernel) + side.device_arguments(1)
        command += _serial_lines(self._machine, sockets, self.logs, "sibling-")
        return siblings.Sibling(command, side.sockets(1), self.logs / "sibling-qemu.log")

    def _add_to_sibling(self, archive):
        archive.file("host-agent.sh", CLONE / "qemu/host-agent.sh")
        self._more(archive)

    def play(self):
        """Boots with the console on the terminal, until the guest powers off."""
        with tempfile.TemporaryDirectory(prefix="guest-") as sockets:
            sockets = pathlib.Path(sockets)
            image = self._pack(sockets, interactive=True)
            with host.Host(self._topology, sockets, self.logs) as side, \
                    self._sibling(side, sockets):
                return subprocess.call(_command(self._topology, image, self._kernel)
                                       + ["-serial", "mon:stdio"] + side.device_arguments())

    def boot(self, limit, watch=lambda text: None):
        """Boots, and waits for the guest to power off, at most `limit` seconds.

        `watch` is given the results as they come, in whole lines. A guest that the emulator has
        let down is booted once more: `watch` gets a line "##rvsock again", and nothing of what
        was before counts.
        """
        try:
            return self._boot(limit, watch)
        except EmulatorFailed as error:
            kept = self.logs.with_name(f"{self.logs.name}.lost")
            shutil.rmtree(kept, ignore_errors=True)
            self.logs.rename(kept)
            print(f"{error}; booting again (logs: {kept.relative_to(CLONE)})\n", end="", flush=True)
        self._make_logs()
        watch("##rvsock again\n")
        return self._boot(limit, watch)

    def _boot(self, limit, watch):
        # Paths of unix sockets are limited to 108 bytes, hence a short directory.
        with tempfile.TemporaryDirectory(prefix="guest-") as sockets:
            sockets = pathlib.Path(sockets)
            image = self._pack(sockets, limit)
            # Where the guest that is started here is the host of the one under
            # test, its logs are the host's, and it watches over the other's time.
            outer = self._outer()
            with host.Host(self._topology, sockets, self.logs) as side, \
                    self._sibling(side, sockets):
                command = _command(self._topology, image, self._kernel, self._arguments)
                command += self._emulator + side.device_arguments()
                command += _serial_lines(self._machine, sockets, self.logs, outer)
                if not outer:
                    obey = hotplug.Hotplug(side, sockets / "qmp.sock", self.logs)
                    return self._watch(command, sockets, limit, obey, watch)
                outcome = self._watch(command + nested.serial_lines(self.logs), sockets,
                                      limit + nested.BOOT_SECONDS, watch)
        if outcome.timed_out and not outcome.faults() and nested.stands_still(self.logs):
            raise EmulatorFailed("the outer guest, which should have ended the inner one, stands still")
        try:
            outcome.timed_out |= nested.check(self.logs)
        except nested.NestedFailed as error:
            raise GuestFailed(str(error)) from error
        return outcome

    def _outer(self):
        """What the names of a guest's logs and sockets begin with that is started here as the host
        of the one under test."""
        return "host-" if self._topology.get("nested") else ""

    def _dump(self, sockets):
        """What the processors and the tasks of the kernels are at that hang, or make another one
        hang."""
        (self.logs / "registers.log").write_text(
            emulator.registers(sockets / f"{self._outer()}monitor.sock"))
        _dump(sockets, self._outer())
        if self._siblings:
            _dump(sockets, "sibling-")

    def _watch(self, command, sockets, limit, *watchers):
        for name in ("console.log", "results.log"):
            (self.logs / name).touch()
        start = time.monotonic()
        timed_out, begun, come = False, False, ""
        inner_log = None
        start_limit = START_SECONDS * self._kernel.patience
        if self._topology.get("nested"):
            inner_log = self.logs / "host-results.log"
            inner_log.touch()
            start_limit += START_SECONDS
        health = emulator.Emulator(sockets / f"{self._outer()}monitor.sock", inner_log)
        silence = Silence(self.logs, SILENT_SECONDS * self._kernel.patience)
        with open(self.logs / "qemu.log", "wb") as log, \
                open(self.logs / "results.log", errors="replace") as results:
            _check_memory(command, 2 if self._siblings else 1)
            qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                while True:
                    try:
                        qemu.wait(timeout=0.1)
                    except subprocess.TimeoutExpired:
                        pass
                    come += results.read()
                    whole, newline, come = come.rpartition("\n")
                    if newline:
                        begun = True
                        silence.broken()
                    for watch in watchers:
                        watch(whole + newline)
                    if qemu.returncode is not None:
                        break
                    if lost := health.look():
                        raise EmulatorFailed(lost)
                    if time.monotonic() - start > limit or silence.is_final():
                        timed_out = True
                        self._dump(sockets)
                        break
                    if not begun and time.monotonic() - start > start_limit:
                        self._dump(sockets)
                        raise GuestFailed(f"the guest had not begun its plan after {start_limit} s; "
                                          f"how far it came is in {self.logs.relative_to(CLONE)}/console.log")
            finally:
                if qemu.poll() is None:
                    qemu.kill()
                    qemu.wait()
        if qemu.returncode == -9 and not timed_out:
            raise GuestFailed("QEMU was killed, most likely since memory ran out: end other "
                              "programs, or give this machine (or its container) more")
        if qemu.returncode not in (0, -9):
            failure = EmulatorFailed if emulator.crashed(qemu.returncode) else GuestFailed
            raise failure(emulator.last_words(qemu.returncode, self.logs / "qemu.log"))
        return Outcome(self.logs, timed_out, qemu.returncode, time.monotonic() - start,
                       self._topology.get("device") == "sibling")


def _serial_lines(machine, sockets, logs, whose=""):
    """The guest's two serial lines, for the kernel's log and for results, and QEMU's control,
    once for what the guest asks for and once for what looks at it. Both logs go on when it
    boots once more."""
    return [
        "-chardev", f"socket,id=console,path={sockets}/{whose}console.sock,server=on,"
                    f"wait=off,logfile={logs}/{whose}console.log,logappend=on",
        "-serial", "chardev:console",
        "-chardev", f"file,id=results,path={logs}/{whose}results.log,append=on",
        *machine.results,
        "-qmp", f"unix:{sockets}/{whose}qmp.sock,server=on,wait=off",
        "-qmp", f"unix:{sockets}/{whose}monitor.sock,server=on,wait=off",
    ]


def _check_memory(command, guests):
    """Sees that the memory of so many guests, and what QEMU takes for itself, is there."""
    available = int(os.environ.get("RVSOCK_MEMORY") or 0)
    needed = guests * (int(command[command.index("-m") + 1]) + QEMU_MEMORY)
    if 0 < available < needed:
        raise GuestFailed(f"{'the guest takes' if guests == 1 else 'the guests take'} {needed} MiB of memory and {available} are available: "
                          "end other programs, or give this machine (or its container) more")


def _dump(sockets, whose=""):
    """Makes a kernel that hangs write down what its tasks are at, by the SysRq
    keys w and t on the serial console; gives it time to write."""
    try:
        with qmp.Qmp(sockets / f"{whose}qmp.sock") as control, \
                socket.socket(socket.AF_UNIX) as console:
            console.connect(f"{sockets}/{whose}console.sock")
            _drain(console, 0.5)
            for key, seconds in ((b"w", 1), (b"t", 5)):
                control.ask("chardev-send-break", id="console")
                _drain(console, 0.5)
                console.sendall(key)
                _drain(console, seconds)
    except (OSError, qmp.QmpFailed):
        # Without the dump the run has failed all the same.
        pass


def _drain(connection, seconds):
    """Reads and drops for some seconds: QEMU stops the serial line, and with it
    its log, when a connected reader takes nothing."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            if not connection.recv(65536):
                return
        except TimeoutError:
            return
