#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the suites of tests/suites.toml, each topology in one boot with one plan, two
boots at a time where the machine is large enough, and sums them up with what the
host's tests left in build/runs/test.

They run on the kernel that KERNEL names; without it on the stock kernel, and then,
but for --quick, those that are marked for it on the debugging kernel, and with
--flavours those that are marked for them on the other flavours of the stock kernel.
How long the paths of calls are is counted then as well (run_path_lengths.py).
Runs in the build root; tests/run is what a person starts.
"""

import concurrent.futures
import itertools
import os
import pathlib
import re
import shlex
import sys
import tomllib

CLONE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE / "qemu"))
import behaviour  # noqa: E402
import guest  # noqa: E402
import host  # noqa: E402
import kernels  # noqa: E402
import path_lengths  # noqa: E402
import results  # noqa: E402
import run_detectors  # noqa: E402
import run_ktap  # noqa: E402
import run_path_lengths  # noqa: E402
import vsock_test  # noqa: E402

LOGS = CLONE / "build/runs/test"
BOOT_SECONDS = 60
SETTLE_SECONDS = 15
# Looking for leaks with the module loaded and after, on the debugging kernel.
LEAKS_SECONDS = 240
BOOTS = 2  # at a time
BOOTS_MEMORY = 6000  # MiB that they may take together
# What is no suite of tests/suites.toml, and has boots of its own.
APART = ("detectors", "path_lengths")
DETAILED = 5  # failures of a suite that are printed with their reasons
# What is loaded for a suite: what is under test, or the kernel's own in its place.
DRIVERS = {
    "rvsock": ["rvsock"],
    "c": ["vsock", "vmw_vsock_virtio_transport_common", "vsock_loopback",
          "vmw_vsock_virtio_transport", "vsock_diag"],
}


def select(suites, wanted):
    """The suites of this name; if none has it, those whose names go on from it
    with an underscore, and those of the topology with the name. Several names stand
    with commas between them."""
    if wanted and "," in wanted:
        chosen = [suite["name"] for name in wanted.split(",") for suite in select(suites, name)]
        return [suite for suite in suites if suite["name"] in chosen]
    return [suite for suite in suites if wanted in (None, suite["name"])] or [
        suite for suite in suites
        if suite["name"].startswith(f"{wanted}_") or suite["topology"] == wanted]


def read_suites(wanted):
    """The suites; a mistake in the file ends the run with a sentence."""
    with open(CLONE / "tests/suites.toml", "rb") as file:
        suites = tomllib.load(file).get("suite", [])
    for suite in suites:
        for field in ("name", "program", "topology", "timeout"):
            if field not in suite:
                sys.exit(f"error: tests/suites.toml: suite {suite.get('name', suite)} has no '{field}'")
        if suite["topology"] not in guest.topologies():
            sys.exit(f"error: tests/suites.toml: suite {suite['name']}: qemu/topologies.toml has "
                     f"no '{suite['topology']}'")
        if suite.get("driver", "rvsock") not in DRIVERS:
            sys.exit(f"error: tests/suites.toml: suite {suite['name']}: the driver is one of "
                     f"{', '.join(DRIVERS)}")
        if suite.get("debug") not in (None, "short", "only", "never"):
            sys.exit(f"error: tests/suites.toml: suite {suite['name']}: 'debug' is \"short\", "
                     "\"only\" or \"never\"")
    names = [suite["name"] for suite in suites]
    if len(set(names)) != len(names):
        sys.exit("error: tests/suites.toml: two suites have the same name")
    if wanted and wanted not in APART and not select(suites, wanted) and \
            not (LOGS / f"{wanted}.host").exists():
        sys.exit(f"error: there is no suite '{wanted}'; there are: "
                 f"{', '.join(['check', 'setup', 'runner', 'protocol', 'peer', 'packet', 'scripted', 'sibling', *APART, *names])}")
    return suites


def by_topology(suites):
    """Suites by the boot that they share."""
    sorted_ = {}
    for suite in suites:
        sorted_.setdefault(suite["topology"], []).append(suite)
    return sorted_


def choose(suites, kernel, wanted, quick):
    """Those that run on the kernel that was asked for."""
    for suite in select(suites, wanted):
        slow = guest.topologies()[suite["topology"]].get("slow") or "driver" in suite
        # What the kernel's own driver does on the debugging kernel is of no use.
        fits = suite.get("debug") != ("never" if kernel.debug else "only")
        fits = fits and not (kernel.debug and "driver" in suite)
        fits = fits and (wanted or not kernel.flavour or suite.get("flavours"))
        slow = slow or suite.get("slow")
        if fits and (wanted or not quick or not slow):
            yield suite


def family(parameters):
    """The number of the family that rvsock has when it is loaded with these."""
    told = re.search(r"\bfamily=(\d+)", parameters)
    return told[1] if told else "18"


def make_plan(suites, cases, kernel):
    """The plan that runs these suites, how long it may take, and the drivers that
    it loads in turn: one once for all suites with the same parameters."""
    groups = {}
    for suite in suites:
        key = (suite.get("driver", "rvsock"), suite.get("module_parameters", ""))
        groups.setdefault(key, []).append(suite)
    lines, limit, drivers = [], BOOT_SECONDS, []
    lines.append(f"export RVSOCK_PATIENCE={kernel.patience}")
    # What is under test comes first.
    for (driver, parameters), members in sorted(groups.items(), reverse=True):
        drivers.append(driver)
        lines.append(f"export RVSOCK_FAMILY={family(parameters) if driver == 'rvsock' else 40}")
        lines += [f"load {module} {parameters}" for module in DRIVERS[driver]]
        for suite in members:
            arguments = suite.get("args", [])
            if isinstance(arguments, str):
                arguments = shlex.split(arguments)
            if "cell" in suite:
                arguments = [*arguments, *cases.arguments(suite["cell"], kernel)]
            program = shlex.join([*behaviour.program(suite), *map(str, arguments)])
            lines.append(f"run {suite['name']} {suite['timeout'] * kernel.patience} {program}")
            limit += suite["timeout"]
        # The kernel's own is the last, and its sockets need not be waited for.
        if driver == "rvsock":
            lines += ["settle", *kernel.before_unload, "unload rvsock", *kernel.after_unload]
            limit += SETTLE_SECONDS
    lines.append("tell completed")
    limit *= kernel.patience
    if kernel.debug:
        lines.append("prove")
        limit += LEAKS_SECONDS * drivers.count("rvsock")
    return "\n".join(lines) + "\n", limit, drivers


class Progress:
    """Prints a suite's line when it has ended, while the guest goes on."""

    def __init__(self, suites, where):
        self._where = where
        self._suites = {suite["name"]: suite for suite in suites}
        self._text = ""
        self._shown = set()

    def __call__(self, text):
        self._text += text
        if "##rvsock" not in text:
            return
        if text == "##rvsock again\n":
            self._text, self._shown = "", set()
            return
        for name, program in results.parse(self._text).programs.items():
            if program.status is not None and name not in self._shown:
                self._shown.add(name)
                show(judge(program, self._suites[name]), self._where)


