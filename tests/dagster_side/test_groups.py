"""Which targets share a run: as few runs as possible, none before one that it reads."""

from __future__ import annotations

from dd_assets.planning.cells import Cell
from dd_assets.planning.graph import stages
from dd_assets.planning.plan import all_targets, input_target, with_upstream
from dd_assets.planning.turns import groups, job_name
from dd_assets.studies.registry import studies


def test_no_run_comes_before_one_that_it_reads() -> None:
    """Several studies of a cell are one job; a run of the first would have held the second, before its images."""
    every = [(f"studies/{name}", "digits|10") for name in studies()]
    for targets in (every, all_targets(with_studies=True)):
        turns = groups(with_upstream(targets))
        place = {target: number for number, group in enumerate(turns) for target in group}
        assert set(place) == set(with_upstream(targets))
        for target, number in place.items():
            cell = Cell.of(target[1])
            for name in stages()[target[0]].reads(cell):
                assert place[input_target(name, cell)] <= number, f"{target} runs before {name}"
        for group in turns:
            assert len({(job_name(target), target[1]) for target in group}) == 1


def test_a_method_and_its_scores_share_a_run() -> None:
    turns = groups(with_upstream([("random/score_convnet2_w64", "digits|10")]))
    assert [target[0] for target in turns[-1]] == [
        "random/synthetic_images",
        "random/soft_labels",
        "random/score_convnet2_w64",
    ]
