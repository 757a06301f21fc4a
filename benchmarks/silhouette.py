"""Time and peak memory of the silhouette, beside scikit-learn's.

    python benchmarks/silhouette.py

Every line is a process of its own, because the peak of a process never falls again. Memory is what the
score adds to the peak that importing and making the points have reached. Of three runs the fastest counts;
where others use the processors too, compare the CPU seconds, which are those of all threads together.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

SIZES = [(2_000, 64), (10_000, 64), (2_000, 2_048), (10_000, 2_048), (60_000, 64)]
SKLEARN_LIMIT = 10_000  # points
CLASSES = 10


def peak() -> float:
    """Largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(which: str, n: int, d: int) -> tuple[float, float, float, float]:
    """Seconds, CPU seconds, MiB added to the peak, and the score."""
    import torch
    from sklearn.metrics import silhouette_score

    from latentloom.evaluation import silhouette

    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % CLASSES
    z = torch.randn(CLASSES, d, generator=generator)[y] + torch.randn(n, d, generator=generator)
    rivals = {
        "latentloom": lambda: silhouette(z, y).item(),
        "scikit-learn": lambda: silhouette_score(z.numpy(), y.numpy()),
    }
    silhouette(z[:50], y[:50])  # the first call sets up threads
    silhouette_score(z[:50].numpy(), y[:50].numpy())
    before, times, busy = peak(), [], []
    for _ in range(1 if n > SKLEARN_LIMIT else 3):
        start, started = time.perf_counter(), time.process_time()
        score = float(rivals[which]())
        times.append(time.perf_counter() - start)
        busy.append(time.process_time() - started)
    return min(times), min(busy), peak() - before, score


def main() -> None:
    print(f"{'n':>6} {'d':>5}  {'':<12} {'seconds':>8} {'CPU s':>7} {'MiB':>7} {'score':>10}")
    for n, d in SIZES:
        for which in ("latentloom", "scikit-learn") if n <= SKLEARN_LIMIT else ("latentloom",):
            command = [sys.executable, __file__, which, str(n), str(d)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, busy, memory, score = json.loads(done.stdout)
            print(
                f"{n:>6} {d:>5}  {which:<12} {seconds:>8.2f} {busy:>7.2f} {memory:>7.0f} {score:>10.6f}",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
    else:
        main()
