# SPDX-License-Identifier: GPL-2.0
"""What a benchmark measured: samples of figures by case and family, their medians and
spread, and how they stand beside each other."""

import dataclasses
import json
import re
import statistics

LINE = re.compile(r"^= (\S+) (\S+) (\S+)$")
FAILURE = re.compile(r"^! (\S+) (.+)$")

# What the first word of a case measures, its unit, and whether more is better.
KINDS = {
    "throughput": ("Throughput over loopback, one connection", "MiB/s", True),
    "copies": ("What copying each byte twice allows", "MiB/s", True),
    "parallel": ("Throughput of so many connections at once, 4 KiB", "MiB/s", True),
    "roundtrip": ("Round trip of so many bytes", "us", False),
    "connections": ("connect, accept and close beside so many open connections", "/s", True),
    "waitall": ("recv(200 KiB, MSG_WAITALL) of 4 KiB sends: sleeps for each", "", False),
    "switches": ("Sleeps of both threads for each MiB", "/MiB", False),
    "wakeups": ("Wake-ups that they cause for each MiB", "/MiB", False),
    "allocations": ("Allocations for each MiB", "/MiB", False),
    "memory": ("Memory of an idle socket, and of each queued byte by the size of sends", "B",
               False),
    "to_host": ("Throughput to the host, in sends of so many bytes", "MiB/s", True),
    "from_host": ("Throughput from the host, which writes so many bytes", "MiB/s", True),
    "remote_roundtrip": ("Round trip of so many bytes to the host", "us", False),
    "remote_connections": ("Connections to the host", "/s", True),
    "remote_events": ("Events in the guest for each MiB to and from the host, by the size of sends",
                      "/MiB", False),
    "remote_calls": ("Events in the guest for each round trip of a byte to the host, and for each "
                     "connection", "", False),
    "awake_to": ("Throughput to the host, from a processor that never sleeps", "MiB/s", True),
    "awake_from": ("Throughput from the host, to a processor that never sleeps", "MiB/s", True),
    "awake_roundtrip": ("Round trip of so many bytes, from a processor that never sleeps", "us",
                        False),
    "awake_connections": ("Connections to the host, from a processor that never sleeps", "/s", True),
    "awake_events": ("Events in that guest for each MiB to and from the host", "/MiB", False),
    "awake_calls": ("Events in that guest for each round trip of a byte, and for each connection",
                    "", False),
    "nested_to": ("Throughput to vhost-vsock, in sends of so many bytes", "MiB/s", True),
    "nested_from": ("Throughput from vhost-vsock, whose host writes so many bytes", "MiB/s", True),
    "nested_roundtrip": ("Round trip of so many bytes by vhost-vsock", "us", False),
    "nested_connections": ("Connections by vhost-vsock", "/s", True),
    "nested_events": ("Events in the guest for each MiB to and from vhost-vsock", "/MiB", False),
    "nested_calls": ("Events in the guest for each round trip of a byte by vhost-vsock, and for each "
                     "connection", "", False),
    "sibling_to": ("Throughput to a sibling, in sends of so many bytes", "MiB/s", True),
    "sibling_from": ("Throughput from a sibling, which writes so many bytes", "MiB/s", True),
    "sibling_roundtrip": ("Round trip of so many bytes to a sibling", "us", False),
    "sibling_connections": ("Connections to a sibling", "/s", True),
    "sibling_events": ("Events in the guest for each MiB to and from a sibling, by the size of sends",
                       "/MiB", False),
    "sibling_calls": ("Events in the guest for each round trip of a byte to a sibling, and for each "
                      "connection", "", False),
    "cpus_throughput": ("Throughput over loopback, by the size of sends and the guest's processors",
                        "MiB/s", True),
    "cpus_parallel": ("Throughput of so many connections at once, 4 KiB, by the guest's processors",
                      "MiB/s", True),
    "cpus_roundtrip": ("Round trip of so many bytes, by the guest's processors", "us", False),
    "exact": ("Instructions of a call", "", False),
}
# In the order in which tables show them; "machine" is nobody's.
FAMILIES = ("rvsock", "vsock", "unix", "tcp", "machine")


@dataclasses.dataclass(frozen=True)
class Goal:
    """A ratio of medians that rvsock is to reach, or with no family a plain bound."""
    case: str
    family: str | None
    bound: float
    at_least: bool


