# SPDX-License-Identifier: Apache-2.0
"""What a report says of the machine and the versions."""
import os
import platform
import subprocess

from cells import ROOT

LEVELS = [("amx_bf16", "AMX bf16"), ("avx512_bf16", "AVX-512 bf16"), ("avx512f", "AVX-512"),
          ("avx2", "AVX2")]


def cpu_info():
    with open("/proc/cpuinfo") as file:
        block = file.read().split("\n\n")[0]
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_name():
    info = cpu_info()
    return (f"{info.get('model name', platform.machine())}, family {info.get('cpu family')} "
            f"model {info.get('model')}")


def level():
    flags = cpu_info().get("flags", "").split()
    return next((name for flag, name in LEVELS if flag in flags), "no AVX2")


def memory_gb():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def revision():
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                          capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def lines(threads, load):
    """`load`: the load average from before anything was started."""
    import torch
    import transformers
    return [
        f"- machine: {cpu_name()}, {level()}, {threads} of {os.cpu_count()} cores used, "
        f"{memory_gb():.0f} GB; load before the run {load:.1f}",
        f"- torch {torch.__version__} "
        f"({torch.backends.cpu.get_cpu_capability()}), transformers {transformers.__version__}, "
        f"Python {platform.python_version()}, Linux {platform.release()}",
    ]
