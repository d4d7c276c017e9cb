# SPDX-License-Identifier: GPL-2.0
"""One program in a boot of its own, for as long as it is told: what "make stress" and
"make fuzz" have in common."""

import guest
import results
import run_detectors
import run_ktap


def plan(name, limit, command, kernel, before=(), after=()):
    """The plan of such a boot, with shell lines before and after the program."""
    return "\n".join([
        *before, "load rvsock", f"run {name} {limit} {command}", *after,
        "settle", *kernel.before_unload, "unload rvsock", *kernel.after_unload, "tell completed",
        "prove" if kernel.debug else "", ""])


def boot(topology, logs, text, limit, watch=lambda text: None):
    """Boots with the plan; gives the outcome and what it told."""
    outcome = guest.Run(topology, logs, {"plan": text}).boot(limit, watch)
    return outcome, results.parse(outcome.results())


def findings(name, outcome, told, kernel):
    """What was wrong with the program, the kernel's log or the end of the plan, a text each."""
    program = told.programs.get(name)
    found = [f"kernel: {line}" for line in outcome.faults()]
    if not program or program.status is None:
        found.append("the program did not come to its end")
    else:
        found += run_ktap.ktap(name, program.lines, program.status, program.seconds,
                               program.timed_out).failures
    if not (told.completed and told.sockets == [0] and told.unloads == [("rvsock", 0)]):
        found.append(f"sockets {told.sockets}, unloads {told.unloads}, "
                     f"plan {'' if told.completed else 'not '}completed")
    if kernel.debug:
        detectors = run_ktap.Suite("detectors")
        run_detectors.judge(detectors, outcome, told, 1)
        found += detectors.failures
    return found


def show(word, found):
    """Prints findings, each with its further lines below it."""
    for one in found:
        first, *rest = one.splitlines() or [""]
        print(f"{word} {first}")
        for line in rest:
            print(f"{' ' * (len(word) - len(word.lstrip()) + 2)}{line}")
