"""The contract every method keeps; put tests of what makes this method itself beside it."""

from __future__ import annotations

import pytest
from dd_assets_nearest_mean.recipe import METHOD

from dd_assets.methods.checking import Finding, check_method


@pytest.mark.parametrize("finding", check_method(METHOD), ids=lambda finding: finding.check)
def test_contract(finding: Finding) -> None:
    assert finding.passed, finding.message
