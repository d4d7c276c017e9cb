#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of the runner's own judgement, on lines that kernels have logged and that
plans have told. Prints KTAP. Runs in the build root, as the host's suite "runner"."""

import pathlib
import sys
import tempfile

CLONE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE / "qemu"))
import behaviour  # noqa: E402
import emulator  # noqa: E402
import guest  # noqa: E402
import kernels  # noqa: E402
import nested  # noqa: E402
import path_lengths  # noqa: E402
import results  # noqa: E402
import run_detectors  # noqa: E402
import run_ktap  # noqa: E402
import run_path_lengths  # noqa: E402
import siblings  # noqa: E402
import vsock_test  # noqa: E402

# What each detector, and the kernel without any, begins its reports with.
FAULTS = {
    "kasan": "[   76.952] BUG: KASAN: slab-use-after-free in use_after_free+0x152/0x1e0 [detectors]",
    "lockdep_order": "[   55.961] WARNING: possible circular locking dependency detected",
    "lockdep_recursion": "[   13.402] WARNING: possible recursive locking detected",
    "lockdep_context": "[   13.402] BUG: Invalid wait context ",
    "lockdep_inconsistent": "[   13.402] WARNING: inconsistent lock state",
    "lockdep_full": "[   99.120] BUG: MAX_LOCKDEP_CHAINS too low!",
    "rcu_usage": "[   13.402] WARNING: suspicious RCU usage",
    "atomic_sleep": "[   88.947] BUG: sleeping function called from invalid context at mm.h:1",
    "scheduling": "[   88.947] BUG: scheduling while atomic: insmod/61/0x00000002",
    "kmemleak_found": "[   84.564] kmemleak: 10 new suspected memory leaks (see "
                      "/sys/kernel/debug/kmemleak)",
    "kmemleak_off": "[   72.908] kmemleak: Kernel memory leak detector disabled",
    "debug_objects": "[   31.005] ODEBUG: free active (active state 0) object: ffff88 object type: "
                     "timer_list hint: fire+0x0/0x10",
    "dma": "[   31.005] DMA-API: virtio-pci 0000:00:02.0: device driver tries to free DMA memory "
           "it has not allocated [device address=0x1000]",
    "hung_task": "[  184.301] INFO: task connect:71 blocked for more than 61 seconds.",
    "soft_lockup": "[   61.220] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [stress:90]",
    "rcu_stall": "[   61.220] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "warning": "[    9.120] WARNING: CPU: 0 PID: 61 at net/core/sock.c:1 sk_free+0x1/0x2",
    "oops": "[    9.120] Oops: general protection fault, probably for non-canonical address",
    "rust_panic": "[    9.120] rust_kernel: panicked at src/net/pages.rs:41:9:",
    "refcount": "[    9.120] refcount_t: underflow; use-after-free.",
    "list": "[    9.120] list_del corruption. prev->next should be ffff88, but was ffff89.",
}
HARMLESS = {
    "taint": "[   47.027] rvsock: loading out-of-tree module taints kernel.",
    "family": "[   47.140] rvsock: family 18 registered",
    "kmemleak_start": "[    1.120] kmemleak: Kernel memory leak detector initialized (mem pool "
                      "available: 31000)",
    "kasan_start": "[    0.312] kasan: KernelAddressSanitizer initialized (generic)",
    "lockdep_start": "[    0.000] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc.",
    "dma_start": "[    0.900] DMA-API: preallocated 65536 debug entries",
    "begin": "[   47.427] rvsock-test: begin leak",
}
GOOD = ("##rvsock leaks loaded 0\n##rvsock leaks unloaded 0\n"
        "##rvsock detector lockdep on debug_locks 1\n")
PROOF = (f"[    9.0] {guest.ON_PURPOSE}\n"
         "[    9.1] BUG: sleeping function called from invalid context at mm.h:1\n"
         "[    9.2] BUG: KASAN: slab-use-after-free in use_after_free+0x1/0x2 [detectors]\n")
