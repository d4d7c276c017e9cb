#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""When does recv wake ("make wake-timing")? Between waking for each packet and waking when the
buffer is full, a kernel has to choose; this measures what each family of sockets does, and draws
it. The experiment is that of tests/bench/wake.c, in a guest whose clock counts instructions, so that
it does not matter how busy the machine is; docs/wake-timing.md explains the pictures.

usage: tests/bench/run_wake.py [--rounds=N]
"""

import argparse
import dataclasses
import pathlib
import re
import statistics
import sys

CLONE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CLONE / "qemu"))
import figures  # noqa: E402
import guest  # noqa: E402
import kernels  # noqa: E402
import progress  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
import run_bench  # noqa: E402
import wake_pictures  # noqa: E402

LOGS = CLONE / "build/runs/wake-timing"
# As in tests/bench/wake.c.
WANTED, PACKET = 200 * 1024, 4 * 1024
POLICIES = {"default": "plain recv", "rcvlowat": "SO_RCVLOWAT", "waitall": "MSG_WAITALL"}
PACES = ("paced", "unpaced")
FAMILIES = figures.FAMILIES[:4]
LINE = re.compile(r"^~ (\S+) (\S+) (\S+) (\d+) (\d+) (\d+) (\d+)$", re.M)


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of recv: bytes that it returned, times that it slept, nanoseconds from the send
    that met its target to its return, and nanoseconds that it had a processor."""
    got: int
    slept: int
    delay: int
    worked: int


class Calls:
    """All calls of one family, one policy and one pace."""

    def __init__(self):
        self._calls = []

    def add(self, call):
        """One more."""
        self._calls.append(call)

    def number(self):
        """How many there are."""
        return len(self._calls)

    def sizes(self):
        """What each returned, in KiB."""
        return [call.got / 1024 for call in self._calls]

    def delays(self):
        """The delays in microseconds."""
        return [call.delay / 1000 for call in self._calls]

    def sleeps(self):
        """How often each slept."""
        return [call.slept for call in self._calls]

    def _requests(self):
        """How often 200 KiB came, in however many calls."""
        return sum(call.got for call in self._calls) / WANTED

    def sleeps_a_request(self):
        """How often the reader slept for each 200 KiB."""
        return sum(self.sleeps()) / self._requests()

    def work_a_request(self):
        """For how many microseconds the reader had the processor for each 200 KiB."""
        return sum(call.worked for call in self._calls) / 1000 / self._requests()

    def packets_a_sleep(self):
        """How many packets came for each time that the reader slept; None if it never did."""
        slept = sum(self.sleeps())
        return self._requests() * WANTED / PACKET / slept if slept else None


class Progress:
    """Tells which experiment has ended."""

    def __init__(self, rounds):
        self._rounds = rounds
        self._of_round = len(POLICIES) * len(PACES) * len(FAMILIES)
        self._bar = progress.Bar(rounds * self._of_round)
        self._done = 0
        self._last = None
        self.end = self._bar.end

    def watch(self, text):
        """Takes what the plan and the program told."""
        for policy, pace, family, *_ in LINE.findall(text):
            if (policy, pace, family) != self._last:
                self._last = policy, pace, family
                self._show(policy, pace, family)
        if "##rvsock again" in text:
            self._done, self._last = 0, None

    def _show(self, policy, pace, family):
        where = f"round {self._done // self._of_round + 1} of {self._rounds}"
        self._done += 1
        self._bar.show(self._done, f"{where}: {POLICIES[policy]}, {pace}", f", {family}")


def parse(text):
    """The calls by policy, pace and family."""
    calls = {}
    for policy, pace, family, *numbers in LINE.findall(text):
        calls.setdefault((policy, pace, family), Calls()).add(Call(*map(int, numbers)))
    return calls


def with_spread(values):
    """The median, and half of the distance between the quartiles as a part of it."""
    low, median, high = figures.quartiles(values)
    return f"{figures.number(median)} ±{(high - low) / 2 / median * 100:.0f}%"


def table(calls, pace):
    """Rows: what a call of each kind is like."""
    rows = [["policy", "family", "calls", "KiB a call", "sleeps a call", "packets a sleep",
             "delay, us", "sleeps for 200 KiB", "work for it, us"]]
    for policy, title in POLICIES.items():
        for family in FAMILIES:
            if made := calls.get((policy, pace, family)):
                rows.append([
                    title, family, made.number(), with_spread(made.sizes()),
                    f"{statistics.mean(made.sleeps()):.2f}",
                    figures.number(made.packets_a_sleep()) or "never slept",
                    with_spread(made.delays()), f"{made.sleeps_a_request():.1f}",
                    figures.number(made.work_a_request())])
    return rows


def show(calls):
    """Prints the tables, and draws the pictures."""
    for pace in PACES:
        rows = table(calls, pace)
        if len(rows) > 1:
            print(f"\nA reader that wants 200 KiB; packets of 4 KiB, {pace}")
            report.table(rows, right=range(2, 9))
    print("""
KiB and delay: the median, ± half the distance between the quartiles. The rest: the mean.
The delay is from the send that met the target to the return of recv, the work the time that the
reader had the processor. The guest's clock counts instructions, a nanosecond each.""")
    for pace in PACES:
        made = {(policy, family): calls[policy, pace, family] for policy in POLICIES
                for family in FAMILIES if (policy, pace, family) in calls}
        if made:
            run_bench.told_of(wake_pictures.draw(made, POLICIES, pace, LOGS / f"wake-{pace}"))


def main():
    """Runs the experiment; the exit status says whether it ran, and nothing of its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("at least one round")
    release = (kernels.chosen().directory / "release").read_text().strip()
    print(f"Measuring when recv wakes, in a guest with kernel {release}", flush=True)
    bar = Progress(arguments.rounds)
    run = guest.Run("exact", LOGS, {"plan": run_bench.plan(arguments.rounds, ["wake"])},
                    more=run_bench.add_program)
    outcome = run.boot(arguments.rounds * run_bench.CASE_SECONDS, bar.watch)
    bar.end()
    show(parse(outcome.results()))
    measured = figures.Figures()
    measured.read(outcome.results())
    for (family, what), times in measured.failures.items():
        print(f"  {family} could not be measured {times} times: {what}")
    return run_bench.conclude(
        run_bench.problems(outcome, results.parse(outcome.results()), measured))


if __name__ == "__main__":
    guest.end_with(main)
