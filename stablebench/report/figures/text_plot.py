"""Gradient norms over time in plain characters, for a terminal."""

from collections.abc import Mapping

from stablebench.probes.gradient_flow import GradientFlow


def text_plot(flows: Mapping[str, GradientFlow], width: int = 64, height: int = 12) -> str:
    """Return the medians of log10 of the norm over t, in plain characters.

    Args:
        flows: By model; each gets a letter.
        width: Columns of the plot itself.
        height: Its lines.
    """
    medians = {name: flow.quantiles()["median"] for name, flow in flows.items()}
    values = [v for row in medians.values() for v in row if v is not None]
    if not values:
        return "every gradient is exactly 0: nothing to plot"
    end = max(len(row) - 1 + flows[name].first for name, row in medians.items())
    low, high = min(values), max(values)
    if high - low < 1:
        low, high = (low + high) / 2 - 0.5, (low + high) / 2 + 0.5
    grid = [[" "] * width for _ in range(height)]
    marks = ["*"] if len(medians) == 1 else [chr(ord("a") + i % 26) for i in range(len(medians))]
    for mark, (name, row) in zip(marks, medians.items(), strict=True):
        for t, value in enumerate(row, start=flows[name].first):
            if value is not None:
                x = round(t / max(end, 1) * (width - 1))
                y = round((high - value) / (high - low) * (height - 1))
                grid[y][x] = mark
    lines = []
    for y, row in enumerate(grid):
        label = f"{high - (high - low) * y / (height - 1):8.1f}" if y % 3 == 0 or y == height - 1 else ""
        lines.append(f"{label:>8} |{''.join(row)}".rstrip())
    lines.append(f"{'':8} +{'-' * width}")
    lines.append(f"{'':10}t = 0{f' t = {end}':>{width - 5}}")
    legend = "" if len(medians) == 1 else ": " + ", ".join(f"{m} {n}" for m, n in zip(marks, medians, strict=True))
    symbols = ", ".join(dict.fromkeys(flow.symbol for flow in flows.values()))
    return "\n".join([f"log10 {symbols}, median{legend}", *lines])
