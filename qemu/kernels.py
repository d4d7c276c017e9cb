# SPDX-License-Identifier: GPL-2.0
"""The kernels that a guest can be booted with: the distribution's own, other flavours
of it (KERNEL=cloud, rt) and the next series (KERNEL=7.3), and the debugging kernel
(KERNEL=debug), which is slower and needs more memory."""

import dataclasses
import os
import pathlib

CLONE = pathlib.Path(__file__).resolve().parent.parent


# An oops ends the run at once: what follows it in the same boot means nothing. Two
# checks are of hardware, and do harm where it is emulated. That timer interrupts come
# in time is not so on a machine that is busy with other things. And the watchdog of
# the time stamp counter, when it begins while another processor stops the machine to
# change the clock, waits for that processor, with interrupts off, by a clock that
# they would have to advance (7.2, a boot in some hundreds).
ARGUMENTS = "console=ttyS0 quiet oops=panic panic=-1 no_timer_check tsc=nowatchdog"


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel, and what a run on it has to know."""
    name: str
    # Where release, vmlinuz and modules/ are, and the modules that are built for it.
    directory: pathlib.Path
    built: tuple
    # The least memory (MiB) of a guest, and the kernel's command line.
    memory: int = 0
    arguments: str = ARGUMENTS
    # By how much everything in it takes longer.
    patience: int = 1
    # Functions for plans that only this kernel has a use for, and what a plan does
    # with them when its suites have run.
    functions: str | None = None
    before_unload: tuple = ()
    after_unload: tuple = ()

    @property
    def debug(self):
        """Whether this is the debugging kernel."""
        return self.name == "debug"

    @property
    def flavour(self):
        """Whether this is another flavour of the distribution's kernel, on which the
        suites that are marked for it run."""
        return self.name in FLAVOURS

    @property
    def title(self):
        """What it is called in what a run tells; nothing for the stock kernel."""
        return "" if self.name == "stock" else self.name


STOCK = Kernel("stock", pathlib.Path("/kernel"),
               (CLONE / "build/rvsock.ko", CLONE / "build/consumer/consumer.ko"))
DEBUG = Kernel(
    "debug", pathlib.Path("/kernel-debug"),
    (CLONE / "build/debug/rvsock.ko", CLONE / "build/debug/consumer/consumer.ko",
     CLONE / "build/debug/detectors/detectors.ko"),
    memory=1024,
    # KASAN reports each fault, not only the first. And it asks the processor's features how many
    # levels its page tables have, which for a moment of the boot are not known: with five, an
    # interrupt in that moment is taken for a wild access, and again, without end (7.2; only the
    # inner guest of a nested one has a processor with five).
    arguments=f"{ARGUMENTS} kasan_multi_shot no5lvl",
    patience=6,
    functions="detector-functions.sh",
    before_unload=("detectors", "leaks loaded"),
    after_unload=("leaks unloaded", "detectors"))
# scripts/common.sh has the same list.
FLAVOURS = {
    name: Kernel(name, pathlib.Path(f"/run/kernel-{name}"),
                 (CLONE / f"build/{name}/rvsock.ko", CLONE / f"build/{name}/consumer/consumer.ko"))
    for name in ("cloud", "rt", "7.3")}


def chosen():
    """The kernel that KERNEL names; the stock kernel when it names none."""
    return {"debug": DEBUG, **FLAVOURS}.get(os.environ.get("KERNEL"), STOCK)
