"""Work on a Ray cluster: one run of many workers, many runs, latents of many images.

connected -> train_on (Ray Train), Runs (Ray tasks), embed_on (Ray Data)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from latentloom.checks import UserError


@contextmanager
def ray_needed() -> Iterator[None]:
    """Say what to install where an import of this block fails, as all but this file import Ray."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"--cluster works on Ray ({error}); install it with pip install 'latentloom[cluster]'"
        ) from error
