"""Signal levels against the published schedules.

Belongs here: levels.py. Does not belong: sampling.
"""

from __future__ import annotations

import numpy as np
import pytest

from dd_assets.diffusion.levels import Schedule, closed_form, schedule_of
from dd_assets.errors import InputError

STABLE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
}
DIT = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def _schedule(config: dict[str, object], steps: int = 50) -> Schedule:
    return schedule_of(config, steps)


def test_d4ms_strength_is_another_step_on_each_schedule() -> None:
    stable, dit = _schedule(STABLE), _schedule(DIT)
    # Stable Diffusion, strength .7 of 50 steps: t = 681, 35 steps remain.
    at = stable.position_of(0.0946)
    assert (int(stable.timesteps[at]), 50 - at) == (681, 35)
    # The same noise on DiT's schedule is strength .50; copying .7 would leave ᾱ = .009, almost nothing.
    at = dit.position_of(0.0946)
    assert (int(dit.timesteps[at]), 50 - at) == (480, 25)
    assert dit.level(15) == pytest.approx(0.0091, abs=1e-3)


def test_reference_levels_of_the_spaced_indices() -> None:
    dit = _schedule(DIT)
    # DAP's and IGD's indices 45, 40, 30 and 10 of 50, counted down: t = 900, 800, 600, 200.
    for index, level in ((45, 0.0003), (40, 0.0015), (30, 0.0256), (10, 0.656)):
        assert dit.level(49 - index) == pytest.approx(level, abs=1e-3)


def test_windows_are_shown_as_steps() -> None:
    dit = _schedule(DIT)
    assert dit.within(0.0, 1.0) == list(range(50))
    found = dit.within(0.08, 0.5)
    assert (found[0], found[-1]) == (25, 36)
    assert dit.shown(0.08, 0.5) == "ᾱ 0.08 to 0.5: 12 of 50 steps, index 24 down to 13, t = 480 to 260"
    assert dit.shown(0.99999, 1.0).endswith("no step")


def test_ends_of_the_schedules() -> None:
    assert _schedule(DIT).level(50) == 1.0
    # set_alpha_to_one is False with Stable Diffusion: the last step ends at ᾱ of t = 0.
    assert _schedule(STABLE).level(50) == pytest.approx(1 - 0.00085)


ZERO_SNR = {
    **STABLE,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def test_a_step_that_has_nothing_of_the_image_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"signal level 0 at t = 999 .*rescale_betas_zero_snr.* → .*leading"):
        schedule_of(ZERO_SNR, 50)
    # "leading" begins at t = 981, where something is left.
    assert schedule_of({**ZERO_SNR, "timestep_spacing": "leading"}, 50).levels().min() > 0


@pytest.mark.parametrize("steps", [1, 25, 50, 333])
@pytest.mark.parametrize(
    "config", [{}, DIT, STABLE, *({**DIT, "timestep_spacing": spacing} for spacing in ("trailing", "linspace"))]
)
def test_a_closed_form_is_the_schedule_of_diffusers(config: dict[str, object], steps: int) -> None:
    own, theirs = closed_form(config, steps), _schedule(config, steps)
    assert own is not None
    assert own.timesteps.tolist() == theirs.timesteps.tolist()
    np.testing.assert_allclose(own.alpha_bars, theirs.alpha_bars, rtol=1e-4)
    assert own.final_alpha_bar == pytest.approx(theirs.final_alpha_bar)


@pytest.mark.parametrize(
    "other",
    [
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.1] * 1000},
        {"rescale_betas_zero_snr": True},
        {"timestep_spacing": "odd"},
        {"num_train_timesteps": 10},
    ],
)
def test_other_schedules_have_no_closed_form(other: dict[str, object]) -> None:
    assert closed_form({**DIT, **other}, 50) is None


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(InputError, match="not between 0 and 1"):
        _schedule(DIT).position_of(level)
    with pytest.raises(InputError, match="choose 1 to 1000"):
        _schedule(DIT, 1001)
