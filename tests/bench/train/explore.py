# SPDX-License-Identifier: Apache-2.0
"""The peer's best setting, found by trying: each way of running it that is known to help, one
after the other, kept if it was faster than the best so far."""
import dataclasses
import json
import pathlib

from cells import all_cells
from machine import cpu_name
from sides import Peer, Setting

N_STEPS = 4  # the first two warm up
GAIN = 0.98
COMPILE_LIMIT_S = 180
STARTS = {"bf16": ["pure", "autocast"], "f32": ["f32"]}
TRIES = [{"keep_memory": True}, {"attention": "eager"}, {"optimizer": "foreach"},
         {"compile": True}]
TUNED = {"head": "supervised"}


class Settings:
    def __init__(self, bench, anew):
        self.bench, self.tried, self.chosen = bench, {}, {}
        self.path = pathlib.Path(bench.inputs.folder) / "peer-settings.json"
        if self.path.exists() and not anew:
            saved = json.loads(self.path.read_text())
            if saved["machine"] == self.machine():
                self.chosen = {n: Setting(**s) for n, s in saved["chosen"].items()}
                self.tried = saved["tried"]

    def machine(self):
        return f"{cpu_name()}, {self.bench.threads} threads"

    def save(self):
        chosen = {n: dataclasses.asdict(s) for n, s in self.chosen.items()}
        self.path.write_text(json.dumps({"machine": self.machine(), "chosen": chosen,
                                         "tried": self.tried}, indent=1))

    def best(self, cell):
        """Looked for with 4 samples and features given; with 16, how to cut them as well. A model
        of the other shape and a live tower take what was best of stage and precision."""
        name = f"110m-stage{cell.stage}-{cell.precision}-4a"
        if name not in self.chosen:
            self.chosen[name] = self.explore(all_cells()[name])
            self.save()
        if cell.samples <= 4:
            return self.chosen[name]
        name16 = name.replace("-4a", "-16a")
        if name16 not in self.chosen:
            self.chosen[name16] = self.explore_cut(all_cells()[name16], self.chosen[name])
            self.save()
        return self.chosen[name16]

    def seconds(self, cell, setting):
        """The fastest step after the warm-up; None if this does not work here."""
        with Peer(cell, setting, self.bench.inputs, self.bench.threads) as peer:
            try:
                steps = [peer.step()["seconds"]]
                if steps[0] > COMPILE_LIMIT_S:
                    raise RuntimeError(f"its first step takes {steps[0]:.0f} s")
                steps += [peer.step()["seconds"] for _ in range(N_STEPS - 1)]
                best, why = min(steps[2:]), ""
            except RuntimeError as error:
                best, why = None, str(error).strip().splitlines()[-1]
            memory = peer.memory()
        self.tried.setdefault(cell.name, []).append(
            {"setting": setting.name, "seconds": best, "why": why,
             "high_water": memory.high_water, "anonymous": memory.anonymous})
        print(f"  {cell.name}: {setting.name}: " + (f"{best:.3f} s" if best else why), flush=True)
        return best

    def explore(self, cell):
        self.tried.pop(cell.name, None)
        times = {s: self.seconds(cell, s) for s in map(Setting, STARTS[cell.precision])}
        best = min(times, key=times.get)
        best_s = times[best]
        for change in TRIES:
            setting = dataclasses.replace(best, **change)
            seconds = self.seconds(cell, setting)
            if seconds and seconds < GAIN * best_s:
                best, best_s = setting, seconds
        self.seconds(cell, dataclasses.replace(best, **TUNED))
        return best

    def explore_cut(self, cell, setting):
        self.tried.pop(cell.name, None)
        cut = dataclasses.replace(setting, micro=4)
        whole_s, cut_s = self.seconds(cell, setting), self.seconds(cell, cut)
        return cut if cut_s and cut_s < GAIN * whole_s else setting
