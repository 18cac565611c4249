"""Where chance comes from in training: numbers hashed from (seed, epoch, row), and torch under a seed of its own.

The only place that seeds torch. What is drawn depends on its parts alone: not on the order of rows, not on what was
drawn before, so training that was killed goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

Part = int | str


def uniforms(n: int, *parts: Part) -> NDArray[np.float64]:
    """n numbers in [0, 1), n ≤ 8, decided by the parts alone: the bits of BLAKE2b of them, 53 to a number."""
    if not 0 < n <= 8:
        raise ValueError(f"{n} numbers asked of one hash: 1 to 8")
    bits = np.frombuffer(_hashed(parts), dtype="<u8")[:n]
    return (bits >> np.uint64(11)).astype(np.float64) / 2.0**53


def shuffled(ids: list[str], *parts: Part) -> NDArray[np.int64]:
    """Positions of ids in an order decided by the parts and the ids alone, wherever each id stands."""
    keys = [(_hashed((*parts, name)), name) for name in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=np.int64)


def reseed(*parts: Part) -> None:
    """Torch's generators begin anew from the parts; only inside `seeded`."""
    import torch

    torch.manual_seed(int.from_bytes(_hashed(parts)[:8], "little") >> 1)


@contextmanager
def seeded(*parts: Part, threads: int, device: str = "cpu") -> Iterator[None]:
    """Inside, torch draws from the parts, computes the same each time, with so many threads; after, all is as before.

    On a CPU an operation that cannot repeat itself raises; on a GPU it warns.
    """
    import torch

    strict, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    devices = list(range(torch.cuda.device_count())) if device != "cpu" else []
    with torch.random.fork_rng(devices=devices), with_threads(threads):
        try:
            torch.use_deterministic_algorithms(True, warn_only=device != "cpu")
            reseed(*parts)
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warned)


@contextmanager
def with_threads(threads: int) -> Iterator[None]:
    """Inside, torch computes with so many threads: what it adds up in which order, to the last bit, depends on it."""
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(max(1, threads))
        yield
    finally:
        torch.set_num_threads(before)


def _hashed(parts: tuple[Part, ...]) -> bytes:
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest()
