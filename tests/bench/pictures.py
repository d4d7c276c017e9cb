# SPDX-License-Identifier: GPL-2.0
"""Pictures of what was measured, as SVG and PNG: what all pictures have in common, and that of
"make bench"."""

import re
import textwrap

import figures
import matplotlib

matplotlib.use("Agg")
from matplotlib import lines, patches, pyplot  # noqa: E402

# A colour for each family, the same in all pictures, and told apart by lightness as well.
COLOURS = {"rvsock": "#0b6e4f", "vsock": "#d1603d", "unix": "#3d5a80", "tcp": "#b0b0b0"}
NAMES = {"rvsock": "rvsock", "vsock": "C vsock", "unix": "AF_UNIX", "tcp": "TCP"}
LIMIT, GOAL = "#7b2d8b", "#000000"
pyplot.rcParams.update({
    "font.size": 9, "axes.titlesize": 9.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True,
    # The same figures make the same file. Text stays text; Verdana is as wide as the other.
    "svg.hashsalt": "rvsock", "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
})


def save(figure, path):
    """Writes the picture as `path` with .svg and with .png. Gives the paths."""
    vector, pixels = path.with_suffix(".svg"), path.with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(vector, metadata={"Date": None, "Creator": None})
    figure.savefig(pixels, dpi=110)
    pyplot.close(figure)
    vector.write_text(_shorter(vector.read_text()))
    return [vector, pixels]


def _shorter(text):
    """A picture in SVG without what nobody sees: the last digits, comments, blanks before lines."""
    return re.sub(r"^ +|<!--.*?-->\n?", "", re.sub(r"(\.\d\d\d)\d+", r"\1", text), flags=re.M)


def grid(rows, columns, width, height, **more):
    """A figure of panels of so many inches; gives it and the panels, a list for each row."""
    figure, panels = pyplot.subplots(rows, columns, figsize=(width * columns, height * rows),
                                     squeeze=False, layout="constrained", **more)
    return figure, panels.tolist()


def patch(family):
    """What stands for the family in a legend."""
    return patches.Patch(color=COLOURS[family], label=NAMES[family])


def _short(parameter):
    """A parameter of a case, as people write it."""
    if parameter.isdigit() and int(parameter) and int(parameter) % 1024 == 0:
        return f"{int(parameter) // 1024}K"
    return parameter


def _parts(measured):
    """What is drawn, a panel each: title, unit and cases of a kind, or of each part of a kind."""
    for kind, (title, unit, _) in figures.KINDS.items():
        parts = {}
        for case in measured.cases(kind):
            parts.setdefault("/".join(case.split("/")[1:-1]), []).append(case)
        for part, cases in parts.items():
            if kind != "copies":
                yield f"{title}: {part}" if part else title, unit, cases


def _places(measured, cases):
    """Where each bar is: (case, family) to its middle, with the width of all."""
    families = [family for family in COLOURS
                if any(measured.median(case, family) is not None for case in cases)]
    width = 0.84 / max(len(families), 1)
    middle = (len(families) - 1) / 2
    return {(case, family): group + (index - middle) * width
            for group, case in enumerate(cases) for index, family in enumerate(families)
            if measured.median(case, family) is not None}, width


def _bars(axes, measured, places, width):
    """The medians, each with a line from one quartile to the other."""
    for (case, family), place in places.items():
        low, median, high = measured.quartiles(case, family)
        axes.bar(place, median, width * 0.92, color=COLOURS[family])
        axes.vlines(place, low, high, color="black", linewidth=0.9)


def _goals(axes, measured, places, width):
    """What rvsock is to reach, a mark at its bar each that points to where it is to be."""
    for goal in figures.GOALS:
        beside = measured.median(goal.case, goal.family) if goal.family else 1.0
        place = places.get((goal.case, "rvsock"))
        if place is None or beside is None:
            continue
        level = goal.bound * beside
        axes.hlines(level, place - width * 0.6, place + width * 0.6, color=GOAL, linewidth=1.6)
        axes.plot(place, level, marker="^" if goal.at_least else "v", markersize=4.5, color=GOAL)


def _limit(axes, measured, cases):
    """What the machine allows a processor, where that was measured: a line through the groups."""
    if cases[0].split("/")[0] != "throughput":
        return
    limits = [(group, measured.median(f"copies/{case.split('/')[-1]}", "machine"))
              for group, case in enumerate(cases)]
    limits = [(group, limit) for group, limit in limits if limit is not None]
    if limits:
        axes.plot(*zip(*limits), color=LIMIT, linestyle="--", marker="_", markersize=16, linewidth=1)


def _panel(axes, measured, title, unit, cases):
    """One panel."""
    places, width = _places(measured, cases)
    _bars(axes, measured, places, width)
    _goals(axes, measured, places, width)
    _limit(axes, measured, cases)
    heights = [height for height in (measured.median(*bar) for bar in places) if height]
    if heights and 0 < 30 * min(heights) < max(heights):
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: figures.number(value))
    axes.set_title("\n".join(textwrap.wrap(title, 42)), loc="left")
    axes.set_ylabel(unit or "number")
    axes.set_xticks(range(len(cases)), [_short(case.split("/")[-1]) for case in cases])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", alpha=0.3)


def _legend(figure, columns, limited):
    """What the colours and marks of all panels mean, once."""
    limit = lines.Line2D([], [], color=LIMIT, linestyle="--",
                         label="each byte copied twice, by one processor")
    figure.legend(loc="outside upper left", ncols=2 * columns, frameon=False, handles=[
        *map(patch, COLOURS),
        lines.Line2D([], [], color="black", marker="|", markersize=9, linestyle="",
                     label="the middle half of the rounds"),
        lines.Line2D([], [], color=GOAL, marker="^", label="rvsock is to be here or above"),
        lines.Line2D([], [], color=GOAL, marker="v", label="... here or below"),
        *([limit] if limited else []),
    ])


def overview(measured, path, columns=4):
    """The picture of "make bench": the kinds of figures that were measured, a panel each. Gives
    its paths; none when there is nothing to draw."""
    parts = list(_parts(measured))
    if not parts:
        return []
    columns = min(columns, len(parts))
    figure, rows = grid(-(-len(parts) // columns), columns, 3.9, 2.6)
    panels = [axes for row in rows for axes in row]
    for axes in panels[len(parts):]:
        axes.set_visible(False)
    for axes, part in zip(panels, parts):
        _panel(axes, measured, *part)
    _legend(figure, columns, measured.cases("copies"))
    return save(figure, path)
