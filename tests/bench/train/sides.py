# SPDX-License-Identifier: Apache-2.0
"""The two sides of the bench as processes: the peer, which makes a step when told to, and a run of
`llava train`, which is watched from outside. Both are timed by the wall clock and their memory is
what /proc says."""
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from cells import HERE, ROOT

POLL_S = 0.002
MEMORY_POLL_S = 0.05
# glibc gives big blocks back to the system and gets them anew, zeroed, a fault a page. This keeps
# them, which is what jemalloc and tcmalloc, recommended for torch on CPUs, do.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "400000000000",
               "MALLOC_TOP_PAD_": "200000000"}


@dataclasses.dataclass
class Memory:
    """Peak bytes of a process, or of several together: all of its pages (VmHWM; files mapped, such
    as weights and libraries, included) and its own (RssAnon, looked at 20 times a second)."""
    high_water: int = 0
    anonymous: int = 0


def status_of(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = (line.split() for line in file)
            return {line[0][:-1]: int(line[1]) * 1024 for line in lines if line[0] in
                    ("VmHWM:", "RssAnon:")}
    except (FileNotFoundError, ProcessLookupError):
        return {}


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:
        return []


class MemoryWatch:
    def __init__(self):
        self.peaks, self.looked = {}, 0.0

    def look(self, pids, at_once=False):
        if not at_once and time.perf_counter() - self.looked < MEMORY_POLL_S:
            return
        self.looked = time.perf_counter()
        for pid in pids:
            status, peak = status_of(pid), self.peaks.setdefault(pid, Memory())
            peak.high_water = max(peak.high_water, status.get("VmHWM", 0))
            peak.anonymous = max(peak.anonymous, status.get("RssAnon", 0))

    def total(self):
        return Memory(sum(m.high_water for m in self.peaks.values()),
                      sum(m.anonymous for m in self.peaks.values()))


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the peer is run. `tuned` settings change its code, and are measured but never chosen."""
    precision: str  # f32 | pure | autocast
    attention: str = "sdpa"
    optimizer: str = "fused"
    micro: int = 0
    compile: bool = False
    keep_memory: bool = False
    head: str = "default"

    @property
    def name(self):
        parts = [{"pure": "pure bf16", "autocast": "autocast bf16", "f32": "f32"}[self.precision],
                 self.attention, self.optimizer + " AdamW"]
        parts += [f"micro-batches of {self.micro}"] if self.micro else []
        parts += ["torch.compile"] if self.compile else []
        parts += ["freed memory kept"] if self.keep_memory else []
        parts += ["logits of supervised rows only (by hand)"] if self.head != "default" else []
        return ", ".join(parts)


class Peer:
    """A peer process that has loaded its model, or is about to."""

    def __init__(self, cell, setting, inputs, threads):
        command = [sys.executable, HERE / "peer.py", "--model", inputs.model(cell), "--pack",
                   inputs.pack(cell), "--size", cell.size, "--samples", cell.samples, "--stage",
                   cell.stage, "--precision", setting.precision, "--features", cell.features,
                   "--attention", setting.attention, "--optimizer", setting.optimizer, "--head",
                   setting.head, "--threads", threads]
        command += ["--micro", setting.micro] if setting.micro else []
        command += ["--compile"] if setting.compile else []
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        environment |= KEEP_MEMORY if setting.keep_memory else {}
        self.errors = tempfile.TemporaryFile("w+")
        self.watch = MemoryWatch()
        self.started = time.perf_counter()
        self.process = subprocess.Popen([str(c) for c in command], env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.errors.close()

    def step(self):
        """loss, grad_norm, seconds."""
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError("the peer ended:\n" + self.errors.read()[-3000:])
        self.watch.look([self.process.pid], at_once=True)
        return json.loads(line)

    def elapsed_s(self):
        """Since its command was given."""
        return time.perf_counter() - self.started

    def memory(self):
        return self.watch.total()


def config_of(cell, inputs, run_dir, micro_batch_tokens):
    trainable = ["projector"] + (["language_model"] if cell.stage == 2 else [])
    return {
        "run": {"dir": str(run_dir)},
        "model": {"llava": inputs.model(cell)},
        "data": {"packs": [inputs.pack(cell)], "shuffle": False, "workers": 1},
        "train": {"trainable": trainable, "max_steps": 1000, "global_batch_size": cell.samples,
                  "micro_batch_tokens": micro_batch_tokens, "precision": cell.precision,
                  "output": {1: "projector", 2: "full"}[cell.stage]},
        "optim": {"lr": {1: 1e-3, 2: 2e-5}[cell.stage], "schedule": "constant",
                  "warmup_ratio": 0, "max_grad_norm": 1.0},
        "checkpoint": {"every_steps": 0, "every_minutes": 0},
    }


@dataclasses.dataclass
class Run:
    """Of a run of llava: the lines of its metrics, when each came (seconds from the command), peak
    memory over all ranks, and the log's lines."""
    steps: list
    at_s: list
    memory: Memory
    log: str

    def seconds(self):
        """Of each step but the first, which warms up."""
        return [b - a for a, b in zip(self.at_s, self.at_s[1:])]


class Ours:
    def __init__(self, inputs, threads, micro_batch_tokens):
        self.inputs, self.threads, self.tokens = inputs, threads, micro_batch_tokens

    def command(self, ranks):
        if ranks == 1:
            return [self.inputs.llava]
        cores = max(1, self.threads // ranks)
        launch = f'. {ROOT}/tools/mpi_env.sh; exec mpirun "$@"'
        bind = ["--map-by", f"slot:PE={cores}"] if cores > 1 else []
        return ["bash", "-c", launch, "mpirun", "-n", ranks, *bind, self.inputs.llava]

    def run(self, cell, n_steps, ranks=1):
        """A run that is ended when it has made so many steps."""
        with tempfile.TemporaryDirectory(dir=self.inputs.folder) as work:
            work = pathlib.Path(work)
            config = config_of(cell, self.inputs, work / "run", self.tokens)
            (work / "config.json").write_text(json.dumps(config))
            command = [*self.command(ranks), "train", work / "config.json"]
            environment = dict(os.environ, OMP_NUM_THREADS=str(max(1, self.threads // ranks)))
            with open(work / "log", "w") as log:
                start = time.perf_counter()
                process = subprocess.Popen([str(c) for c in command], env=environment, stdout=log,
                                           stderr=log)
                try:
                    at_s, memory = self.watch(process, work, n_steps, ranks, start)
                finally:
                    end(process)
            lines = (work / "run/metrics.jsonl").read_text().splitlines()[:n_steps]
            return Run([json.loads(line) for line in lines], at_s, memory,
                       (work / "log").read_text())

    def watch(self, process, work, n_steps, ranks, start):
        metrics, seen, at_s, watch = work / "run/metrics.jsonl", 0, [], MemoryWatch()
        while len(at_s) < n_steps:
            if process.poll() is not None:
                raise RuntimeError(f"llava ended:\n{(work / 'log').read_text()[-3000:]}")
            size = metrics.stat().st_size if metrics.exists() else 0
            if size != seen:
                now, seen = time.perf_counter() - start, size
                n = metrics.read_bytes().count(b"\n")
                at_s += [now] * (n - len(at_s))
            pids = [process.pid] if ranks == 1 else children_of(process.pid)
            watch.look(pids, at_once=len(at_s) >= n_steps)
            time.sleep(POLL_S)
        return at_s, watch.total()


def end(process):
    """What a run writes at its end is no part of the bench. mpirun ends when its ranks have."""
    for pid in children_of(process.pid) or [process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