def judge(program, suite):
    """The suite that a program of the plan was. One with the kernel's own driver
    is for comparison, and all that passed with it is one test."""
    judged = run_ktap.ktap(program.name, program.lines, program.status, program.seconds,
                           program.timed_out)
    if suite.get("driver", "rvsock") != "rvsock":
        judged.passed = min(judged.passed, 1)
    return judged


def show(suite, where=""):
    """One line for a suite, with where it ran, and what failed in it."""
    skipped = f", {suite.skipped} skipped" if suite.skipped else ""
    lines = [f"  {where and f'[{where}] '}{suite.name}: {suite.passed} passed, "
             f"{suite.failed} failed{skipped} ({suite.seconds:.1f} s)"]
    for number, failure in enumerate(suite.failures):
        # A test that was cut off may not even have a name.
        first, *rest = failure.splitlines() or ["a test without a name"]
        lines.append(f"    FAILED {first}")
        # When much fails, the first failures tell why; the rest is in the log.
        lines += [f"      {line}" for line in rest if number < DETAILED]
    # At once, since another boot may be telling something as well.
    print("\n".join(lines) + "\n", end="", flush=True)


def run_topology(topology, suites, cases, booted):
    """Boots the topology once; gives its suites, and one for the kernel itself."""
    plan, limit, drivers = make_plan(suites, cases, booted)
    on = f" on the {'debugging' if booted.debug else booted.title} kernel" if booted.title else ""
    print(f"booting '{topology}'{on} for {len(suites)} suites, at most {limit:.0f} s\n", end="",
          flush=True)
    where = f"{booted.title} {topology}" if booted.title else topology
    kernel = run_ktap.Suite(f"{topology}: kernel")
    logs = LOGS / booted.title / topology
    try:
        outcome = guest.Run(topology, logs, {"plan": plan}, booted).boot(limit, Progress(suites, where))
    except (guest.GuestFailed, host.HostFailed) as error:
        kernel.fail(str(error))
        show(kernel, where)
        return [kernel]
    told = results.parse(outcome.results())
    judged = []
    for suite in suites:
        program = told.programs.get(suite["name"])
        if program is None or program.status is None:
            lost = judge(program, suite) if program else run_ktap.Suite(suite["name"])
            if not lost.failed:
                lost.fail("did not run: the guest ended first")
            show(lost, where)
            judged.append(lost)
        else:
            judged.append(judge(program, suite))
        if program and "cell" in suite:
            cases.note(suite["cell"], program.lines)

    kernel.seconds = outcome.seconds - sum(suite.seconds for suite in judged)
    modules = [module for driver in drivers for module in DRIVERS[driver]]
    for module, load in itertools.zip_longest(modules, told.loads):
        kernel.check(load == (module, 0), f"{module}.ko did not load")
    groups = drivers.count("rvsock")
    unloads, sockets = dict(enumerate(told.unloads)), dict(enumerate(told.sockets))
    for group in range(groups):
        kernel.check(sockets.get(group) == 0,
                     f"sockets left over 12 s after the suites: {sockets.get(group, 'not counted')}")
        kernel.check(unloads.get(group) == ("rvsock", 0), "rvsock.ko did not unload")
    faults = outcome.faults()
    kernel.check(not faults, "\n".join(["the kernel's log has faults:", *faults[:10]]))
    for mistake in outcome.mistakes():
        kernel.fail(mistake)
    kernel.check(told.completed and not outcome.timed_out,
                 f"the guest had not ended its plan after {outcome.seconds:.0f} s"
                 if outcome.timed_out else "the guest ended before its plan did")
    if booted.debug:
        run_detectors.judge(kernel, outcome, told, groups)
    show(kernel, where)
    if kernel.failed or any(suite.failed for suite in judged):
        print(f"  [{where}] logs: {outcome.logs.relative_to(CLONE)}/console.log, results.log\n",
              end="", flush=True)
    return [*judged, kernel]


