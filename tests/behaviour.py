# SPDX-License-Identifier: GPL-2.0
"""Reads the tables of docs/behaviour.md and docs/virtio.md and checks them: each row has tests
that are there, in the first a fault as well, and after a run each of its tests that should have
run has passed."""

import dataclasses
import pathlib
import re
import tomllib

CLONE = pathlib.Path(__file__).resolve().parent.parent
TABLE = "docs/behaviour.md"
# The rules of the virtio specification by their numbers, and what a hostile host does.
CHECKLIST = "docs/virtio.md"
RULES = 30
TEST = re.compile(r"^TEST(?:_F(?:_TIMEOUT)?)?\((?:(\w+),\s*)?(\w+)", re.MULTILINE)
# Those of a Cargo package of the host's, by the name of its directory in tests/. They are
# named by the path of their module.
PACKAGES = ("protocol",)
RUST_TEST = re.compile(r"#\[test\]\s+(?:///[^\n]*\n\s*)*fn (\w+)")
VARIANT = re.compile(r"^FIXTURE_VARIANT_ADD\((\w+),\s*(\w+)\)", re.MULTILINE)


@dataclasses.dataclass
class Row:
    """A behaviour, its tests as SUITE:TEST, and the fault that breaks it; None in a table
    without faults."""
    name: str
    tests: list
    fault: str | None


def lines(table):
    """The cells of the lines of a file's tables."""
    for line in (CLONE / table).read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        head = cells[:1] in (["id"], ["rule"]) or set("".join(cells)) <= set("-")
        if line.startswith("|") and not head:
            yield cells


def rows():
    """The rows of the table; a line of it that is none gives an empty row."""
    found = []
    for cells in lines(TABLE):
        cells += [""] * (4 - len(cells))
        found.append(Row(cells[0], cells[2].split(), cells[3]))
    return found


def checklist():
    """The rows of the checklist: rules have numbers, a hostile host's doings names."""
    return [Row(cells[0], cells[-1].split(), None) for cells in lines(CHECKLIST)]


def missing(names):
    """The rules of the specification that are not among the names of rows."""
    found = set(names)
    return [rule for rule in range(1, RULES + 1) if str(rule) not in found]


def source(suite):
    """The source of the program that a suite runs, if it is in C or a shell's."""
    words = [suite["program"], *map(str, suite.get("args", []))]
    # A program that runs another names it by its path.
    paths = [word for word in words if word.startswith("/tests/")]
    program = paths[-1].rpartition("/")[2] if paths else words[0]
    if program == "consumer.sh":
        return CLONE / "tests/consumer/consumer.c"
    if program.endswith(".sh"):
        return CLONE / f"tests/kselftest/{program}"
    # What is built for 32-bit machines as well is the same.
    return CLONE / f"tests/kselftest/{program.removesuffix('_32')}.c"


def program(suite):
    """The words that a plan runs a suite's program with, in its environment."""
    environment = ["env", *suite["environment"]] if "environment" in suite else []
    return [*environment, f"/tests/{suite['program']}"]


def tests_of_package(name):
    """The names of a package's tests."""
    root = CLONE / f"tests/{name}/src"
    return {"::".join([*file.relative_to(root).with_suffix("").parts, test])
            for file in root.rglob("*.rs") for test in RUST_TEST.findall(file.read_text())}


def tests_of(suite):
    """The names of a suite's tests, with each variant and without; None for a program
    that makes them up as it runs: its results show whether they are there."""
    if suite["name"] in PACKAGES:
        return tests_of_package(suite["name"])
    path = source(suite)
    if not path.exists():
        return set()
    text = path.read_text()
    names = {f"{fixture or 'global'}.{name}" for fixture, name in TEST.findall(text)}
    if not names:
        return None
    variants = VARIANT.findall(text)
    return names | {f"{fixture}.{variant}.{name.partition('.')[2]}" for name in names
                    for fixture, variant in variants if name.startswith(f"{fixture}.")}


def matches(test, name):
    """Whether a test of the table, FIXTURE.TEST or FIXTURE.VARIANT.TEST, is this one."""
    fixture, _, rest = test.partition(".")
    return name == test or re.fullmatch(rf"{fixture}\.\w+\.{re.escape(rest)}", name) is not None


def read_suites():
    """The suites by name, with the packages of the host's, which are in no topology."""
    with open(CLONE / "tests/suites.toml", "rb") as file:
        suites = {suite["name"]: suite for suite in tomllib.load(file)["suite"]}
    return suites | {name: {"name": name, "topology": None} for name in PACKAGES}


def read_faults():
    """The faults by name."""
    with open(CLONE / "tests/faults.toml", "rb") as file:
        return tomllib.load(file)


def mistakes(row, suites, faults):
    """What is wrong with a row as it stands, a sentence each."""
    if not row.tests:
        yield "the row has no test"
    for test in row.tests:
        suite, _, name = test.partition(":")
        if suite not in suites:
            yield f"there is no suite '{suite}'"
            continue
        names = tests_of(suites[suite])
        if names is not None and name not in names:
            yield f"{suite} has no test '{name}'"
    if row.name.isdigit() and not any(re.search(rf"spec_0*{row.name}_", test)
                                      for test in row.tests):
        yield f"no test of the rule has spec_{row.name} in its name"
    if row.fault is None:
        return
    if row.fault not in faults:
        yield f"there is no fault '{row.fault}' in tests/faults.toml"
    elif not set(faults[row.fault]["seen"]) & set(row.tests):
        yield f"no test of the row is to see the fault '{row.fault}'"


def unheld(row, passed):
    """The tests of a row that should have run and have not passed, a sentence each."""
    for test in row.tests:
        suite, _, name = test.partition(":")
        if suite in passed and not any(matches(name, one) for one in passed[suite]):
            yield f"{test} did not run and pass"


def check(passed, fail):
    """Checks the tables; gives how many rows are good, and tells `fail` of the others.
    `passed` has the names of the tests that passed, by suite, for each that was to run."""
    suites, faults = read_suites(), read_faults()
    good, table = 0, rows() + checklist()
    names = [row.name for row in table]
    for row in table:
        wrong = [*mistakes(row, suites, faults), *unheld(row, passed)]
        if names.count(row.name) > 1:
            wrong.append("two rows have this id")
        if wrong:
            fail("\n".join([f"{row.name}: {wrong[0]}", *wrong[1:]]))
        else:
            good += 1
    for fault in set(faults) - {row.fault for row in table}:
        fail(f"no row of {TABLE} has the fault '{fault}'")
    for rule in missing(names):
        fail(f"{CHECKLIST} has no row for rule {rule} of the specification")
    if not rows():
        fail(f"{TABLE} has no rows")
    return good