GOALS = [
    *(Goal(f"throughput/{kind}/{size}", "unix", 1.5 if (kind, size) == ("stream", 64) else 1.0, True)
      for kind in ("stream", "seqpacket") for size in (64, 1024, 4096, 65536, 524288)),
    Goal("roundtrip/1", "unix", 1.05, False),
    *(Goal(f"connections/{number}", "unix", 0.9, True) for number in (0, 1000, 50000)),
    *(Goal(f"{kind}/{size}", "vsock", 1.0, True)
      for kind in ("to_host", "from_host", "awake_to", "awake_from", "nested_to", "nested_from")
      for size in (64, 1024, 4096, 32768)),
    *(Goal(f"{kind}/{size}", "vsock", 1.0, False)
      for kind in ("remote_roundtrip", "awake_roundtrip", "nested_roundtrip") for size in (1, 4096)),
    *(Goal(f"{kind}_connections", "vsock", 1.0, True) for kind in ("remote", "awake", "nested")),
    # On a device that takes long chains the driver's own merits show.
    *(Goal(f"{kind}/{size}", "vsock", 1.5 if size in (4096, 65536) else 1.0, True)
      for kind in ("sibling_to", "sibling_from") for size in (64, 1024, 4096, 65536, 524288)),
    *(Goal(f"sibling_roundtrip/{size}", "vsock", 0.8, False) for size in (1, 4096)),
    Goal("sibling_connections", "vsock", 1.5, True),
    *(Goal(f"{case}/{processors}", "vsock", 1.0, True)
      for case in ("cpus_throughput/4096", "cpus_throughput/65536", "cpus_parallel/8")
      for processors in (1, 2, 4)),
    *(Goal(f"cpus_roundtrip/1/{processors}", "vsock", 1.0, False) for processors in (1, 2, 4)),
    Goal("waitall/switches", None, 1.5, False),
    Goal("memory/idle", None, 2.3 * 1024, False),
    Goal("memory/queued/1", None, 1.5, False),
]


class Figures:
    """The samples of a run, in the order of their rounds."""

    def __init__(self):
        self._samples = {}
        # What families could not do, and how often: (family, what) to a number.
        self.failures = {}

    def read(self, text):
        """Takes the figures out of what the programs printed."""
        for line in text.splitlines():
            if found := LINE.match(line):
                self._samples.setdefault(found[1], {}).setdefault(found[2], []).append(
                    float(found[3]))
            elif found := FAILURE.match(line):
                failure = found[1], found[2]
                self.failures[failure] = self.failures.get(failure, 0) + 1

    def cases(self, kind):
        """The cases of a kind, in the order in which they were first measured."""
        return [case for case in self._samples if case.partition("/")[0] == kind]

    def median(self, case, family):
        """The median of the samples; None without any."""
        samples = self._samples.get(case, {}).get(family)
        return statistics.median(samples) if samples else None

    def quartiles(self, case, family):
        """The quartiles of the samples, the median among them."""
        return quartiles(self._samples[case][family])

    def spread(self, case, family):
        """The distance between the quartiles, as a part of the median; 0 for one sample."""
        low, median, high = self.quartiles(case, family)
        return abs((high - low) / median) if median else 0.0

    def ratio(self, case, family):
        """The median of rvsock to that of the family; None where there is none."""
        ours, theirs = self.median(case, "rvsock"), self.median(case, family)
        return ours / theirs if ours is not None and theirs else None

    def write(self, path, about):
        """All samples, medians and spreads, as JSON, with what is said of the run."""
        told = {case: {family: {"samples": samples, "median": self.median(case, family),
                                "spread": self.spread(case, family)}
                       for family, samples in families.items()}
                for case, families in self._samples.items()}
        with open(path, "w") as file:
            json.dump({**about, "figures": told}, file, indent=1)
            file.write("\n")


def quartiles(values):
    """The quartiles of some values; of a single one, itself three times."""
    if len(values) < 2:
        return [*values] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def number(value):
    """A figure in three digits or more, as people write them."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def tables(figures):
    """The tables: a title, and rows of cells, of which the first has the columns' names."""
    for kind, (title, unit, _) in KINDS.items():
        cases = figures.cases(kind)
        families = [family for family in FAMILIES
                    if any(figures.median(case, family) is not None for case in cases)]
        if not cases:
            continue
        compared = [family for family in ("unix", "vsock")
                    if family in families and "rvsock" in families]
        rows = [[unit or "number", *families, *(f"/ {family}" for family in compared)]]
        for case in cases:
            cells = []
            for family in families:
                median = figures.median(case, family)
                cells.append("" if median is None else
                             f"{number(median)} ±{figures.spread(case, family) * 50:.0f}%")
            ratios = (figures.ratio(case, family) for family in compared)
            rows.append([case.partition("/")[2], *cells,
                         *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
        yield title, rows


def _is_clear(figures, goal):
    """Whether the middle half of rvsock's samples is all on one side of the goal, or of the middle
    half of what it is beside."""
    low, _, high = figures.quartiles(goal.case, "rvsock")
    beside = figures.quartiles(goal.case, goal.family) if goal.family else [1.0]
    return high < goal.bound * beside[0] or low > goal.bound * beside[-1]


def goals(figures):
    """Rows of the goals whose cases were measured: the case, what it is beside, the figure,
    the goal, and whether it is reached, and by more than the spread."""
    rows = [["case", "beside", "is", "goal", "", ""]]
    for goal in GOALS:
        is_now = (figures.ratio(goal.case, goal.family) if goal.family
                  else figures.median(goal.case, "rvsock"))
        if is_now is None:
            continue
        reached = is_now >= goal.bound if goal.at_least else is_now <= goal.bound
        # Less than nothing is what something else gave back meanwhile.
        verdict = "not measured" if is_now < 0 else "reached" if reached else "not reached"
        rows.append([goal.case, goal.family or "", number(is_now),
                     f"{'≥' if goal.at_least else '≤'} {number(goal.bound)}",
                     verdict, "" if _is_clear(figures, goal) else "within the spread"])
    return rows
