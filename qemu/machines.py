# SPDX-License-Identifier: GPL-2.0
"""The machines that QEMU can be for a guest, how the socket device and the second serial line
are attached to each, and what the kernel has to be told of it."""

import dataclasses

import tsc


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine. `arguments` are QEMU's for it and for what devices are plugged into, `bus` the
    properties that say so of a device, `device` QEMU's name of the vhost-user device, `any_device`
    of one that is all its process's, `network` of a network device with its properties; `results`
    are QEMU's arguments for the second serial line, `drivers` the kernel's modules that find the
    device."""
    arguments: tuple
    device: str = "vhost-user-vsock-pci"
    any_device: str = "vhost-user-test-device-pci"
    network: str = "virtio-net-pci,romfile="
    bus: dict = dataclasses.field(default_factory=dict)
    results: tuple = ("-serial", "chardev:results")
    drivers: tuple = ()
    # Whether it has a timer by which the kernel can find out how fast the others are.
    reference_timer: bool = True

    def processor(self):
        """The processor. With rdrand the guest's first random bytes do not wait for entropy."""
        # The local APIC's timer does not stop, so no other has to take its place.
        return "qemu64,+rdrand" if self.reference_timer else "qemu64,+rdrand,+arat"

    def kernel_arguments(self):
        """What is added to the kernel's command line, with a space before it."""
        # Without one, the kernel measures the local APIC's timer by the counter, and may be
        # wrong by three quarters if the machine is busy. So jiffies are to be counted by the
        # counter (which the kernel does when it has high resolution timers, hence arat above),
        # and a timer that is late is to be late by no more than a part of a tick (hence a tick
        # always).
        return "" if self.reference_timer else f" tsc_early_khz={tsc.khz()} nohz=off"


MACHINES = {
    # The i440fx: a PCI bus whose slots the firmware's tables plug and unplug (ACPI).
    "pc": Machine(("-machine", "pc")),
    # PCI Express, with the device in a slot that is plugged and unplugged as PCI Express has
    # it: the firmware's tables would take that over.
    "q35": Machine(
        ("-machine", "q35", "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
         "-device", "pcie-root-port,id=slot0,chassis=1,slot=1"),
        bus={"bus": "slot0"}),
    # No PCI at all: the device's registers are in memory (virtio-mmio), and the firmware's
    # tables say where. They also say that the hardware is "reduced" (ACPI), and the kernel then
    # looks for none of the old timers but once, very early, where it fails if the machine is
    # busy. Not knowing the counter's frequency it would wait for an interrupt of such a timer
    # without end (calibrate_APIC_clock()).
    "microvm": Machine(
        ("-machine", "microvm,acpi=on", "-global", "virtio-mmio.force-legacy=off"),
        device="vhost-user-vsock-device", any_device="vhost-user-test-device",
        network="virtio-net-device",
        results=("-device", "isa-serial,chardev=results,index=1,iobase=0x2f8,irq=3"),
        drivers=("virtio_mmio",), reference_timer=False),
}


def of(topology):
    """The machine of a topology."""
    return MACHINES[topology.get("machine", "pc")]
