#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Seeds the faults of tests/faults.toml and shows that the tests which hold the
behaviour fail then.

usage: tests/seed_faults.py MAKE-ARGUMENT... (what the kernel's tree is built with)

Each batch of faults goes into a module of its own; all modules are loaded in turn in
the same boot. A batch that a package of the host's is to see goes into a copy of that.
Runs in the build root; "make seed" is what a person types, with
SUITE=BATCH or SUITE=ONE,ANOTHER for some of them.
"""

import concurrent.futures
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

CLONE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE / "qemu"))
import behaviour  # noqa: E402
import guest  # noqa: E402
import host  # noqa: E402
import results  # noqa: E402
import run_guests  # noqa: E402
import run_ktap  # noqa: E402

WORK = CLONE / "build/seed"
BUILDERS = 2
LIMIT = 300  # seconds for the tests of one suite


def read(wanted):
    """The suites by name, and the faults by batch; a mistake ends the run with a sentence."""
    suites, batches = behaviour.read_suites(), {}
    for name, fault in behaviour.read_faults().items():
        if wanted and fault["batch"] not in wanted.split(","):
            continue
        found = (CLONE / fault["file"]).read_text().count(fault["was"])
        if found != 1:
            sys.exit(f"error: tests/faults.toml: {name}: what is to be replaced occurs {found} "
                     f"times in {fault['file']}; make it fit")
        for test in fault["seen"]:
            if test.partition(":")[0] not in suites:
                sys.exit(f"error: tests/faults.toml: {name}: there is no suite of {test}")
        batches.setdefault(fault["batch"], {})[name] = fault
    if not batches:
        sys.exit(f"error: tests/faults.toml has no batch '{wanted}'")
    return suites, batches


def apply(faults, source):
    """Puts the faults of a batch into a copy of the source; gives what its files were."""
    good = {}
    for name, fault in faults.items():
        file = source / fault["file"]
        text = file.read_text()
        if fault["was"] not in text:
            sys.exit(f"error: tests/faults.toml: {name} changes what another fault of its batch "
                     "changes; give it another batch")
        good.setdefault(file, text)
        file.write_text(text.replace(fault["was"], fault["is"]))
    return good


def package_of(name, faults):
    """The host's package that is to see the faults of a batch; None if guests are."""
    suites = {test.partition(":")[0] for fault in faults.values() for test in fault["seen"]}
    packages = suites & set(behaviour.PACKAGES)
    if packages and len(suites) > 1:
        sys.exit(f"error: tests/faults.toml: batch {name} is for a package of the host's; what "
                 "others see needs another batch")
    return next(iter(packages), None)


def test_package(package, faults):
    """Runs the tests of a package that are to see the faults of a batch, in a copy with
    these; gives those that failed, by suite."""
    copy = WORK / f"package-{package}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(CLONE / "src/protocol", copy / "src/protocol")
    shutil.copytree(CLONE / f"tests/{package}", copy / f"tests/{package}")
    apply(faults, copy)
    tests = [test.partition(":")[2] for fault in faults.values() for test in fault["seen"]]
    command = ["cargo", "test", "--locked", "--offline", "--lib",
               "--manifest-path", copy / f"tests/{package}/Cargo.toml",
               "--target-dir", WORK / f"target-{package}", "--", "--exact", *dict.fromkeys(tests)]
    # What a fault leaves unused is no error.
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT,
                          env=os.environ | {"RUSTFLAGS": "--cap-lints=allow"})
    ran = run_ktap.cargo(package, done.stdout.splitlines(), done.returncode, 0)
    if not ran.passed and not ran.names and "running" not in done.stdout:
        print(f"it does not build:\n{done.stderr}", flush=True)
        return {}
    return {package: ran.failures}


