# SPDX-License-Identifier: GPL-2.0
"""Whether the emulator has failed: ended by a fault of its own, or lost an interrupt. A guest can
do neither by itself.

A lost interrupt was seen with QEMU 10.0 and several processors, once in some dozens of hours: a
processor sleeps with interrupts allowed, and its local APIC has the timer's vector in service, as if
the handler ran, which never began. Nothing below that priority reaches this processor any more: its
timers have stopped for good, and sooner or later whatever waits for one of them hangs.

A failed KVM was seen in a guest in a guest, once in some hundreds of boots: the emulated processor
ended a run of the inner guest in a way that a processor does not ("KVM internal error. Suberror: 3",
an exit for a page of a device while an event was delivered). The QEMU in there stops the inner guest
then, and waits.

And some outer guests stand still as a whole, with QEMU 10.0 on busy machines: the processor sleeps with
interrupts allowed although its local APIC has a request for it, the timer's, which is above the
processor's priority.
"""

import re
import signal
import time

import qmp

# A kernel sleeps neither in a handler nor before it has told the APIC of its end. The state is
# read while it changes, so it counts when it was the same so often in a row.
LOOKS = 3
# Seconds between two looks.
PERIOD = 5.0

# What a program is ended by that finds itself at fault, or is.
FAULTS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
# Lines of its log that tell of its end.
LAST_LINES = 5

_PROCESSOR = re.compile(r"^CPU#(\d+)\s*$", re.M)
_FLAGS = re.compile(r"\bRFL=([0-9a-f]+)\b.*\bII=(\d)\b.*\bHLT=(\d)\b")
_FAILED_KVM = re.compile(r"^KVM internal error\b.*$", re.M)
_IN_SERVICE = re.compile(r"^ISR\s+(.*?)\s*$", re.M)
_REQUESTED = re.compile(r"^IRR\s+([\d ]+?)\s*$", re.M)
_PRIORITY = re.compile(r"\bPPR 0x([0-9a-f]+)")
_INTERRUPTS_ALLOWED = 0x200


def crashed(status):
    """Whether a QEMU that ended with this status, as subprocess has it, was at fault itself."""
    return -status in FAULTS


def last_words(status, log):
    """How QEMU ended, with the last lines of its log, in one."""
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"QEMU ended {how}; {log.name} ends with: {' / '.join(said[-LAST_LINES:]) or 'nothing'}"


def sleepers(registers):
    """The processors that sleep until an interrupt comes, by what QEMU tells of all registers."""
    _, *parts = _PROCESSOR.split(registers)
    for number, text in zip(parts[::2], parts[1::2]):
        flags = _FLAGS.search(text)
        if flags and int(flags[1], 16) & _INTERRUPTS_ALLOWED and flags.group(2, 3) == ("0", "1"):
            yield int(number)


def in_service(lapic):
    """The vectors that a local APIC has in service, as QEMU prints them; "" for none."""
    found = _IN_SERVICE.search(lapic)
    return "" if not found or found[1] == "(none)" else found[1]


def requested(lapic):
    """The vectors that a local APIC, as QEMU prints it, should interrupt its processor with; "" for
    none."""
    found, priority = _REQUESTED.search(lapic), _PRIORITY.search(lapic)
    if not found or not priority:
        return ""
    least = int(priority[1], 16) >> 4
    return " ".join(vector for vector in found[1].split() if int(vector) >> 4 > least)


def lost_vectors(lapic):
    """What a local APIC, as QEMU prints it, has of a processor that sleeps and should not have; ""
    for nothing."""
    if vectors := in_service(lapic):
        return f"{vectors} in service"
    if vectors := requested(lapic):
        return f"{vectors} requested"
    return ""


def failed_kvm(said):
    """What QEMU said of a failure of the KVM that it runs on, if it did."""
    found = _FAILED_KVM.search(said)
    return found[0].strip() if found else None


def registers(path):
    """All that QEMU, by its monitor at `path`, tells of the processors' registers."""
    try:
        with qmp.Qmp(path) as control:
            return "\n".join(_told(control, line) for line in ("info registers -a", "info lapic"))
    except (qmp.QmpFailed, OSError, ValueError) as error:
        return f"QEMU does not tell its registers: {error}\n"


class Emulator:
    """Looks at a running QEMU by a monitor of its own, whose socket is at `path`, and at what one that
    runs in its guest says, if there is a log of that."""

    def __init__(self, path, inner_log=None):
        self._path = path
        self._inner_log = inner_log
        self._next = time.monotonic() + PERIOD
        self._seen = []

    def look(self):
        """Looks, if it is time to. Returns what QEMU has lost, in words, or None."""
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + PERIOD
        if self._inner_log and (failure := failed_kvm(self._inner_log.read_text(errors="replace"))):
            return f"the emulated processor has failed its KVM: {failure}"
        self._seen = [*self._seen[1 - LOOKS:], self._stuck()]
        lost = set.intersection(*self._seen) if len(self._seen) == LOOKS else ()
        for number, vectors in sorted(lost):
            return (f"the emulator has lost an interrupt: processor {number} sleeps with vector "
                    f"{vectors}")
        return None

    def _stuck(self):
        try:
            with qmp.Qmp(self._path) as control:
                found = {(number, lost_vectors(_told(control, f"info lapic {number}")))
                         for number in sleepers(_told(control, "info registers -a"))}
        except (qmp.QmpFailed, OSError, ValueError):
            # It is not up yet, or just ending.
            return set()
        return {(number, vectors) for number, vectors in found if vectors}


def _told(control, line):
    return control.ask("human-monitor-command", **{"command-line": line})
