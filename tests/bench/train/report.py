# SPDX-License-Identifier: Apache-2.0
"""The bench's tables, as Markdown."""
import datetime
import statistics

import machine

HOW = """The same directory of random weights, the same ids, labels and pixels on both sides; AdamW, clipping
at 1, every step on the same samples. A sample is one image and 64 tokens of text, 32 of them
supervised. `a`: the tower's features are given: the peer has them as a tensor, llava computes the
patch embedding of a tower without a layer to run. `b`: CLIP-L/14 runs in each step. Tokens/s are
rows, of image and text, a second of the wall clock. The peer is `LlavaForConditionalGeneration` in
a plain loop (`tests/bench/train/peer.py`), warm in its process; it and a run of llava take turns.
Medians; in brackets the lowest and highest round. Ratios are medians of the rounds' ratios.
Memory is a process's peak in MB from its start on: its own pages (RssAnon), and all (VmHWM), with
mapped weights and libraries."""


def spread(values, form):
    middle, low, high = (format(f(values), form) for f in (statistics.median, min, max))
    return f"{middle} [{low}, {high}]"


def ratios(row, above, below):
    return [a / b for a, b in zip(row[above], row[below])]


def rates(row, key):
    return [row["cell"].rows / s for s in row[key]]


def megabytes(memory):
    return f"{memory.anonymous / 1e6:.0f} / {memory.high_water / 1e6:.0f}"


def kernels(rows):
    """What llava's log says that it computes with, each once."""
    said = (text for row in rows for text in row.get("log", "").splitlines() if "products" in text)
    return [f"- llava's log: {text}" for text in dict.fromkeys(said)]


def revisions(rows):
    """What was measured with which llava: --continue keeps rows of earlier ones."""
    cells = {}
    for row in rows:
        cells.setdefault(row["revision"], []).append(row["cell"].name)
    if len(cells) == 1:
        return [f"- llava {revision}" for revision in cells]
    return [f"- llava {revision}: {', '.join(names)}" for revision, names in cells.items()]


def line(row):
    """What is printed as soon as a cell is measured."""
    cell = row["cell"]
    if row["problems"]:
        return f"{cell.name}: DIFFERS: " + "; ".join(row["problems"])
    if cell.kind == "table":
        return row["text"]
    if cell.kind == "ranks":
        return f"{cell.name}: two ranks {spread(ratios(row, 'one_s', 'two_s'), '.3f')} of one"
    return (f"{cell.name}: {spread(row['ours_s'], '.3f')} s, peer "
            f"{spread(row['peer_s'], '.3f')} s, ratio "
            f"{spread(ratios(row, 'peer_s', 'ours_s'), '.2f')} ({row['setting'].name})")


def kernel_tables(rows):
    out = []
    for row in rows:
        text = row["text"] if "|" in row["text"] else f"```\n{row['text']}\n```"
        out += [f"## {row['cell'].title}", "", text, ""]
    return out


def step_table(rows):
    out = ["## One step", "",
           "| cell | llava, tokens/s | peer, tokens/s | ratio | llava, MB own / all | "
           "peer, MB own / all | memory ratio, own / all | first loss, llava / peer |",
           "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        ours, peer = row["ours_memory"], row["peer_memory"]
        theirs, first = row["first"]
        out.append(
            f"| {row['cell'].name} | {spread(rates(row, 'ours_s'), '.0f')} "
            f"| {spread(rates(row, 'peer_s'), '.0f')} "
            f"| **{spread(ratios(row, 'peer_s', 'ours_s'), '.2f')}** "
            f"| {megabytes(ours)} | {megabytes(peer)} "
            f"| {ours.anonymous / peer.anonymous:.2f} / {ours.high_water / peer.high_water:.2f} "
            f"| {first['loss']:.4f} / {theirs['loss']:.4f} |")
    out += ["", "The peer's setting, its best in that cell:", ""]
    for row in rows:
        out.append(f"- {row['cell'].name}: {row['setting'].name}")
    return out + [""]


def start_table(rows):
    out = ["## From the command to the first finished step", "",
           "Files in the page cache; the peer reads prepared tensors, without torch.compile, which "
           "pays off later. In brackets behind each: of it the step itself.", "",
           "| cell | llava, s | (step) | peer, s | (step) | llava's share of the peer's |",
           "|---|---|---|---|---|---|"]
    for row in rows:
        steps = [statistics.median(row[key]) for key in ("ours_step_s", "peer_step_s")]
        out.append(f"| {row['cell'].name} | {spread(row['ours_s'], '.2f')} | {steps[0]:.2f} "
                   f"| {spread(row['peer_s'], '.2f')} | {steps[1]:.2f} "
                   f"| **{spread(ratios(row, 'ours_s', 'peer_s'), '.3f')}** |")
    return out + [""]


def ranks_table(rows):
    out = ["## Two ranks of half the threads against one rank", "",
           "| cell | one rank, tokens/s | two ranks, tokens/s | ratio |", "|---|---|---|---|"]
    for row in rows:
        out.append(f"| {row['cell'].name} | {spread(rates(row, 'one_s'), '.0f')} "
                   f"| {spread(rates(row, 'two_s'), '.0f')} "
                   f"| **{spread(ratios(row, 'one_s', 'two_s'), '.3f')}** |")
    return out + [""]


def explored_table(tried):
    out = ["## How the peer's best setting was found", "",
           "Fastest step of two after two, in the order tried; each change is made to the best so "
           "far. What is tuned by hand is another program than its user gets, and never chosen.",
           "", "| cell | setting | s | MB own / all |", "|---|---|---|---|"]
    for cell, settings in tried.items():
        for s in settings:
            seconds = f"{s['seconds']:.3f}" if s["seconds"] else s["why"]
            out.append(f"| {cell} | {s['setting']} | {seconds} | {s['anonymous'] / 1e6:.0f} / "
                       f"{s['high_water'] / 1e6:.0f} |")
    return out + [""]


def markdown(rows, bench):
    out = ["# Speed and memory", "",
           f"`tests/bench/train/run.py`, {datetime.date.today()}, {bench.rounds} rounds.", "",
           *machine.lines(bench.threads, bench.load), *revisions(rows),
           *kernels(rows), "", "## How", "", HOW, ""]
    differ = [row for row in rows if row["problems"]]
    if differ:
        out += ["## Losses differ: not timed", ""]
        out += [f"- {row['cell'].name}: {problem}" for row in differ for problem in row["problems"]]
        out += [""]
    tables = {"step": step_table, "ranks": ranks_table, "start": start_table,
              "table": kernel_tables}
    for kind, table in tables.items():
        chosen = [row for row in rows if row["cell"].kind == kind and not row["problems"]]
        out += table(chosen) if chosen else []
    out += explored_table(bench.settings.tried) if bench.settings.tried else []
    return "\n".join(out)
