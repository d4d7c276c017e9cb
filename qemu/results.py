# SPDX-License-Identifier: GPL-2.0
"""Reads what a plan told (see plan-functions.sh): lines that start with
"##rvsock" between what its programs printed."""

import dataclasses


@dataclasses.dataclass
class Program:
    """A program that the plan ran. `status` is None when it never ended."""
    name: str
    begun: float
    ended: float = 0.0
    status: int | None = None
    timed_out: bool = False
    lines: list = dataclasses.field(default_factory=list)

    @property
    def seconds(self):
        """How long it ran, by the guest's clock."""
        return max(0.0, self.ended - self.begun)


@dataclasses.dataclass
class Results:
    """What a plan did. `loads` and `unloads` hold (module, status) in order;
    `sockets` what `settle` found; `leaks` pairs of when and how many; `detectors`
    whether each was on, and what that was seen by; `completed` whether the plan came
    to its end."""
    programs: dict
    loads: list
    unloads: list
    sockets: list
    leaks: list
    detectors: dict
    completed: bool


def parse(text):
    """Makes Results of the text of results.log."""
    results = Results({}, [], [], [], [], {}, False)
    current = None
    for line in text.splitlines():
        if not line.startswith("##rvsock "):
            if current and line.strip():
                current.lines.append(line.rstrip())
            continue
        match line.split()[1:]:
            case ["begin", name, begun]:
                current = results.programs[name] = Program(name, float(begun))
            case ["timeout", name] if name in results.programs:
                results.programs[name].timed_out = True
            case ["end", name, ended, status] if name in results.programs:
                results.programs[name].ended = float(ended)
                results.programs[name].status = int(status)
                current = None
            case ["load", module, status]:
                results.loads.append((module, int(status)))
            case ["unload", module, status]:
                results.unloads.append((module, int(status)))
            case ["sockets", count]:
                results.sockets.append(int(count))
            case ["leaks", when, count]:
                results.leaks.append((when, int(count)))
            case ["detector", name, state, *detail]:
                # One that was off once counts as off.
                if results.detectors.get(name, (True,))[0]:
                    results.detectors[name] = (state == "on", " ".join(detail))
            case ["completed"]:
                results.completed = True
    return results
