# SPDX-License-Identifier: Apache-2.0
"""torch_sdpa.py [THREADS]: the rates that bench_attention prints, of torch's scaled_dot_product_attention.

The same shapes in bf16, the same count of visible pairs; sequences of one length as a batch, which
is torch's best case. Needs torch."""
import statistics
import sys
import time

import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

CASES = [
    ("110M, 4 x 320", 4, 320, 12, 12, 64, True),
    ("110M, 16 x 320", 16, 320, 12, 12, 64, True),
    ("CLIP-L, 4 x 577", 4, 577, 16, 16, 64, False),
    ("TinyLlama, 4 x 640", 4, 640, 32, 4, 64, True),
    ("7B, 1 x 2048", 1, 2048, 32, 32, 128, True),
]
ROUNDS = 7


def rate(function, flop):
    count, start = 0, time.monotonic()
    while time.monotonic() - start < 0.1:
        function()
        count += 1
    return flop * count / (time.monotonic() - start) * 1e-9


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    a = torch.randn(2048, 2048).bfloat16()
    print(f"torch {torch.__version__}, bf16, {torch.get_num_threads()} threads, GFLOP/s")
    print(f"{'':20} {'product':>8} {'forward':>8} {'share':>6} {'both':>8} {'share':>6}")
    for name, n, length, heads, kv_heads, size, causal in CASES:
        q, k, v = (torch.randn(n, h, length, size).bfloat16().requires_grad_()
                   for h in (heads, kv_heads, kv_heads))
        pairs = length * (length + 1) / 2 if causal else length * length
        flop = 4 * n * heads * pairs * size

        def forward():
            return sdpa(q, k, v, is_causal=causal, enable_gqa=heads != kv_heads)

        def both():
            out = forward()
            out.backward(out.detach())

        rates = []
        for i in range(ROUNDS + 1):
            product = rate(lambda: a @ a.T, 2.0 * 2048**3)
            with torch.no_grad():
                alone = rate(forward, flop)
            rates.append((product, alone, rate(both, 3 * flop)))
        product, alone, together = (statistics.median(x) for x in zip(*rates[1:]))
        share = statistics.median(x[1] / x[0] for x in rates[1:])
        share_both = statistics.median(x[2] / x[0] for x in rates[1:])
        print(f"{name:20} {product:8.0f} {alone:8.0f} {100 * share:5.0f}% "
              f"{together:8.0f} {100 * share_both:5.0f}%")


main()
