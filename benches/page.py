"""page.py DIRECTORY NAME...: one page of the measurements NAME.tsv in DIRECTORY, with a table and a plot for each."""

import html
import pathlib
import platform
import statistics
import sys
import time

import pygal

TITLES = {
    "launch": "Launches",
    "oci": "The runtime",
    "mpi": "Ranks of a job",
    "gpu": "GPUs",
    "images": "Images from a registry",
    "build": "Builds",
}


def plot(rows):
    """Returns a bar for each row, with its value."""
    values = [value for *_, value in rows]
    chart = pygal.HorizontalBar(
        js=[],
        width=900,
        height=90 + 34 * len(rows),
        show_legend=False,
        show_x_labels=False,
        show_x_guides=False,
        style=pygal.style.CleanStyle(colors=("#2f6f9f",), background="white", plot_background="white", label_font_size=13),
    )
    # Bars are drawn from the bottom.
    chart.x_labels = [f"{name}: {value:.3g} {unit}" for _, unit, name, value in reversed(rows)]
    chart.add("", values[::-1])
    return chart.render(disable_xml_declaration=True, is_unicode=True)


def table(rows):
    """Medians, and their ratios to the first row; rows without a unit are ratios themselves."""
    first = rows[0][3]
    cells = [
        (html.escape(name), f"{value:.4g} {unit}", f"{value / first:.2f}" if unit else "")
        for _, unit, name, value in rows
    ]
    lines = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in cells)
    return "<table>" + "".join(lines) + "</table>"


def section(directory, name):
    text = (directory / f"{name}.tsv").read_text()
    measured = {}
    for *words, value in (line.split("\t") for line in text.splitlines()):
        measured.setdefault(tuple(words), []).append(float(value))
    rows = [(*words, statistics.median(values)) for words, values in measured.items()]
    parts = [f"<h2>{TITLES[name]}</h2>"]
    for title in dict.fromkeys(row[0] for row in rows):
        group = [row for row in rows if row[0] == title]
        parts += [f"<h3>{html.escape(title)}</h3>", table(group), plot(group)]
    return "\n".join(parts)


def main():
    directory, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    processor = next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    about = f"{time.strftime('%Y-%m-%d')}, Linux {platform.release()}, {processor}"
    body = "\n".join(section(directory, name) for name in names)
    (directory / "index.html").write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Slipway: measurements</title>"
        "<style>body{font:16px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.1em 1em;text-align:left}"
        "figure,svg{max-width:100%}</style>"
        f"<h1>Slipway: measurements</h1><p>{html.escape(about)}. Ratios are to the first row of each table.</p>\n{body}\n"
    )


if __name__ == "__main__":
    main()
