# SPDX-License-Identifier: Apache-2.0
"""Writes adamw.txt, schedule.txt and clip.txt beside itself: what PyTorch and transformers compute.

    python make_golden.py        torch 2.13.0 (CPU), transformers 4.57

Numbers are hexadecimal floats, so that nothing is lost on the way. Inputs of AdamW are dyadic
rationals given by the formulas below, which the test repeats exactly.
"""
import math
import pathlib

import torch
from transformers import optimization

HERE = pathlib.Path(__file__).parent
N_STEPS = 20


def weight(i):
    return ((i * 53) % 97 - 48) / 32


def gradient(step, i):
    return ((step * 37 + i * 101) % 211 - 105) / 2.0 ** (3 + i % 9)


def hexes(values):
    return " ".join(float(x).hex() for x in values)


def adamw(out, n, lr, beta1, beta2, eps, decay, scale):
    """One case: a head line, then a line of lr and the lines w, m, v a step."""
    w = torch.tensor([weight(i) for i in range(n)], dtype=torch.float32, requires_grad=True)
    optimizer = torch.optim.AdamW(
        [w], lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay, foreach=False
    )
    schedule = optimization.get_cosine_schedule_with_warmup(optimizer, 3, N_STEPS)
    print(n, N_STEPS, hexes([beta1, beta2, eps, decay, scale]), file=out)
    for step in range(N_STEPS):
        w.grad = torch.tensor([gradient(step, i) for i in range(n)], dtype=torch.float32) * scale
        lr_now = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
        state = optimizer.state[w]
        print(hexes([lr_now]), file=out)
        for values in (w, state["exp_avg"], state["exp_avg_sq"]):
            print(hexes(values.tolist()), file=out)


def schedule(out, kind, ratio, n_steps, lr, shown):
    """One case: kind, ratio, n_steps, warm-up steps, number of values; then step and lr a line."""
    warmup = math.ceil(n_steps * ratio)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    lambdas = {
        "cosine": lambda: optimization.get_cosine_schedule_with_warmup(optimizer, warmup, n_steps),
        "linear": lambda: optimization.get_linear_schedule_with_warmup(optimizer, warmup, n_steps),
        "constant": lambda: optimization.get_constant_schedule_with_warmup(optimizer, warmup),
    }
    factor = lambdas[kind]().lr_lambdas[0]
    print(kind, float(ratio).hex(), n_steps, warmup, float(lr).hex(), len(shown), file=out)
    for step in shown:
        print(step, (lr * factor(step)).hex(), file=out)


def clip(out, norms, max_norm):
    """A line a case: norm, max_norm, the factor that the gradient was multiplied with."""
    for norm in norms:
        w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        w.grad = torch.tensor([norm], dtype=torch.float64)
        torch.nn.utils.clip_grad_norm_([w], max_norm)
        factor = w.grad.item() / norm if norm else 1.0
        print(hexes([norm, max_norm, factor]), file=out)


def main():
    with open(HERE / "adamw.txt", "w") as out:
        adamw(out, 1, 1e-3, 0.9, 0.999, 1e-8, 0.0, 1.0)
        adamw(out, 7, 2e-2, 0.9, 0.999, 1e-8, 0.1, 1.0)
        adamw(out, 19, 5e-3, 0.8, 0.95, 1e-6, 0.01, 0.37)
    with open(HERE / "schedule.txt", "w") as out:
        published = [(4652, 2e-3), (14787, 2e-5), (2181, 1e-3), (5198, 2e-5), (5198, 2e-4)]
        for n_steps, lr in published:
            warmup = math.ceil(n_steps * 0.03)
            ends = [0, 1, 22, warmup - 1, warmup, warmup + 1, n_steps - 2, n_steps - 1]
            shown = sorted(set(ends + list(range(0, n_steps, n_steps // 11))))
            schedule(out, "cosine", 0.03, n_steps, lr, shown)
        for kind in ("cosine", "linear", "constant"):
            schedule(out, kind, 0.1, 37, 1.0, list(range(37)))
            schedule(out, kind, 0.0, 5, 1.0, list(range(5)))
            schedule(out, kind, 0.07, 100, 1.0, [0, 6, 7, 8, 99])  # 0.07 * 100 > 7: warm-up 8
            schedule(out, kind, 0.03, 1, 1.0, [0])
            schedule(out, kind, 1.0, 4, 1.0, [0, 1, 2, 3])
    with open(HERE / "clip.txt", "w") as out:
        norms = [0.0, 1e-30, 0.25, 0.999999, 0.9999995, 1.0, 1.5, 1000.0, 1e30]
        clip(out, norms, 1.0)
        clip(out, norms, 0.3)


if __name__ == "__main__":
    main()
