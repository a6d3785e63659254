"""What images owe to the real ones, over units of made-up stores; of real ones: tests/diffusion/test_data_free.py."""

from __future__ import annotations

import pytest

from dd_assets.planning.unit import Manifest
from dd_assets.report.provenance import provenance
from dd_resources.store import ArtefactStore
from tests.report.stored import put


def unit(store: ArtefactStore, kind: str, *sources: Manifest) -> Manifest:
    return put(store, kind, kind, {}, sources={f"s{place}": one.recipe_digest for place, one in enumerate(sources)})


@pytest.mark.parametrize("direct", [False, True])
def test_a_fine_tuned_generator_saw_the_data_and_so_did_its_base(store: ArtefactStore, direct: bool) -> None:
    real = unit(store, "dataset")
    teacher = unit(store, "teacher", real)
    base = unit(store, "generator", real)
    tuned = unit(store, "fine_tuned_generator", base, real)
    images = unit(store, "images/minimax", tuned, teacher, *([real] if direct else []))
    expected = "" if direct else "generator saw the data"
    assert provenance(store, [images.recipe_digest], real.content) == expected


def test_what_only_a_teacher_saw_is_data_free(store: ArtefactStore) -> None:
    real = unit(store, "dataset")
    images = unit(store, "images/sre2l", unit(store, "teacher", real))
    assert provenance(store, [images.recipe_digest], real.content) == "data-free"
