"""Draws docs/charts/ from what `make bench` measured: a file for each group of cases.

The same numbers make the same bytes, so that a diff shows what changed. A chart has a background
of its own: GitHub shows it to readers of light and of dark pages alike.
"""
from __future__ import annotations

import json
import textwrap
from pathlib import Path

import click
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tools.bench_bars import Bars, Chart, Panel, charts, rows
from tools.bench_numbers import short

# All lengths are in points; a browser shows 600 of them as 800 pixels.
WIDTH = 600
LEFT, RIGHT = 38, 8             # of the plots
HEAD = 34                       # title and legend
ABOVE, PLOT = 20, 150           # of each row: the unit, the bars
LINE = 10                       # of text below them
FONT = 8
DIGIT, LETTER = 0.64 * FONT, 0.58 * FONT        # widths
GROUP = 0.86                    # of a case's width is bars, the rest is between cases
FEWEST_CASES, MOST_CASES = 3, 8         # that a row has room for

# Blue and orange of Okabe and Ito, and a grey: told apart by colour-blind people too.
COLOURS = {"agent": "#0072b2", "testpmd": "#e69f00", "OVS": "#8a8a8a"}
PAPER, INK, FAINT, LINES = "#ffffff", "#1f2328", "#59636e", "#d8dee4"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": FONT,
         "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "text.color": INK}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def fitting(panel: Panel, sides: int) -> int:
    """Cases on a row, so that no number touches the one beside it."""
    width = sides * panel.digits * DIGIT / GROUP
    return max(1, min(MOST_CASES, int((WIDTH - LEFT - RIGHT) / width)))


def wrapped(title: str, width: float) -> str:
    return textwrap.fill(title, max(1, int(width / LETTER)), break_long_words=False)


def draw(chart: Chart, path: Path) -> None:
    plots = []                  # (panel, room for cases on the row, its cases, their titles)
    for panel in chart.panels:
        split = rows(panel, fitting(panel, len(chart.sides)))
        slots = max(FEWEST_CASES, len(split[0]))
        width = (WIDTH - LEFT - RIGHT) / slots
        plots += [(panel, slots, row, [wrapped(case.title, width) for case in row])
                  for row in split]
    below = [LINE * (1 + max(title.count("\n") + 1 for title in titles))
             for _, _, _, titles in plots]
    foot = LINE * (chart.caption.count("\n") + 2)
    height = HEAD + len(plots) * (ABOVE + PLOT) + sum(below) + foot
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72), facecolor=PAPER)
        figure.text(LEFT / WIDTH, 1 - 12 / height, chart.title, size=1.5 * FONT, weight="bold",
                    va="top")
        figure.text(LEFT / WIDTH, LINE / height, chart.caption, size=0.9 * FONT, color=FAINT,
                    va="bottom", linespacing=1.3)
        top = height - HEAD
        for (panel, slots, row, titles), text in zip(plots, below, strict=True):
            top -= ABOVE + PLOT
            axes = figure.add_axes((LEFT / WIDTH, top / height, (WIDTH - LEFT - RIGHT) / WIDTH,
                                    PLOT / height))
            prepare(axes, panel, slots, titles)
            draw_bars(axes, chart.sides, row)
            top -= text
        figure.legend(handles=[Patch(color=COLOURS[side], label=side) for side in chart.sides],
                      loc="upper right", ncols=len(chart.sides), frameon=False,
                      bbox_to_anchor=(1 - RIGHT / WIDTH, 1 - 13 / height), borderaxespad=0,
                      borderpad=0, handlelength=1, handleheight=1, columnspacing=1.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={**NO_METADATA, "Title": chart.title})


def prepare(axes: Axes, panel: Panel, slots: int, titles: list[str]) -> None:
    """Everything but the bars."""
    axes.set_xlim(-0.5, slots - 0.5)
    axes.set_ylim(0, 1.12 * panel.most or 1)
    axes.set_xticks(range(len(titles)), titles)
    axes.locator_params(axis="y", nbins=5)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.tick_params(length=0, labelcolor=INK)
    axes.tick_params(axis="y", labelcolor=FAINT)
    axes.grid(axis="y", color=LINES, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.text(0, 1 + 7 / PLOT, f"{panel.unit}, {panel.better} is better", color=FAINT,
              transform=axes.transAxes)


def draw_bars(axes: Axes, sides: tuple[str, ...], cases: tuple[Bars, ...]) -> None:
    width = GROUP / len(sides)
    for number, side in enumerate(sides):
        shift = (number - (len(sides) - 1) / 2) * width
        here = [(case + shift, item.bars.get(side)) for case, item in enumerate(cases)]
        there = [(x, bar) for x, bar in here if bar is not None]
        axes.bar([x for x, _ in there], [bar.median for _, bar in there], 0.9 * width,
                 color=COLOURS[side])
        wide = [(x, bar) for x, bar in there if bar.low < bar.high]
        axes.errorbar([x for x, _ in wide], [bar.median for _, bar in wide],
                      [[bar.median - bar.low for _, bar in wide],
                       [bar.high - bar.median for _, bar in wide]],
                      fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5, capthick=0.8)
        for x, bar in here:
            text, top = ("-", 0) if bar is None else (short(bar.median), bar.high)
            axes.annotate(text, (x, top), (0, 2), textcoords="offset points", ha="center",
                          va="bottom")


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def main(source: Path, directory: Path) -> None:
    """Draws the numbers in SOURCE, which `make bench` wrote, into DIRECTORY. Charts of groups that
    it did not measure stay as they are."""
    try:
        found = charts(json.loads(source.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as e:
        raise click.ClickException(f"{source}: {e!r}") from e
    for chart in found:
        draw(chart, directory / f"{chart.name}.svg")


if __name__ == "__main__":
    main()
