# SPDX-License-Identifier: Apache-2.0
"""torch_linear.py: torch's own linear as a contender of matmul, which starts it and tells it by
lines on stdin what to do. A product "forward|input|weight T N K", answered by "ready", makes
operands; each "go SECONDS" is answered by FLOP/s over at least so many seconds.

T rows, W is (N, K): forward x W^T, input dy W, weight dy^T x, as torch's autograd asks for them, in
bf16. Operands are rotated: more than a cache holds. The first line is torch's version."""
import sys
import time

import torch

CACHE_BYTES = 64e6


class Product:
    def __init__(self, direction, T, N, K):
        shapes = {"forward": ((T, K), (N, K)), "input": ((T, N), (N, K)),
                  "weight": ((T, N), (T, K))}[direction]
        self.direction, self.flop, self.next = direction, 2.0 * T * N * K, 0
        bytes_each = 2 * (T * K + N * K + T * N)
        copies = min(64, int(CACHE_BYTES / bytes_each) + 1)
        self.a = torch.randn(shapes[0]).bfloat16()
        self.b = [torch.randn(shapes[1]).bfloat16() for _ in range(copies)]

    def multiply(self):
        b = self.b[self.next % len(self.b)]
        self.next += 1
        if self.direction == "forward":
            return torch.nn.functional.linear(self.a, b)
        return self.a @ b if self.direction == "input" else self.a.T @ b

    def rate(self, seconds):
        count, start = 0, time.perf_counter()
        while True:
            self.multiply()
            count += 1
            took = time.perf_counter() - start
            if took >= seconds:
                return self.flop * count / took


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print(f"torch {torch.__version__}", flush=True)
    product = None
    with torch.no_grad():
        for line in sys.stdin:
            words = line.split()
            if words[0] == "go":
                print(product.rate(float(words[1])), flush=True)
            else:
                product = None  # its memory first
                product = Product(words[0], *map(int, words[1:]))
                product.multiply()
                print("ready", flush=True)


if __name__ == "__main__":
    main()