def build(batches, make):
    """Makes a module of each batch, in copies of the source; gives those that built."""
    (WORK / "modules").mkdir(parents=True)
    parts = [list(batches.items())[start::BUILDERS] for start in range(BUILDERS)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        made = [*pool.map(build_part, range(BUILDERS), parts, [make] * BUILDERS)]
    return {name: faults for name, faults in batches.items() if any(name in one for one in made)}


def build_part(number, batches, make):
    """Builds some of the batches, one after another, in one copy of the source."""
    source, built = WORK / f"source-{number}", WORK / f"object-{number}"
    built.mkdir()
    shutil.copytree(CLONE / "src", source / "src")
    shutil.copy2(CLONE / "Kbuild", source)
    # What a fault leaves unused is no error.
    make = ["make", "-s", "-C", "/kernel/tree", *make, f"M={source}", f"MO={built}",
            "KRUSTFLAGS=--cap-lints=allow -Cdebuginfo=0", "KCFLAGS=-Wno-error",
            "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]
    made = set()
    for name, faults in batches:
        good = apply(faults, source)
        done = subprocess.run(make, capture_output=True, text=True)
        for file, text in good.items():
            file.write_text(text)
        print(f"built {name}" if not done.returncode else
              f"{name} does not build:\n{done.stderr}", flush=True)
        if not done.returncode:
            made.add(name)
            subprocess.run(["objcopy", "--strip-debug", built / "rvsock.ko",
                            WORK / f"modules/{name}.ko"], check=True)
    return made


def chosen(suites, faults, topology):
    """The tests by suite of a topology in which a batch of faults is to be seen."""
    tests = {}
    for test in dict.fromkeys(test for fault in faults.values() for test in fault["seen"]):
        suite, _, name = test.partition(":")
        if suites[suite]["topology"] == topology:
            tests.setdefault(suite, []).append(name)
    return tests


def plan(suites, batches, topology):
    """The plan that loads each module and runs the tests that are to fail. It ends
    early with a module that cannot be unloaded, so that the rest has a boot of its own."""
    lines, limit = [], 60
    for batch, faults in batches.items():
        groups = {}
        for suite, names in chosen(suites, faults, topology).items():
            groups.setdefault(suites[suite].get("module_parameters", ""), {})[suite] = names
        # What a suite loads itself has the faults as well.
        lines.append(f"export RVSOCK_MODULE=/modules/{batch}.ko")
        for parameters, members in groups.items():
            lines += [f"export RVSOCK_FAMILY={run_guests.family(parameters)}",
                      f"load {batch} {parameters}"]
            for suite, names in members.items():
                program = [*behaviour.program(suites[suite]), *suites[suite].get("args", []),
                           *(word for name in names for word in select(suites[suite], name))]
                lines.append(f"run {batch}:{suite} {LIMIT} {shlex.join(program)}")
                limit += LIMIT
            lines += ["settle", "rmmod rvsock || return 0"]
            limit += 15
    return "\n".join(lines) + "\n", limit


def select(suite, test):
    """The arguments that make a program run this test, in all its variants. None if it
    makes its tests up as it runs: then it runs all of them."""
    return [word for name in behaviour.tests_of(suite) or () if behaviour.matches(test, name)
            for word in ("-r", name)]


def boot(suites, batches, topology):
    """Runs the tests; gives those that failed, by batch and suite, as far as it came."""
    text, limit = plan(suites, batches, topology)

    def add_modules(archive):
        for name in batches:
            archive.file(f"modules/{name}.ko", WORK / f"modules/{name}.ko")

    run = guest.Run(topology, WORK / f"run-{topology}", {"plan": text}, more=add_modules)
    told = results.parse(run.boot(limit).results())
    for name, status in told.loads:
        if status:
            sys.exit(f"error: the module of batch {name} does not load; see {run.logs}")
    failed = {}
    for program in told.programs.values():
        batch, _, suite = program.name.partition(":")
        failed.setdefault(batch, {})[suite] = run_ktap.ktap(suite, program.lines,
                                                            program.status).failures
    return failed


def show(fault, failed):
    """Tells how each test that was to fail has failed; gives whether all did."""
    seen = True
    for test in fault["seen"]:
        suite, _, name = test.partition(":")
        how = next((one.splitlines() for one in failed.get(suite, ())
                    if behaviour.matches(name, one.splitlines()[0])), None)
        seen &= how is not None
        print(f"    {test}: " + ("DID NOT FAIL" if how is None else next(
            (line.rpartition("/")[2] for line in how if "Expected" in line), how[-1])))
    return seen


def main():
    """Seeds the faults; the exit status is 0 when each was seen by all its tests."""
    suites, batches = read(os.environ.get("SUITE") or None)
    shutil.rmtree(WORK, ignore_errors=True)
    failed = {batch: {} for batch in batches}
    for_guests = {}
    for batch, faults in batches.items():
        package = package_of(batch, faults)
        if package:
            print(f"testing '{package}' with {batch}", flush=True)
            failed[batch] = test_package(package, faults)
        else:
            for_guests[batch] = faults
    made = build(for_guests, sys.argv[1:])
    for topology in dict.fromkeys(suite["topology"] for suite in suites.values()):
        left = {batch: faults for batch, faults in made.items()
                if chosen(suites, faults, topology)}
        while left:
            print(f"booting '{topology}' for {len(left)} batches", flush=True)
            seen = boot(suites, left, topology)
            if not seen:
                sys.exit(f"error: the guest ran nothing; see {WORK}/run-{topology}")
            for batch in seen:
                failed[batch].update(seen[batch])
            left = {batch: faults for batch, faults in left.items() if batch not in seen}
    count = unseen = 0
    for batch, faults in batches.items():
        for name, fault in faults.items():
            print(f"{batch}: {name}")
            count += 1
            unseen += not show(fault, failed[batch])
    print(f"\n{count - unseen} of {count} faults were seen by their tests")
    return 1 if unseen else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (guest.GuestFailed, host.HostFailed) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
