"""Processes of gloo on this machine, forked from a script that has imported all once."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 300  # after which processes are taken to wait for each other
Work = Callable[[int, int, Path], dict[str, Any]]  # rank, processes, folder of all of them


def together(script: Path, folder: Path, worlds: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Run a script that calls `in_processes`; what each of so many processes found."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder), *map(str, worlds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {
        world: [torch.load(_kept(folder, rank, world), weights_only=True) for rank in range(world)]
        for world in worlds
    }


def in_processes(work: Work) -> None:
    """In the script: do the work in as many processes as asked for, and leave what each of them finds."""
    folder, worlds = Path(sys.argv[1]), map(int, sys.argv[2:])
    torch.set_num_threads(1)
    for world in worlds:
        forked = multiprocessing.get_context("fork")
        started = [forked.Process(target=_part, args=(work, rank, world, folder)) for rank in range(world)]
        for process in started:
            process.start()
        for process in started:
            process.join(SECONDS)
        codes = [process.exitcode for process in started]
        for process in started:
            process.kill()
        if any(codes):
            sys.exit(f"of {world} processes, the exit codes are {codes}")


def _part(work: Work, rank: int, world: int, folder: Path) -> None:
    meeting = f"file://{folder / f'meeting-{world}'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    torch.save(work(rank, world, folder), _kept(folder, rank, world))


def _kept(folder: Path, rank: int, world: int) -> Path:
    return folder / f"{rank}-of-{world}.pt"
