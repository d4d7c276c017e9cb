# SPDX-License-Identifier: GPL-2.0
"""The pictures of "make wake-timing": a row of panels for each way to ask, a column for each
thing that was measured, and in each panel a line for each family."""

import bisect
import statistics

import figures
import pictures

PACES = {"paced": "sent one each millisecond", "unpaced": "sent as fast as they can be"}
# How high the most frequent value of a distribution is drawn, and a bar, where families are 1 apart.
HIGH, THICK = 0.78, 0.5
EVERY_PACKET = [4 * number for number in range(51)]
# Microseconds of a clock that counts instructions, ten steps from one power of ten to the next.
DELAYS = [10 ** (step / 10) for step in range(41)]


def _counts(values, edges):
    """How many values are above each edge and not above the next; the last ones have what is
    outside."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[min(max(bisect.bisect_left(edges, value) - 1, 0), len(counts) - 1)] += 1
    return counts


def _distribution(axes, place, family, values, edges):
    """How often which value was there, as hills on the family's line; the median beside it."""
    counts = _counts(values, edges)
    there = [index for index, count in enumerate(counts) if count]
    first, end = there[0], there[-1] + 1
    tops = [place + HIGH * count / max(counts) for count in counts[first:end]]
    axes.stairs(tops, edges[first:end + 1], baseline=place, fill=True,
                color=pictures.COLOURS[family])
    axes.text(1.01, place, figures.number(statistics.median(values)), va="bottom",
              transform=axes.get_yaxis_transform())


def _bar(axes, place, family, value, text, spread=None):
    """A bar on the family's line, with its figure at its end."""
    middle = place + THICK / 2
    end = max(value, *(spread or [0]))
    axes.barh(middle, value, THICK, color=pictures.COLOURS[family])
    if spread and spread[1] > spread[0]:
        axes.hlines(middle, *spread, color="black", linewidth=1)
    axes.annotate(text, (end, middle), (3, 0), textcoords="offset points", va="center")


def _sizes(axes, place, family, calls):
    _distribution(axes, place, family, calls.sizes(), EVERY_PACKET)


def _sleeps(axes, place, family, calls):
    mean = statistics.mean(calls.sleeps())
    low, _, high = figures.quartiles(calls.sleeps())
    _bar(axes, place, family, mean, f"{mean:.1f}", (low, high))


def _delays(axes, place, family, calls):
    _distribution(axes, place, family, calls.delays(), DELAYS)


def _packets(axes, place, family, calls):
    packets = calls.packets_a_sleep()
    text = "never slept" if packets is None else figures.number(packets)
    _bar(axes, place, family, packets or 0, text)


def _work(axes, place, family, calls):
    _bar(axes, place, family, calls.work_a_request(), figures.number(calls.work_a_request()))


# What is drawn in each column: its title, the range and the kind of its axis, and by what.
COLUMNS = (
    ("What a call returned, KiB\n(right: the median)", (0, 204), "linear", _sizes),
    ("Wake-ups for each call\n(line: the middle half)", (0, None), "linear", _sleeps),
    ("From the send that met the\ntarget to recv's return, us", (DELAYS[0], DELAYS[-1]), "log",
     _delays),
    ("Packets for each wake-up\n", (0, None), "linear", _packets),
    ("The reader's processor time\nfor 200 KiB, us", (0, None), "linear", _work),
)


def _lines(axes, families):
    """A line for each family, the first on top."""
    places = {family: len(families) - 1 - index for index, family in enumerate(families)}
    axes.set_ylim(-0.15, len(families))
    axes.set_yticks(list(places.values()), [pictures.NAMES[family] for family in families])
    axes.tick_params(axis="y", length=0)
    for label in axes.get_yticklabels():
        label.set_verticalalignment("bottom")
    for place in places.values():
        axes.axhline(place, color="black", linewidth=0.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    return places


def _same_range(panels, given, kind):
    """One axis for the panels of a column, so that they can be compared."""
    low, high = given
    if high is None:
        # Room for the figure at the end of the longest bar.
        high = 1.25 * max(axes.get_xlim()[1] for axes in panels)
    for axes in panels:
        axes.set_xscale(kind)
        axes.minorticks_off()
        axes.set_xlim(low, high)
        axes.xaxis.set_major_formatter(lambda value, _: figures.number(value))


def draw(made, policies, pace, path):
    """Draws the calls, `made` by policy and family. Gives the paths."""
    families = [family for family in pictures.COLOURS if any(family == key[1] for key in made)]
    figure, rows = pictures.grid(len(policies), len(COLUMNS), 2.6, 1.9)
    for (policy, title), row in zip(policies.items(), rows):
        for axes, (*_, draw_one) in zip(row, COLUMNS):
            places = _lines(axes, families)
            for family in families:
                if calls := made.get((policy, family)):
                    draw_one(axes, places[family], family, calls)
        for axes in row[1:]:
            axes.tick_params(axis="y", labelleft=False)
        row[0].set_ylabel(title, fontweight="bold", fontsize=10, labelpad=9)
    for column, (title, given, kind, _) in enumerate(COLUMNS):
        rows[0][column].set_title(title, loc="left")
        _same_range([row[column] for row in rows], given, kind)
    figure.suptitle(f"A reader that wants 200 KiB, of packets of 4 KiB, {PACES[pace]}", x=0.01,
                    ha="left", fontsize=12)
    return pictures.save(figure, path)
