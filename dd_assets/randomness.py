"""Counter-based random numbers keyed by a seed and named streams.

Belongs here: turning (seed, stream name, counters) into numbers that do not depend on workers, shards, batch sizes,
devices or restarts. Does not belong: torch generators; callers that need a tensor convert the array.

The raw words come from NumPy's Philox bit generator, whose `random_raw` output is stable across NumPy versions
(NEP 19 freezes bit streams, not the distributions on top). The distributions are therefore spelled out here.
"""

from __future__ import annotations

import hashlib

from dd_assets.lazy import np

Stream = str | int


def words(count: int, seed: int, *stream: Stream) -> np.ndarray:
    """`count` uniform 64-bit words of the named stream, uint64 of shape (count,)."""
    name = "/".join(str(part) for part in (seed, *stream)).encode()
    key = np.frombuffer(hashlib.sha256(name).digest()[:16], dtype="<u8")
    return np.random.Philox(key=key).random_raw(count)


def uniform(count: int, seed: int, *stream: Stream) -> np.ndarray:
    """`count` float64 in [0, 1), each a multiple of 2^-53."""
    return (words(count, seed, *stream) >> np.uint64(11)) * 2.0**-53


def integers(high: int, count: int, seed: int, *stream: Stream) -> np.ndarray:
    """`count` int64 in [0, high), by multiply-shift on the top 32 bits (bias below high / 2^32)."""
    top = words(count, seed, *stream) >> np.uint64(32)
    return ((top * np.uint64(high)) >> np.uint64(32)).astype(np.int64)


def permutation(length: int, seed: int, *stream: Stream) -> np.ndarray:
    """A permutation of range(length), int64, by stable argsort of random words."""
    return np.argsort(words(length, seed, *stream), kind="stable").astype(np.int64)


def normal(count: int, seed: int, *stream: Stream) -> np.ndarray:
    """`count` standard normal float32 values by Box-Muller in float64."""
    pairs = (count + 1) // 2
    raw = uniform(2 * pairs, seed, *stream).reshape(pairs, 2)
    radius = np.sqrt(-2.0 * np.log1p(-raw[:, 0]))
    angle = 2.0 * np.pi * raw[:, 1]
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    return both[:count].astype(np.float32)


def torch_seed(seed: int, *stream: Stream) -> int:
    """A 63-bit integer for `torch.Generator.manual_seed`, where a library insists on its own generator."""
    return int(words(1, seed, *stream)[0] >> np.uint64(1))
