"""Timing that is fair on a noisy machine, and where figures go.

Belongs here: interleaved medians, the description of the machine, JSON. Does not belong: what is timed.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

Arm = Callable[[], object]


def interleaved(
    arms: Mapping[str, Arm], rounds: int, device: str = "cpu", warm: int = 1
) -> dict[str, dict[str, float]]:
    """Median wall and CPU seconds of each arm; every round runs all arms in turn, so that load falls on all alike."""
    wall: dict[str, list[float]] = {name: [] for name in arms}
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(warm + rounds):
        for name, arm in arms.items():
            _wait(device)
            before = time.perf_counter(), _cpu_seconds()
            arm()
            _wait(device)
            if number >= warm:
                wall[name].append(time.perf_counter() - before[0])
                cpu[name].append(_cpu_seconds() - before[1])
    return {name: {"wall": statistics.median(wall[name]), "cpu": statistics.median(cpu[name])} for name in arms}


def _cpu_seconds() -> float:
    """Of this process and of the children it has waited for, such as data loader workers."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the figures were measured on."""
    names = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": names[0].split(":", 1)[1].strip() if names else platform.processor(),
        "cores": os.cpu_count(),
        "instructions": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {name}" in flags],
        "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "commit": commit.stdout.strip() or "unknown",
        "date": time.strftime("%Y-%m-%d"),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def report(name: str, rows: list[dict[str, Any]], out: str | None, device: str = "cpu") -> None:
    """Print rows as a Markdown table; with `out`, write them with the machine as JSON."""
    columns = list(rows[0])
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for row in rows:
        print(f"| {' | '.join(_shown(row[column]) for column in columns)} |")
    facts = machine(device)
    print(f"\n{facts}")
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(json.dumps({"benchmark": name, "machine": facts, "rows": rows}, indent=1) + "\n")


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
