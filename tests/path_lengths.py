# SPDX-License-Identifier: GPL-2.0
"""How long the path of a call may be: the instructions of each, kept in tests/path_lengths.toml
for the kernel and the tools that they were counted with, and how a count stands to them."""

import dataclasses
import pathlib
import sys
import tomllib

CLONE = pathlib.Path(__file__).resolve().parent.parent
FILE = CLONE / "tests/path_lengths.toml"
HEADER = """\
# SPDX-License-Identifier: GPL-2.0
# The instructions that calls take, counted as docs/debugging.md tells, by what they were
# counted with. "make test" fails when rvsock's have grown by more than 5 %. Where the kernel or
# a tool has no entry, the last one says by its ratio what they may be beside the C vsock.
# "make path-lengths" counts anew and writes this file.
"""
# What counts depend on, beside the code: the keys of an entry.
TOOLS = ("kernel", "rustc", "gcc", "qemu")
# How much longer a path may be than it was. What is shorter by as much is told of.
TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is thought of a case. The text says why it is not good, or what else there is to tell."""
    case: str
    good: bool
    text: str = ""


def read(path=FILE):
    """The entries of the file, in its order; a mistake in it ends the run with a sentence."""
    try:
        with open(path, "rb") as file:
            entries = tomllib.load(file).get("entry", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        sys.exit(f"error: tests/{path.name}: {error}")
    for field in (*TOOLS, "instructions"):
        if any(field not in entry for entry in entries):
            sys.exit(f"error: tests/{path.name}: an entry has no '{field}'")
    return entries


def write(entries, path=FILE):
    """Writes the file."""
    path.write_text("\n".join([HEADER, *map(_text, entries)]))


def _text(entry):
    """An entry as it stands in the file."""
    lines = ["[[entry]]", *(f'{tool} = "{entry[tool]}"' for tool in TOOLS), "[entry.instructions]"]
    for case, counts in entry["instructions"].items():
        told = ", ".join(f"{family} = {count}" for family, count in counts.items())
        lines.append(f'"{case}" = {{ {told} }}')
    return "\n".join([*lines, ""])


def entry_of(entries, tools):
    """The entry that was counted with these tools; None without one."""
    return next((entry for entry in entries if all(entry[tool] == tools[tool] for tool in TOOLS)),
                None)


def with_entry(entries, entry):
    """The entries with this one as the last, in place of one that was counted with the same."""
    former = entry_of(entries, entry)
    return [*(other for other in entries if other is not former), entry]


def compare(entries, tools, counted):
    """A verdict for each case that was counted, with these tools, or should have been. `counted`
    has the instructions by case and family."""
    entry = entry_of(entries, tools)
    by = _as_it_was if entry else _beside_c
    entry = entry or (entries[-1] if entries else {"instructions": {}})
    for case in {**entry["instructions"], **counted}:
        yield _judge(case, by, entry["instructions"].get(case, {}), counted.get(case, {}))


def _as_it_was(was, _):
    """What a call of rvsock's took with the same tools, and that in words."""
    return was["rvsock"], f"{was['rvsock']:,} in the file"


def _beside_c(was, now):
    """What a call of rvsock's would take if it stood to C's as it did with other tools."""
    if "vsock" not in was or "vsock" not in now:
        return None, ""
    ratio = was["rvsock"] / was["vsock"]
    limit = ratio * now["vsock"]
    return limit, f"{limit:,.0f} by the last entry ({ratio:.2f} of C's {now['vsock']:,})"


def _judge(case, by, was, now):
    """The verdict of a case that took `was` by the file, and takes `now`."""
    if "rvsock" not in now:
        return Verdict(case, False, f"{case}: in the file, and not counted")
    limit, words = by(was, now) if "rvsock" in was else (None, "")
    if not limit:
        return Verdict(case, False, f"{case}: {now['rvsock']:,} instructions, and nothing in the "
                       'file to compare them with; "make path-lengths" writes it')
    change = now["rvsock"] / limit - 1
    text = f"{case}: {now['rvsock']:,} instructions, {words}: {abs(change) * 100:.1f} %"
    if change > TOLERANCE:
        return Verdict(case, False, f"{text} more")
    if change < -TOLERANCE:
        return Verdict(case, True, f'{text} less; "make path-lengths" lowers the file')
    return Verdict(case, True)