# What QEMU tells of three processors: one at work, two that sleep, the last of them with
# interrupts forbidden; and of two local APICs, of which the second has lost the end of a timer.
REGISTERS = "".join(
    f"\r\nCPU#{number}\r\nRAX=0000000000000001 RBX=0000000000000000\r\n"
    f"RIP=ffffffff9717bf5f RFL={flags:08x} [-------] CPL=0 II=0 A20=1 SMM=0 HLT={halted}\r\n"
    for number, flags, halted in ((0, 0x202, 0), (1, 0x202, 1), (2, 0x2, 1)))
LAPIC = "ESR\t 0x00000000\r\nISR\t (none)\r\nIRR\t 36 236 \r\n"
LOST_LAPIC = LAPIC.replace("(none)", "236 ")

# As a processor had it that slept with interrupts allowed, and did not wake.
REQUESTED_LAPIC = """ISR\t (none)
IRR\t 236 \n
APR 0x00 TPR 0x10 DFR 0x0f LDR 0x00 PPR 0x10
"""

# What paths were counted with, and how long they were; and with another kernel, on which all of
# them are a tenth longer.
TOOLS = {"kernel": "7.2.12", "rustc": "1.85.1", "gcc": "14.2.0", "qemu": "10.0.13"}
NEXT = TOOLS | {"kernel": "7.2.13"}
LENGTHS = {"send/64": {"rvsock": 6000, "vsock": 3000}, "poll/64": {"rvsock": 1000, "vsock": 1200}}
NEXT_LENGTHS = {case: {family: number * 11 // 10 for family, number in counts.items()}
                for case, counts in LENGTHS.items()}


def outcome(directory, console):
    """The outcome of a run with this log."""
    (directory / "console.log").write_text(console)
    return guest.Outcome(directory, False, 0, 1.0)


def failures(directory, told, console=PROOF):
    """What the judgement of the detectors finds wrong."""
    kernel = run_ktap.Suite("kernel")
    run_detectors.judge(kernel, outcome(directory, console), results.parse(told), 1)
    return kernel.failures


def untried(of_rvsock, of_c=None, cells=("loopback, rvsock", "loopback, C")):
    """How many cases of the kernel's own tests were found not tried, by what one was
    told with rvsock and with C in its place."""
    judged = vsock_test.VsockTest()
    for cell, said in zip(cells, (of_rvsock, of_c)):
        if said is not None:
            judged.note(cell, [*said, "ok 1 vsock_test: SOCK_STREAM bind only"])
    return judged.suites(kernels.STOCK)[0].failed


def wrong(rule, *tests):
    """How much is wrong with a row of the checklist that has this number and these tests."""
    row = behaviour.Row(rule, list(tests), None)
    return len([*behaviour.mistakes(row, behaviour.read_suites(), {})])


def entry(tools=TOOLS, **send):
    """An entry of the file, in which a send may have other figures."""
    return {**tools, "instructions": LENGTHS | {"send/64": LENGTHS["send/64"] | send}}


def compared(entries, tools=TOOLS, counted=LENGTHS):
    """How many paths are as long as they may be; what is said of those that are longer, and what
    is told beside."""
    suite = run_ktap.Suite("path_lengths")
    notes = run_path_lengths.judge(suite, entries, tools, counted)
    return suite.passed, suite.failures, notes


def lengths(directory):
    """The tests of what is thought of the lengths of paths."""
    yield "as_they_were", compared([entry()]) == (2, [], [])
    yield "a_little_more", compared([entry(rvsock=5720)]) == (2, [], [])
    yield "more", compared([entry(rvsock=5400)]) == (
        1, ["send/64: 6,000 instructions, 5,400 in the file: 11.1 % more"], [])
    yield "less", compared([entry(rvsock=6600)]) == (
        2, [], ["send/64: 6,000 instructions, 6,600 in the file: 9.1 % less; "
                '"make path-lengths" lowers the file'])
    # What the C vsock takes is of no account where the same was counted with the same.
    yield "c_changed", compared([entry(vsock=1)]) == (2, [], [])

    passed, failures, notes = compared([entry()], NEXT, NEXT_LENGTHS)
    yield "another_kernel", (passed, failures, len(notes)) == (2, [], 1) and "7.2.13" in notes[0]
    yield "another_compiler", len(compared([entry()], TOOLS | {"rustc": "1.86.0"})[2]) == 1
    yield "more_beside_c", compared([entry(rvsock=5400)], NEXT, NEXT_LENGTHS)[:2] == (
        1, ["send/64: 6,600 instructions, 5,940 by the last entry (1.80 of C's 3,300): 11.1 % more"])
    yield "the_last_entry_counts", compared(
        [entry(rvsock=1), entry(TOOLS | {"qemu": "9"})], NEXT, NEXT_LENGTHS)[0] == 2
    yield "its_own_entry_counts", compared([entry(), entry(NEXT, rvsock=1)])[:2] == (2, [])
    yield "no_c_beside", compared(
        [entry()], NEXT, LENGTHS | {"send/64": {"rvsock": 6000}})[0] == 1

    yield "no_entries", len(compared([])[1]) == 2
    yield "not_in_the_file", len(compared([entry()], TOOLS, LENGTHS | {"recv/64": {"rvsock": 1}})[1]) == 1
    yield "not_counted", compared([entry()], TOOLS, {"poll/64": LENGTHS["poll/64"]}) == (
        1, ["send/64: in the file, and not counted"], [])
    yield "nothing_counted", len(compared([entry()], TOOLS, {})[1]) == 2

    file = directory / "lengths.toml"
    both = path_lengths.with_entry([entry()], entry(NEXT))
    path_lengths.write(both, file)
    yield "written_and_read", both == path_lengths.read(file) == [entry(), entry(NEXT)]
    anew = path_lengths.with_entry(both, entry(rvsock=1))
    yield "written_anew", anew == [entry(NEXT), entry(rvsock=1)]
    yield "of_the_tree", bool(path_lengths.read())


def cases(directory):
    """Each test: its name, and whether it is good."""
    for name, line in FAULTS.items():
        yield f"fault.{name}", outcome(directory, f"{line}\n").faults() == [line.strip()]
    for name, line in HARMLESS.items():
        yield f"harmless.{name}", not outcome(directory, f"{line}\n").faults()
    yield "on_purpose.is_no_fault", not outcome(directory, PROOF).faults()
    before = outcome(directory, f"{FAULTS['warning']}\n{PROOF}").faults()
    yield "on_purpose.hides_nothing_before_it", before == [FAULTS["warning"]]

    yield "judge.all_is_well", not failures(directory, GOOD)
    yield "judge.leak", len(failures(directory, GOOD.replace("unloaded 0", "unloaded 3"))) == 1
    yield "judge.leaks_not_counted", len(failures(directory, GOOD.split("\n", 2)[2])) == 2
    yield "judge.lockdep_off", failures(directory, GOOD.replace(" on ", " off ")) == [
        "detector lockdep is off: debug_locks 1"]
    # Off before unloading and on after it counts as off.
    yield "judge.off_once", len(failures(
        directory, GOOD.replace(" on ", " off ") + "##rvsock detector lockdep on x\n")) == 1
    yield "judge.no_look_at_detectors", len(failures(
        directory, "\n".join(GOOD.split("\n")[:2]))) == 1
    yield "judge.kasan_silent", len(failures(directory, GOOD, PROOF.rsplit("\n", 2)[0])) == 1
    yield "judge.nothing_on_purpose", len(failures(directory, GOOD, "")) == 2

    skipped = ["# near end: 1 - SOCK_STREAM bind only...Test skipped, SIOCINQ not supported.",
               "# near end: ok"]
    yield "untried.nothing_said", untried(["# far end: 1 - SOCK_STREAM bind only... x", ]) == 0
    yield "untried.skipped", untried(skipped, []) == 1
    yield "untried.skipped_with_c_too", untried(skipped, skipped) == 0
    yield "untried.c_did_not_run", untried(skipped) == 1
    yield "untried.no_transports", untried(["# near end: No transports detected"], []) == 1

    pair = ("siblings, C to rvsock", "siblings, C to C")
    other_end = [line.replace("near", "far") for line in skipped]
    yield "untried.by_one_sibling", untried(skipped, None, pair) == 1
    yield "untried.by_c_siblings_too", untried(skipped, other_end, pair) == 0

    counted = "".join(f"counters of {cid}: delivered=9 lies=0 malformed=0 small_buffers=0 ended=2\n"
                      for cid in siblings.CIDS)
    yield "siblings.all_is_well", not [*siblings.mistakes(counted)]
    # The last word counts.
    lies = counted.replace("lies=0", "lies=1")
    yield "siblings.lies", len([*siblings.mistakes(counted + lies)]) == 2
    yield "siblings.lies_in_between", not [*siblings.mistakes(lies + counted)]
    yield "siblings.nothing_counted", len([*siblings.mistakes("ready\n")]) == 6

    yield "emulator.sleepers", [*emulator.sleepers(REGISTERS.replace("\r", ""))] == [1]
    yield "emulator.sleepers_as_qemu_says_it", [*emulator.sleepers(REGISTERS)] == [1]
    yield "emulator.nothing_in_service", emulator.in_service(LAPIC) == ""
    yield "emulator.lost_end", emulator.in_service(LOST_LAPIC) == "236"
    yield "emulator.nothing_lost", emulator.lost_vectors(LAPIC) == ""
    yield "emulator.lost_request", emulator.lost_vectors(REQUESTED_LAPIC) == "236 requested"
    masked = REQUESTED_LAPIC.replace("PPR 0x10", "PPR 0xe0")
    yield "emulator.request_below_the_priority", emulator.lost_vectors(masked) == ""

    failure = "KVM internal error. Suberror: 3"
    yield "emulator.failed_kvm", emulator.failed_kvm(f"begin\r\n{failure}\r\nextra\r\n") == failure
    yield "emulator.kvm_at_work", emulator.failed_kvm(f"begin\nsaid: {failure}\n") is None

    begun = "##rvsock begin guest 6.34\n"
    for name, more, still in (("hangs", "", True), ("in_time", "##rvsock timeout guest\n", False),
                              ("ends", "##rvsock end guest 9.1 0\n", False)):
        (directory / "host-results.log").write_text(begun + more)
        yield f"nested.{name}", nested.stands_still(directory) == still

    for log in ("console.log", "host-console.log", "sibling-console.log"):
        (directory / log).write_text("[    1.0] rvsock: family 18 registered\n")
    yield "silence.without_a_fault", not guest.Silence(directory, -1).is_final()
    (directory / "console.log").write_text("[  761.7] BUG: spinlock recursion on CPU#0, recv/633\n")
    yield "silence.after_a_fault", guest.Silence(directory, -1).is_final()
    yield "silence.not_long_enough", not guest.Silence(directory, 3600).is_final()

    yield "emulator.aborted", emulator.crashed(-6)
    yield "emulator.killed", not emulator.crashed(-9)
    yield "emulator.refused", not emulator.crashed(1)
    (directory / "qemu.log").write_text("".join(f"line {number}\n\n" for number in range(1, 8)))
    yield "emulator.last_words", (
        emulator.last_words(-6, directory / "qemu.log") == "QEMU ended by SIGABRT; qemu.log ends with: "
        + " / ".join(f"line {number}" for number in range(3, 8)))

    for name, good in lengths(directory):
        yield f"lengths.{name}", good

    yield "rule.with_its_number", not wrong("15", "spec:wire.spec_15_connections_are_told_apart")
    yield "rule.without_a_test", wrong("15") == 2
    yield "rule.with_another_number", wrong("5", "spec:wire.spec_15_connections_are_told_apart") == 1
    yield "rule.test_that_is_not_there", wrong("15", "spec:wire.spec_15_nothing") == 1
    yield "rule.missing", behaviour.missing(["1", "wire-1", *map(str, range(3, 31))]) == [2]
    yield "rule.none_missing", not behaviour.missing(row.name for row in behaviour.checklist())


def main():
    """Runs all; the exit status is 0 when none failed."""
    with tempfile.TemporaryDirectory() as directory:
        tried = list(cases(pathlib.Path(directory)))
    print(f"TAP version 13\n1..{len(tried)}")
    for number, (name, good) in enumerate(tried, 1):
        print(f"{'ok' if good else 'not ok'} {number} runner.{name}")
    return 0 if all(good for _, good in tried) else 1


if __name__ == "__main__":
    sys.exit(main())
