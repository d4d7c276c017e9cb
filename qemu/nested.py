# SPDX-License-Identifier: GPL-2.0
"""A guest in a guest: the outer one is the host, with the distribution's own
kernel, its C vsock and vhost-vsock; the inner one is the guest under test.

The outer guest is emulated, an AMD processor with virtualisation, so that its
KVM runs the inner one on a machine that has none.
"""

import pathlib

import host
import kernels
import results

CLONE = pathlib.Path(__file__).resolve().parent.parent

# More than one processor would be emulated in as many threads, and the inner
# guest's switches between them have not been seen to work.
PROCESSORS = 1
# Beyond that of the inner guest.
MEMORY = 1024

QEMU = "/usr/bin/qemu-system-x86_64"
FIRMWARE = ("/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/linuxboot_dma.bin",
            "/usr/share/qemu/kvmvapic.bin")

# What the outer guest needs beyond the inner guest's own time, also to have its
# tasks written down.
BOOT_SECONDS = 60


class NestedFailed(Exception):
    """The outer guest could not be made, or did not bring up the inner one."""


def add(archive, image, kernel, topology, limit, interactive):
    """Adds to the outer guest's archive what it runs the inner guest with."""
    archive.file("guest/initramfs", image)
    archive.file("guest/vmlinuz", kernel.directory / "vmlinuz")
    archive.program(QEMU)
    for path in FIRMWARE:
        archive.file(path.lstrip("/"), path)
    archive.file("host-agent.sh", CLONE / "qemu/host-agent.sh")
    settings = {
        "guest_memory": topology["memory"], "guest_processors": topology["processors"],
        "guest_limit": f"{limit:.0f}", "guest_interactive": int(interactive),
        "guest_services": int(topology.get("services", True)),
        "guest_devices": topology.get("devices", 1),
        "guest_arguments": f"'{kernel.arguments}'",
    }
    plan = "".join(f"{name}={value}\n" for name, value in settings.items())
    plan += (CLONE / "qemu/plans/nested-host.sh").read_text()
    archive.text("play" if interactive else "plan", plan)


def command(image, topology, common):
    """QEMU's command line for the outer guest; `common` is what all guests have."""
    return [
        *host.NEWER_QEMU, *common, "-cpu", "max,+svm",
        "-smp", str(PROCESSORS), "-m", str(MEMORY + topology["memory"]),
        "-kernel", str(kernels.STOCK.directory / "vmlinuz"), "-initrd", str(image),
        "-append", kernels.STOCK.arguments,
    ]


def serial_lines(logs):
    """The inner guest's two serial lines, as they come out of the outer one."""
    arguments = ["-device", "virtio-serial-pci"]
    for number, name in enumerate(("console", "results"), 1):
        arguments += ["-chardev", f"file,id=guest-{name},path={logs}/{name}.log",
                      "-device", f"virtserialport,chardev=guest-{name},nr={number}"]
    return arguments


def stands_still(logs):
    """Whether the outer guest neither saw the inner one end nor ended it when its time was over. It
    is the distribution's kernel, which the inner guest cannot stop."""
    told = results.parse((logs / "host-results.log").read_text(errors="replace"))
    runs = told.programs.get("guest")
    return runs is not None and runs.status is None and not runs.timed_out


def check(logs):
    """Whether the inner guest's time ran out, from what the outer guest told;
    writes down what its services counted.

    Raises NestedFailed when the outer guest did not come so far as to run it.
    """
    told = results.parse((logs / "host-results.log").read_text(errors="replace"))
    for module, status in told.loads:
        if status != 0:
            raise NestedFailed(f"the outer guest could not load {module}; {logs}/host-console.log "
                               "says why")
    runs = told.programs.get("guest")
    if runs is None:
        raise NestedFailed("the outer guest did not come to run the inner one; see "
                           f"{logs}/host-console.log")
    if runs.status not in (0, None) and not runs.timed_out:
        raise NestedFailed(f"QEMU in the outer guest ended with status {runs.status}: "
                           f"{' '.join(runs.lines[-3:])}")
    if "peer" in told.programs:
        (logs / "peer.jsonl").write_text("\n".join([*told.programs["peer"].lines, ""]))
    return runs.timed_out
