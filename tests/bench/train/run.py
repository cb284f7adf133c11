#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast llava is: its kernels beside torch, oneDNN, OpenBLAS and the memory, and an optimizer step
beside transformers and torch on the same cores.

    run.py --out DIR [--cells NAME|GLOB,...] [--all] [--rounds 5] [--explore] [--continue]
           [--report FILE|none] [--quick]

The tables of the kernels' benches come first; each checks its results before it measures. Models
and packs are made in DIR once (8 GB). For each cell of a step (--list names them all):
  1. the peer's best setting is looked for, once a machine (again with --explore): bf16 pure and
     autocast, attention, optimizer, memory kept, torch.compile; DIR/peer-settings.json keeps it;
  2. both sides' losses and gradient norms of the first steps must agree, or nothing is timed;
  3. the peer, warm in its process, and a run of llava, whose first step warms up, take turns,
     --rounds times: medians, and the median of the rounds' ratios.
Without --cells: all but the cells in f32 with 16 samples, which --all adds. Needs an idle machine.
--quick is for before and after a change: one cell (110m-stage1-bf16-16a, or that of --cells), three
rounds, no report; under four minutes once its model and the peer's setting are there.
DIR/rows.pickle has what is measured, and of which llava; --continue keeps it and measures the
other cells.
The report is tests/reports/<date>-speed.md. Exit status 1 if losses differ anywhere.
"""
import argparse
import dataclasses
import datetime
import fnmatch
import os
import pathlib
import pickle
import signal
import statistics
import subprocess
import sys

import explore
import machine
import report
from cells import ROOT, Inputs, all_cells, is_long
from sides import Ours, Peer

N_CHECKED = 2
# Relative, of loss and gradient norm at each checked step. bf16 keeps 8 bits. In stage 2 pure bf16
# loses most of an update to rounding, so that only the first step can be compared.
BOUNDS = {"f32": {"loss": 1e-5, "grad_norm": 1e-3}, "bf16": {"loss": 2e-3, "grad_norm": 3e-2}}
RANKS_BOUND = 1e-3
QUICK_CELL = "110m-stage1-bf16-16a"


def check(cell, setting, peer_steps, run):
    """A line for each disagreement."""
    n = 1 if setting.precision == "pure" and cell.stage == 2 else N_CHECKED
    problems = []
    for i, (theirs, ours) in enumerate(zip(peer_steps[:n], run.steps[:n])):
        for key, bound in BOUNDS[cell.precision].items():
            error = abs(ours[key] - theirs[key]) / abs(theirs[key])
            if not error <= bound:
                problems.append(f"step {i + 1}: {key} {ours[key]:.6g}, the peer's "
                                f"{theirs[key]:.6g}, {error:.1e} apart (bound {bound:.0e})")
    return problems


def measure_step(cell, bench):
    setting = bench.settings.best(cell)
    row = {"cell": cell, "setting": setting, "ours_s": [], "peer_s": []}
    with Peer(cell, setting, bench.inputs, bench.threads) as peer:
        warm = [peer.step() for _ in range(N_CHECKED)]
        run = bench.ours.run(cell, 1 + N_CHECKED)
        row |= {"problems": check(cell, setting, warm, run), "first": (warm[0], run.steps[0]),
                "log": run.log}
        for _ in range(0 if row["problems"] else bench.rounds):
            row["peer_s"].append(peer.step()["seconds"])
            row["ours_s"].append(statistics.median(bench.ours.run(cell, 3).seconds()))
        return row | {"ours_memory": run.memory, "peer_memory": peer.memory()}


def measure_start(cell, bench):
    """The first round fills the page cache and is dropped. torch.compile pays off later."""
    setting = dataclasses.replace(bench.settings.best(cell), compile=False)
    row = {"cell": cell, "setting": setting, "ours_s": [], "peer_s": [], "peer_step_s": [],
           "ours_step_s": [], "problems": []}
    for i in range(1 + bench.rounds):
        with Peer(cell, setting, bench.inputs, bench.threads) as peer:
            step, elapsed_s = peer.step(), peer.elapsed_s()
        run = bench.ours.run(cell, 1)
        row["problems"] += check(cell, setting, [step], run)
        if i > 0:
            row["peer_s"].append(elapsed_s)
            row["peer_step_s"].append(step["seconds"])
            row["ours_s"].append(run.at_s[0])
            row["ours_step_s"].append(run.steps[0]["step_s"])
    return row


def measure_ranks(cell, bench):
    row = {"cell": cell, "one_s": [], "two_s": [], "problems": []}
    for _ in range(bench.rounds):
        one, two = bench.ours.run(cell, 3), bench.ours.run(cell, 3, ranks=2)
        row["one_s"].append(statistics.median(one.seconds()))
        row["two_s"].append(statistics.median(two.seconds()))
        error = abs(one.steps[1]["loss"] / two.steps[1]["loss"] - 1)
        if not error < RANKS_BOUND:
            row["problems"].append(f"losses of one and two ranks are {error:.1e} apart")
    return row


def measure_table(cell, bench):
    program = bench.build / cell.command[0]
    if not program.exists():
        raise RuntimeError(f"{program} is not built: tools/build.sh with -Dtests=true")
    done = subprocess.run([program, *cell.command[1:]], capture_output=True, text=True,
                          env=dict(os.environ, OMP_NUM_THREADS=str(bench.threads)))
    problems = [] if done.returncode == 0 else [done.stderr.strip() or "it failed"]
    return {"cell": cell, "text": done.stdout.strip(), "problems": problems}


MEASURES = {"table": measure_table, "step": measure_step, "start": measure_start,
            "ranks": measure_ranks}


class Bench:
    def __init__(self, args):
        self.rounds, self.threads = args.rounds, args.threads
        self.load, self.revision = os.getloadavg()[0], machine.revision()
        self.build = pathlib.Path(args.llava).resolve().parent
        self.inputs = Inputs(os.path.abspath(args.out), os.path.abspath(args.llava))
        self.ours = Ours(self.inputs, args.threads, args.micro_batch_tokens)
        self.settings = explore.Settings(self, args.explore)

    def measure(self, cell):
        try:
            row = MEASURES[cell.kind](cell, self)
        except RuntimeError as error:  # a side that ended
            row = {"cell": cell, "problems": [str(error)]}
        return row | {"revision": self.revision}


def chosen_cells(args):
    cells = all_cells()
    if not args.cells:
        return [c for c in cells.values() if args.all or not is_long(c)]
    globs = args.cells.split(",")
    for glob in globs:
        if not fnmatch.filter(cells, glob):
            sys.exit(f"no cell is called {glob}; there are\n  " + "\n  ".join(cells))
    return [c for name, c in cells.items() if any(fnmatch.fnmatch(name, g) for g in globs)]


def in_order(rows):
    return [rows[cell] for cell in all_cells().values() if cell in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="folder for models, packs and settings")
    parser.add_argument("--llava", default=ROOT / "build/llava")
    parser.add_argument("--cells")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--micro-batch-tokens", type=int, default=4096, help="llava's")
    parser.add_argument("--explore", action="store_true", help="look for the peer's best anew")
    parser.add_argument("--continue", action="store_true", dest="go_on")
    parser.add_argument("--report", default=ROOT / "tests/reports" /
                        f"{datetime.date.today()}-speed.md", help="none: print only")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one cell, three rounds, no report")
    args = parser.parse_args()
    if args.quick:
        args.cells, args.rounds, args.report = args.cells or QUICK_CELL, 3, "none"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no side is left behind
    cells = chosen_cells(args)
    if args.list:
        print("\n".join(cell.name for cell in cells))
        return 0
    if not args.out:
        parser.error("--out is missing")
    bench, kept = Bench(args), pathlib.Path(args.out) / "rows.pickle"
    rows = pickle.loads(kept.read_bytes()) if args.go_on and kept.exists() else {}
    for cell in cells:
        if cell in rows and not rows[cell]["problems"]:
            continue
        rows[cell] = bench.measure(cell)
        print(report.line(rows[cell]), flush=True)
        kept.write_bytes(pickle.dumps(rows))
        if str(args.report) != "none":
            pathlib.Path(args.report).write_text(report.markdown(in_order(rows), bench))
    print(report.markdown(in_order(rows), bench))
    return 1 if any(row["problems"] for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