def boots_at_a_time():
    """As many as the machine has processors and memory for."""
    memory = int(os.environ.get("RVSOCK_MEMORY") or BOOTS_MEMORY)
    allowed = int(os.environ.get("JOBS") or BOOTS)
    return max(1, min(allowed, os.cpu_count() or 1) if memory >= BOOTS_MEMORY else 1)


def expected(topology, suites, booted):
    """How long a boot may take, for comparison."""
    nested = 2 if guest.topologies()[topology].get("nested") else 1
    return sum(suite["timeout"] for suite in suites) * booted.patience * nested


def run_all(boots, cases, entries, faults):
    """Runs the boots, each a topology with its suites and the kernel for them, those that count
    the lengths of paths, if there are entries to compare with, and those for the detectors'
    faults; gives the suites of each, in this order."""
    # What takes longest begins, so that the last ones do not wait for it.
    jobs = [(expected(*boot), run_topology, (*boot[:2], cases, boot[2])) for boot in boots]
    if entries is not None:
        jobs.append((run_path_lengths.SECONDS, count_paths, (entries,)))
    jobs += [(0, detect, (fault,)) for fault in faults]
    with concurrent.futures.ThreadPoolExecutor(boots_at_a_time()) as pool:
        running = {}
        for number, (_, run, arguments) in sorted(enumerate(jobs), key=lambda job: -job[1][0]):
            running[number] = pool.submit(run, *arguments)
        return [running[number].result() for number in range(len(jobs))]


