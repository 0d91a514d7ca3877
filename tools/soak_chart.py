"""Draws what `make soak` saw: a small plot for each quantity, over the hours of the run.

The colours and the paper are those of the charts of `make bench`: see tools/bench_charts.py.
"""
from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.bench_bars import CAPTION_CHARACTERS
from tools.bench_charts import (
    ABOVE,
    COLOURS,
    FAINT,
    FONT,
    HEAD,
    INK,
    LINE,
    LINES,
    NO_METADATA,
    PAPER,
    STYLE,
    WIDTH,
)
from tools.soak_numbers import QUANTITIES, WARM_UP, Quantity

COLUMNS, PLOT, LEFT, GAP = 3, 66, 34, 40        # points, as there


def draw(document: Mapping[str, Any], path: Path) -> None:
    samples = document["samples"]
    title = f"What the agent has in use, over {document['seconds'] / 60:,.0f} minutes of changes"
    rows = -(-len(QUANTITIES) // COLUMNS)
    below = textwrap.fill(caption(document), CAPTION_CHARACTERS)
    height = HEAD + rows * (ABOVE + PLOT + 2 * LINE) + LINE * (below.count("\n") + 2)
    width = (WIDTH - COLUMNS * LEFT - (COLUMNS - 1) * (GAP - LEFT) - 8) / COLUMNS
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72), facecolor=PAPER)
        figure.text(8 / WIDTH, 1 - 12 / height, title, size=1.5 * FONT, weight="bold", va="top")
        figure.text(8 / WIDTH, LINE / height, below, size=0.9 * FONT, color=FAINT, va="bottom",
                    linespacing=1.3)
        for number, quantity in enumerate(QUANTITIES):
            row, column = divmod(number, COLUMNS)
            bottom = height - HEAD - (row + 1) * (ABOVE + PLOT) - row * 2 * LINE
            axes = figure.add_axes(((LEFT + column * (width + GAP)) / WIDTH, bottom / height,
                                    width / WIDTH, PLOT / height))
            plot(axes, quantity, [each["at_s"] / 60 for each in samples],
                 [each[quantity.key] for each in samples])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={**NO_METADATA, "Title": title})


def plot(axes: Axes, quantity: Quantity, minutes: list[float], values: list[float]) -> None:
    """From 0, so that flat looks flat; the warm-up, which is not judged, is fainter."""
    warm = int(len(values) * WARM_UP)
    axes.plot(minutes[:warm + 1], values[:warm + 1], color=COLOURS["OVS"], linewidth=0.9)
    axes.plot(minutes[warm:], values[warm:], color=COLOURS["agent"], linewidth=0.9)
    axes.set_xlim(0, max(minutes, default=1))
    axes.set_ylim(0, 1.25 * max([*values, 0.8]))
    axes.locator_params(nbins=4)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.tick_params(length=0, labelcolor=FAINT)
    axes.grid(axis="y", color=LINES, linewidth=0.6)
    axes.set_facecolor("none")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    unit = f", {quantity.unit}" if quantity.unit else ""
    axes.text(0, 1 + 5 / PLOT, quantity.title + unit, color=INK, transform=axes.transAxes)


def caption(document: Mapping[str, Any]) -> str:
    traffic = document["traffic"]
    return (f"Over minutes; grey is the warm-up. Each point is at rest, after a round of changes: "
            f"{sum(document['steps'].values()):,} in all. Of {traffic['sent']:,} numbered frames "
            f"between two steady neighbours {traffic['lost']:,} were lost. "
            f"{document['about']['machine']}.")


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def main(source: Path, target: Path) -> None:
    """Draws the numbers in SOURCE, which `make soak` wrote, into TARGET."""
    try:
        draw(json.loads(source.read_text(encoding="utf-8")), target)
    except (KeyError, TypeError, ValueError) as e:
        raise click.ClickException(f"{source}: {e!r}") from e


if __name__ == "__main__":
    main()
