# SPDX-License-Identifier: Apache-2.0
"""What is measured: the cells by name, and the models and packs that they need.

    110m-stage1-bf16-4a    shape, stage, precision, samples a step; a: the tower's features are
                           given, b: CLIP-L/14 runs
    110m-start             from the command to the first finished step of stage 1, bf16, 4a
    110m-ranks             stage 1, bf16, 16a: two ranks of half the threads against one rank
    110m-ranks-stage2      the same of stage 2
    matmul, ...            the tables of the kernels' own benches, as they print them
"""
import dataclasses
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
TOKENIZER = ROOT / "configs/tokenizer"
SIZE = {"110m": 224, "1.1b": 336}
TEXT_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Cell:
    shape: str
    stage: int
    precision: str  # f32 | bf16
    samples: int
    features: str  # given | live
    kind: str = "step"  # step | start | ranks

    @property
    def name(self):
        if self.kind != "step":
            return f"{self.shape}-{self.kind}" + ("-stage2" if self.stage == 2 else "")
        letter = {"given": "a", "live": "b"}[self.features]
        return f"{self.shape}-stage{self.stage}-{self.precision}-{self.samples}{letter}"

    @property
    def size(self):
        return SIZE[self.shape]

    @property
    def rows(self):
        """Rows of a step: image and text, the tokens of tokens/s on both sides."""
        return self.samples * ((self.size // 14) ** 2 + TEXT_ROWS)


@dataclasses.dataclass(frozen=True)
class Table:
    name: str
    title: str
    command: tuple  # the program in the build folder, and its arguments
    kind: str = "table"


TABLES = [
    Table("matmul", "Matrix products",
          ("tests/bench/matmul/matmul", "--repeats", "5", "--torch", sys.executable)),
    Table("attention", "Attention", ("tests/bench/attention/bench_attention", "bf16")),
    Table("elementwise", "Memory-bound kernels", ("tests/bench/elementwise/elementwise",)),
]


def all_cells():
    def steps(precision):
        return [Cell("110m", stage, precision, samples, features)
                for features in ("given", "live") for samples in (4, 16) for stage in (1, 2)]

    cells = steps("bf16")
    cells += [Cell(shape, 1, "bf16", 4, "given", "start") for shape in ("110m", "1.1b")]
    cells += [Cell("110m", stage, "bf16", 16, "given", "ranks") for stage in (1, 2)]
    cells += [Cell("1.1b", 1, "bf16", 4, features) for features in ("given", "live")]
    cells += steps("f32") + [Cell("1.1b", 1, "f32", 4, "given")]
    return {cell.name: cell for cell in TABLES + cells}


def is_long(cell):
    """In f32, 16 samples or 1.1B parameters take the peer half a minute a step."""
    return cell.kind != "table" and cell.precision == "f32" and (cell.samples == 16 or cell.shape == "1.1b")


class Inputs:
    """Models and packs, made when they are first asked for and kept in a folder."""

    def __init__(self, folder, llava):
        self.folder, self.llava = pathlib.Path(folder), llava
        self.folder.mkdir(parents=True, exist_ok=True)

    def make(self, out, script, *arguments):
        if not out.exists():
            print(f"making {out.name}", flush=True)
            command = [sys.executable, HERE / script, "--tokenizer", TOKENIZER, "--out", out]
            subprocess.run([str(c) for c in (*command, *arguments)], check=True)
        return str(out)

    def model(self, cell):
        tower = {"given": "given", "live": "clip-l"}[cell.features]
        out = self.folder / f"model-{cell.shape}-{tower}-{cell.size}-{cell.precision}"
        return self.make(out, "make_model.py", "--shape", cell.shape, "--tower", tower,
                         "--size", cell.size, "--dtype", cell.precision)

    def pack(self, cell):
        out = self.folder / f"pack-{cell.size}-{cell.samples}"
        return self.make(out, "samples.py", "--llava", self.llava, "--size", cell.size,
                         "--count", cell.samples)
