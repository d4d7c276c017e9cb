# SPDX-License-Identifier: GPL-2.0
"""Counts what suites reported: KTAP by the kernel's own parser, and cargo's."""

import dataclasses
import re
import sys

sys.path.insert(0, "/kernel/tree/tools/testing/kunit")
import kunit_parser  # noqa: E402
from kunit_printer import null_printer  # noqa: E402

SKIPPED_ALL = 4  # kselftest's exit status for a suite that could not run
PLAN = re.compile(r"^1\.\.(\d+)")
CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")


@dataclasses.dataclass
class Suite:
    """What a suite came to. `failures` holds a line or more for each failure, `names`
    what passed, `left_out` what said that it cannot be run here."""
    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: list = dataclasses.field(default_factory=list)
    names: set = dataclasses.field(default_factory=set)
    left_out: set = dataclasses.field(default_factory=set)

    def fail(self, reason):
        """Counts one failure."""
        self.failed += 1
        self.failures.append(reason)

    def check(self, good, reason):
        """Counts one test that is good, or failed for a reason."""
        if good:
            self.passed += 1
        else:
            self.fail(reason)


def _leaves(test):
    if not test.subtests:
        yield test
    for part in test.subtests:
        yield from _leaves(part)


def ktap(name, lines, status, seconds=0.0, timed_out=False):
    """The suite that printed these lines of KTAP and ended with this status."""
    suite = Suite(name, seconds=seconds)
    planned = next((int(found[1]) for found in map(PLAN.match, lines) if found), None)
    if planned is not None:
        test = kunit_parser.parse_run_tests(lines, null_printer)
        suite.passed, suite.skipped = test.counts.passed, test.counts.skipped
        for leaf in _leaves(test):
            if leaf.status in (kunit_parser.TestStatus.FAILURE,
                               kunit_parser.TestStatus.TEST_CRASHED):
                suite.fail("\n".join([leaf.name, *leaf.log[-12:]]))
            elif leaf.status == kunit_parser.TestStatus.SUCCESS:
                suite.names.add(leaf.name)
            elif leaf.status == kunit_parser.TestStatus.SKIPPED:
                suite.left_out.add(leaf.name)
    if timed_out:
        suite.fail("did not end within its time; the stacks of its threads are in console.log")
    elif planned is None and status == SKIPPED_ALL:
        suite.skipped += 1
    elif planned is None:
        suite.fail("\n".join([f"printed no plan of tests, exit status {status}", *lines[-5:]]))
    elif status is None:
        suite.fail("did not end: the guest ended first")
    elif planned != suite.passed + suite.failed + suite.skipped and not (
            planned == 0 and status == SKIPPED_ALL):
        suite.fail(f"planned {planned} tests and reported "
                   f"{suite.passed + suite.failed + suite.skipped}, exit status {status}")
    elif status not in (0, SKIPPED_ALL) and not suite.failed:
        suite.fail(f"reported no failure, yet ended with exit status {status}")
    return suite


def _panic(lines, test):
    """What a failed test of cargo's printed, at most 12 lines of it."""
    try:
        start = lines.index(f"---- {test} stdout ----") + 1
    except ValueError:
        return []
    end = next((number for number, line in enumerate(lines[start:], start)
                if line.startswith(("---- ", "failures:"))), len(lines))
    return [line for line in lines[start:end] if line.strip()][:12]


def cargo(name, lines, status, seconds):
    """The suite that cargo ran with this output."""
    suite = Suite(name, seconds=seconds)
    for found in filter(None, map(CARGO.match, lines)):
        suite.passed += int(found[1])
        suite.skipped += int(found[3])
    for line in lines:
        if re.match(r"^test .* \.\.\. FAILED$", line):
            suite.fail("\n".join([line.split()[1], *_panic(lines, line.split()[1])]))
        elif re.match(r"^test .* \.\.\. ok$", line):
            suite.names.add(line.split()[1])
    if status != 0 and not suite.failed:
        suite.fail("\n".join([f"cargo ended with status {status}", *lines[-10:]]))
    return suite
