"""What the load generator notices of the frames of a stream."""
from __future__ import annotations

import random

import pytest

from tools.loadgen import review

WINDOW = 64 * 64                # numbers that it remembers


@pytest.mark.parametrize(("numbers", "late", "repeated"), [
    ([0, 1, 2], 0, 0),
    ([0, 5, 6], 0, 0),                          # lost ones are known by what was sent
    ([0, 2, 1, 3], 1, 0),
    ([0, 1, 1, 2], 0, 1),
    ([3, 2, 1, 0, 0], 3, 1),
    ([0, 63, 64, 63, 64, 128, 64], 0, 3),
    ([0, WINDOW - 1, 1, 1], 1, 1),
    ([0, WINDOW, 0], 0, 1),                     # too old to know
    ([0, 10 * WINDOW, 10 * WINDOW - 1, 10 * WINDOW], 1, 1),
])
def test_numbers(numbers: list[int], late: int, repeated: int) -> None:
    assert review(numbers) == (late, repeated)


@pytest.mark.parametrize("seed", range(5))
def test_no_frame_that_comes_twice_goes_unnoticed(seed: int) -> None:
    rng = random.Random(seed)
    numbers = sorted(rng.sample(range(40_000), 20_000))
    twice = rng.sample(numbers, 300)
    moved = sorted([(n + rng.randrange(500), n) for n in numbers]
                   + [(n + rng.randrange(500), n) for n in twice])
    assert review([n for _, n in moved])[1] == len(twice)
