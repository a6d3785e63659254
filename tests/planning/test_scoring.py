"""Which draws and seeds a cell has.

Belongs here: the pairs alone. Does not belong: computing them (test_engine.py, test_edits.py).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.methods.registry import method
from dd_assets.planning.scoring import draws_of, scored_draws, trainings

DIGITS = CATALOGUE["digits"]
RANDOM, SRE2L = method("random"), method("sre2l")


def test_without_a_word_a_method_has_its_own_draws() -> None:
    assert (draws_of(RANDOM, DIGITS), draws_of(SRE2L, DIGITS)) == (3, 1)
    assert trainings(RANDOM, DIGITS) == [(0, 0), (1, 1), (2, 2)]
    assert trainings(SRE2L, DIGITS) == [(0, 0), (0, 1), (0, 2)]
    # More students than draws: the draws take turns, so that two of them count twice.
    assert trainings(RANDOM, replace(DIGITS, trainings=5)) == [(0, 0), (1, 1), (2, 2), (0, 3), (1, 4)]


def test_a_setting_states_how_many_draws_and_from_which_seed() -> None:
    five = replace(DIGITS, trainings=5, draws=5, first_seed=1)
    assert trainings(RANDOM, five) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    # What does not differ from draw to draw is drawn once.
    assert trainings(SRE2L, five) == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]
    assert (scored_draws(RANDOM, five), scored_draws(SRE2L, five)) == (5, 1)


@pytest.mark.parametrize(("asked", "expected"), [(1, 1), (2, 2), (3, 4)])
def test_a_first_look_has_no_more_draws_than_students(asked: int, expected: int) -> None:
    assert len(trainings(RANDOM, replace(DIGITS, trainings=asked, draws=4))) == expected
