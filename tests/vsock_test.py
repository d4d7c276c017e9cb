# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tests of vsock: which of their cases run, and how each fared in
each cell: loopback, a nested host or a sibling, rvsock or the C driver in its place."""

import pathlib
import re
import subprocess
import tomllib

import run_ktap

CLONE = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = CLONE / "build/kselftest"
SOURCES = pathlib.Path("/kernel/tree/tools/testing/vsock")
CHOICES = CLONE / "tests/vsock_test.toml"
LISTED = re.compile(r"^(\d+)\t(.+)$", re.M)
# An entry of a table of cases, where a program does not list them.
ENTRY = re.compile(r'\.name = "([^"]+)",\s*\.run_')
# vsock_perf has no cases; these are its options.
TRANSFERS = ("SOCK_STREAM", "SOCK_STREAM --zerocopy")
RESULT = re.compile(r"^(ok|not ok) \d+ (\w+): (.+)$")
# What an end says of a case that it has not, or not wholly, tried, and then calls "ok".
NOT_TRIED = re.compile(r"^# (?:near|far) end: (.*(?:skip|unsupported|not supported|No transports).*)$",
                       re.I)


def _listed(program):
    """The names of a program's cases, by number. It only prints; its exit status is 1
    whatever it is asked."""
    listed = subprocess.run([PROGRAMS / program, "--list"], capture_output=True,
                            text=True).stdout
    return {name: int(number) for number, name in LISTED.findall(listed)}


def _not_tried(said):
    """What an end has said of that it has not tried."""
    return [found[1] for found in map(NOT_TRIED.match, said) if found]


def _numbered(names):
    return {name: number for number, name in enumerate(names)}


def _in_its_place(cell):
    """The cell with C wherever a cell has rvsock; None for such a one."""
    place, _, drivers = cell.partition(", ")
    if "rvsock" not in drivers:
        return None
    return f"{place}, {drivers.replace('rvsock', 'C')}"


class VsockTest:
    """Their cases, and what is told of them."""

    def __init__(self):
        with open(CHOICES, "rb") as file:
            self._choices = tomllib.load(file)
        # The first one wants to be alone, and the others leave sockets behind for a while.
        self._cases = {
            "vsock_diag_test": _listed("vsock_diag_test"),
            "vsock_test": _listed("vsock_test"),
            "vsock_uring_test": _numbered(ENTRY.findall(
                (SOURCES / "vsock_uring_test.c").read_text())),
            "vsock_perf": _numbered(TRANSFERS),
        }
        # By cell and case: whether it has passed, what was said, and figures.
        self._cells = {}

    def _chosen(self, program, choice):
        """The cases of a program that tests/vsock_test.toml says something of."""
        return self._choices.get(program, {}).get(choice, {})

    def _fails_by_peer(self, program, cell):
        """The cases of a program that the peer of a cell cannot pass, whatever drives it; and
        why."""
        return self._chosen(program, "not_lossy") if cell.startswith("lossy") else {}

    def suites(self, kernel):
        """The checks when any cell ran: that what tests/vsock_test.toml leaves out is
        there, and that nothing was left out by a program itself. The debugging kernel
        has no C to compare that with."""
        if not self._cells:
            return []
        suite = run_ktap.Suite("vsock_test.toml")
        gone = [f"{program}: {name}" for program, choices in self._choices.items()
                for names in choices.values() for name in names
                if name not in self._cases.get(program, ())]
        suite.check(not gone, "\n".join(["cases that are no more; strike them:", *gone]))
        untried = [] if kernel.debug else [*self._untried()]
        suite.check(not untried, "\n".join(["cases that say they were not tried, which they do "
                                            "not say of C:", *untried]))
        return [suite]

    def _untried(self):
        """What is said of a case on rvsock that C in its place is not told of."""
        for cell, cases in sorted(self._cells.items()):
            reference = _in_its_place(cell)
            if reference is None:
                continue
            for case, (_, said) in cases.items():
                # At which end it was does not matter: client and server change places.
                of_c = _not_tried(self._cells.get(reference, {}).get(case, (False, ()))[1])
                for line in _not_tried(said):
                    if line not in of_c:
                        yield f"{cell}: {': '.join(case)}: {line}"

    def arguments(self, cell, kernel):
        """What vsock_test.sh is to run in a cell: programs, each with the numbers and
        names of its cases, and "--" where a new pair of processes is to begin."""
        arguments = []
        for program, cases in self._cases.items():
            left_out = {*self._chosen(program, "not_yet")}
            if kernel.debug:
                left_out |= {*self._chosen(program, "too_slow")}
            if cell.startswith("loopback"):
                left_out |= {*self._chosen(program, "not_loopback")}
            left_out |= {*self._fails_by_peer(program, cell)}
            run = {name: f"{number}:{name}" for name, number in cases.items()
                   if name not in left_out}
            alone = [name for name in self._chosen(program, "alone") if name in run]
            together = [run[name] for name in run if name not in alone]
            for name in alone:
                together += ["--", run[name]]
            if together:
                arguments += [program, *together]
        return arguments

    def note(self, cell, lines):
        """Takes up what a cell's run printed."""
        cases, said = self._cells.setdefault(cell, {}), []
        for line in lines:
            if found := RESULT.match(line):
                cases[found[2], found[3]] = (found[1] == "ok", said)
                said = []
            elif line.startswith("# "):
                said.append(line)

    def _fared(self, cell, program, name):
        """A word on how a case fared in a cell."""
        if name in self._fails_by_peer(program, cell):
            return "peer fails"
        passed, _ = self._cells[cell].get((program, name), (None, ()))
        return {True: "passed", False: "FAILED", None: "-"}[passed]

    def show(self):
        """Prints the table: a row for each case, a column for each cell; and the
        figures of vsock_perf, which nobody judges."""
        if not self._cells:
            return
        titles = [f"{program}: {name}" for program, cases in self._cases.items()
                  for name in cases]
        width = max(map(len, titles), default=0)
        cells = sorted(self._cells)
        print(f"\n{'the kernel`s own tests':{width}}  {'  '.join(cells)}")
        for program, cases in self._cases.items():
            for name in cases:
                if name not in self._chosen(program, "not_yet"):
                    row = [f"{self._fared(cell, program, name):{len(cell)}}" for cell in cells]
                    print(f"{f'{program}: {name}':{width}}  {'  '.join(row)}".rstrip())
        for cell in cells:
            for (program, name), (_, said) in self._cells[cell].items():
                if program == "vsock_perf":
                    figures = [line[2:] for line in said if "performance" in line]
                    print(f"{program}: {name}: {cell}: {'; '.join(figures)}")
        reasons = {reason for cell in cells for program in self._cases
                   for reason in self._fails_by_peer(program, cell).values()}
        for reason in sorted(reasons):
            print(f"peer fails, with C in both places as well: {reason}")
        run = sum(name not in self._chosen(program, "not_yet")
                  for program, cases in self._cases.items() for name in cases)
        print(f"run: {run} of {len(titles)}")
        for program in self._cases:
            for name, reason in self._chosen(program, "not_yet").items():
                print(f"  not yet: {program}: {name} ({reason})")
