"""What part of an accuracy is owed to the images and what to the recipe: Shapley shares of factors on and off.

Belongs here: the shares. Does not belong: which trainings fill the table (a study says so).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from dd_assets.errors import InputError

FACTORS = ("initialisation", "synthesis", "soft labels", "augmentation")
"""Initialisation: images that the method starts from, in place of random ones; synthesis: what it then does to them."""


def shapley_shares(accuracies: Mapping[frozenset[str], float], factors: Sequence[str] = FACTORS) -> dict[str, float]:
    """Each factor's share of accuracy(all on) - accuracy(all off): its gain, averaged over orders of switching on.

    accuracies: the set of factors that are on, to the accuracy; every one of the 2^n sets must be there (Shapley 1953:
    the weight of a set of k others is k! (n - k - 1)! / n!). The shares add up to the difference exactly; a factor that
    never changes anything has 0. Trap: switching factors off one at a time from the full recipe gives gains that do not
    add up wherever factors help one another. Raises InputError naming the sets that are missing.
    """
    sets = [frozenset(chosen) for size in range(len(factors) + 1) for chosen in itertools.combinations(factors, size)]
    missing = [" + ".join(sorted(chosen)) or "nothing" for chosen in sets if chosen not in accuracies]
    if missing:
        raise InputError(
            f"shares of {len(factors)} factors lack the accuracy with {'; with '.join(missing)}", "train those too"
        )
    count = len(factors)
    shares = {}
    for factor in factors:
        gains = [
            math.factorial(len(chosen))
            * math.factorial(count - len(chosen) - 1)
            * (accuracies[chosen | {factor}] - accuracies[chosen])
            for chosen in sets
            if factor not in chosen
        ]
        shares[factor] = sum(gains) / math.factorial(count)
    return shares


def possible_sets(needs: Mapping[str, str], factors: Sequence[str] = FACTORS) -> list[frozenset[str]]:
    """The sets that can be trained where some factors are nothing without another, such as synthesis from a start.

    needs: factor to the factor it needs. Of the others `completed` tells what they amount to.
    """
    sets = (frozenset(chosen) for size in range(len(factors) + 1) for chosen in itertools.combinations(factors, size))
    return [chosen for chosen in sets if all(needs[name] in chosen for name in chosen if name in needs)]


def completed(
    accuracies: Mapping[frozenset[str], float], needs: Mapping[str, str], factors: Sequence[str] = FACTORS
) -> dict[frozenset[str], float]:
    """All 2^n sets, where a factor whose need is off counts as off; raises InputError for a gap."""
    whole = {}
    for size in range(len(factors) + 1):
        for names in itertools.combinations(factors, size):
            chosen = frozenset(names)
            effective = chosen
            while dangling := {name for name in effective if name in needs and needs[name] not in effective}:
                effective -= dangling
            if effective not in accuracies:
                raise InputError(f"no accuracy with {' + '.join(sorted(effective)) or 'nothing'} on", "train that too")
            whole[chosen] = accuracies[effective]
    return whole
