# SPDX-License-Identifier: GPL-2.0
"""The detectors of the debugging kernel: whether they were on in a boot, what they
found, and a suite that shows with deliberate faults that they see Rust code and
that a run fails when they report or are off."""

import dataclasses
import re
import time

import guest
import host
import kernels
import results
import run_ktap

# What the log must hold when a plan ends with "prove".
PROOFS = (
    ("sleep in atomic context", re.compile(r"BUG: sleeping function called from invalid context")),
    ("KASAN", re.compile(r"BUG: KASAN: slab-use-after-free")),
)
BOOT_SECONDS = 600


def judge(kernel, outcome, told, groups):
    """Adds to the suite of a boot's kernel what its detectors have to say."""
    leaks = dict(enumerate(told.leaks))
    for group in range(groups):
        for number, when in enumerate(("loaded", "unloaded"), 2 * group):
            found = leaks.get(number, (when, "not counted"))
            kernel.check(found == (when, 0), f"leaked objects with rvsock {when}: {found[1]}; "
                         "their backtraces are in results.log")
    judge_states(kernel, told)
    for name, report in PROOFS:
        kernel.check(report.search(outcome.on_purpose()),
                     f"detector {name} did not report a fault made on purpose at the end")


def judge_states(kernel, told):
    """Adds one test for each detector that the plan looked at."""
    kernel.check(told.detectors, "the plan did not come to look at the detectors")
    for name, (on, detail) in told.detectors.items():
        kernel.check(on, f"detector {name} is off: {detail}")


@dataclasses.dataclass(frozen=True)
class Fault:
    """A deliberate fault, and how a run must end that has it."""
    name: str
    # Shell lines that a normal suite runs.
    commit: str
    # What its report says, and where: "console" or "results".
    report: str = ""
    where: str = "console"
    # The function that the report must name.
    function: str = ""
    # Detectors that must be found off afterwards.
    off: tuple = ()
    # What the runner may take for a fault beside the report itself.
    beside: str = "nothing"


FAULTS = (
    Fault("use_after_free", "fault use_after_free", "BUG: KASAN: slab-use-after-free in",
          function="use_after_free", off=("lockdep",)),
    Fault("leak", "fault leak", "unreferenced object", "results", "leak",
          beside="kmemleak: [0-9]+ new suspected memory leaks"),
    Fault("lock_inversion", "fault lock_inversion",
          "WARNING: possible circular locking dependency detected", function="lock_inversion",
          off=("lockdep",)),
    Fault("sleep_in_atomic", "fault sleep_in_atomic",
          "BUG: sleeping function called from invalid context", function="sleep_in_atomic"),
    # No fault, but detectors that are turned off as a test might do it.
    Fault("turned_off",
          "echo off >/sys/kernel/debug/kmemleak\n"
          "echo 0 >/proc/sys/kernel/prove_locking\n"
          "echo 0 >/proc/sys/kernel/hung_task_timeout_secs\n"
          "echo 0 >/proc/sys/kernel/soft_watchdog\n"
          "echo 1 >/sys/module/rcupdate/parameters/rcu_cpu_stall_suppress\n"
          "dmesg -n 4",
          off=("kmemleak", "lock-order", "hung-task", "soft-lockup", "rcu-stall", "console"),
          beside="kmemleak: Kernel memory leak detector disabled"),
)


def _program(fault):
    """A program that commits a fault and reports by KTAP that all is well, so that
    only the kernel's side of the run can fail."""
    return ("#!/bin/sh\n. /plan-functions.sh\n. /detector-functions.sh\n"
            f"echo TAP version 13\necho 1..1\n{fault.commit}\necho ok 1 {fault.name}\n")


def _plan(fault):
    leaks = "leaks loaded\n" if fault.where == "results" else ""
    return ("load rvsock\n"
            f"run {fault.name} 60 /bin/sh /program\n"
            f"settle\n{leaks}detectors\nunload rvsock\ntell completed\n")


def _try(fault, logs):
    """Boots with a fault; gives what is wrong with how that was judged."""
    run = guest.Run("bare", logs / fault.name, {"plan": _plan(fault), "program": _program(fault)},
                    kernels.DEBUG)
    outcome = run.boot(BOOT_SECONDS)
    told = results.parse(outcome.results())
    if outcome.timed_out or not told.completed:
        return ["the guest did not end its plan"]
    wrong = []
    program = told.programs.get(fault.name)
    if program is None or program.status != 0:
        wrong.append("its program did not end well")

    # The report itself, and that it names the code.
    text = outcome.results() if fault.where == "results" else outcome.log()
    at = text.find(fault.report)
    if at < 0:
        wrong.append(f"no report: {fault.report}")
    elif fault.function and f"detectors{len(fault.function)}{fault.function}" not in text[at:at + 6000]:
        wrong.append(f"its report does not name {fault.function}()")

    # The runner's judgement: nothing but this fails.
    faults = outcome.faults()
    if fault.report and fault.where == "console":
        if not any(fault.report in line for line in faults):
            wrong.append("the runner does not take its report for a fault")
    elif other := [line for line in faults if not re.search(fault.beside, line)]:
        wrong.append(f"the runner sees a fault that was not made: {other[0]}")
    leaked = dict(told.leaks).get("loaded", 0)
    if (fault.where == "results") != (leaked > 0):
        wrong.append(f"leaked objects: {leaked}")
    suite = run_ktap.Suite(fault.name)
    judge_states(suite, told)
    off = {failure.split()[1] for failure in suite.failures if failure.startswith("detector ")}
    if off != set(fault.off):
        wrong.append(f"detectors found off: {', '.join(sorted(off)) or 'none'}, expected: "
                     f"{', '.join(fault.off) or 'none'}")
    return wrong


def run(fault, logs):
    """Boots once for a fault, since its report may turn other detectors off. Gives a suite of
    one test."""
    print(f"booting 'bare' on the debugging kernel for a deliberate fault: {fault.name}\n", end="",
          flush=True)
    start = time.monotonic()
    try:
        wrong = _try(fault, logs / "detectors")
    except (guest.GuestFailed, host.HostFailed) as error:
        wrong = [str(error)]
    tried = run_ktap.Suite(f"detector: {fault.name}", seconds=time.monotonic() - start)
    tried.check(not wrong, "\n".join([fault.name, *wrong]))
    return tried