def detect(fault):
    """Runs a deliberate fault."""
    suite = run_detectors.run(fault, LOGS / "debug")
    show(suite)
    return [suite]


def count_paths(entries):
    """Counts the lengths of paths, and compares them with the file's."""
    suite, notes = run_path_lengths.run(entries, LOGS / "path_lengths")
    show(suite)
    print("".join(f"    {note}\n" for note in notes), end="", flush=True)
    return [suite]


def named_after(kernel, suites):
    """The suites, told apart from those on the stock kernel."""
    for suite in suites:
        suite.name = f"{kernel.title}: {suite.name}"
    return suites


def host_suites():
    """What tests/run left of the host's tests."""
    suites = []
    for path in sorted(LOGS.glob("*.host")):
        *lines, last = path.read_text(errors="replace").splitlines()
        status, seconds = (int(word) for word in last.split()[2:4])
        count = run_ktap.ktap if path.stem in ("check", "setup", "runner") else run_ktap.cargo
        suite = count(path.stem, lines, status, seconds)
        show(suite)
        suites.append(suite)
    return suites


def behaviours(chosen, suites, kernel):
    """A test for each row of docs/behaviour.md: that it is held by tests, and that
    those of them which were to run have passed. The debugging kernel cannot do all that
    they need: it does not suspend, and has no memory for the largest."""
    ran = {suite["name"] for members in chosen.values() for suite in members
           if "driver" not in suite}
    ran.update(behaviour.PACKAGES)
    passed = {suite.name: suite.names | (suite.left_out if kernel.debug else set())
              for suite in suites if suite.name in ran}
    table = run_ktap.Suite("behaviour")
    table.passed = behaviour.check(passed, table.fail)
    show(table)
    return table


def main():
    """Runs everything; the exit status is 0 when nothing failed."""
    wanted, quick = os.environ.get("SUITE") or None, "--quick" in sys.argv
    if wanted == "detectors" and not kernels.chosen().debug:
        sys.exit("error: the detectors are those of the debugging kernel: say KERNEL=debug as well")
    known = read_suites(wanted)
    entries = None
    if wanted == "path_lengths" or (kernels.chosen() == kernels.STOCK and not quick and not wanted):
        entries = path_lengths.read()
    cases = vsock_test.VsockTest()
    suites = host_suites()
    booted = kernels.chosen()
    chosen = by_topology(choose(known, booted, wanted, quick))
    short, others = [], []
    if booted == kernels.STOCK and not quick and not wanted:
        short = [suite for suite in known if suite.get("debug") == "short"]
        others = [(kernels.DEBUG, short)]
        if "--flavours" in sys.argv:
            others += [(kernel, [*choose(known, kernel, None, False)])
                       for kernel in kernels.FLAVOURS.values()]
    boots = [*((*item, booted) for item in chosen.items()),
             *((*item, kernel) for kernel, members in others
               for item in by_topology(members).items())]
    faults = run_detectors.FAULTS if (booted.debug or short) and wanted in (None, "detectors") \
        else ()
    ran = run_all(boots, cases, entries, faults)
    for done in ran[:len(chosen)]:
        suites += done
    suites += cases.suites(booted)
    # On another flavour too little runs for that.
    if not wanted and not booted.flavour:
        suites.append(behaviours(chosen, suites, booted))
    for (_, _, kernel), done in zip(boots[len(chosen):], ran[len(chosen):len(boots)]):
        suites += named_after(kernel, done)
    for done in ran[len(boots):]:
        suites += done

    cases.show()
    width = max([len(suite.name) for suite in suites], default=5)
    print(f"\n{'suite':{width}}  {'tests':>6}  {'failed':>6}  {'skipped':>7}  {'seconds':>7}")
    for suite in suites:
        tests = suite.passed + suite.failed + suite.skipped
        print(f"{suite.name:{width}}  {tests:6}  {suite.failed:6}  {suite.skipped:7}  "
              f"{suite.seconds:7.1f}")
    passed = sum(suite.passed for suite in suites)
    failed = sum(suite.failed for suite in suites)
    skipped = sum(suite.skipped for suite in suites)
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
