"""`dd-assets`, with every computation that begins noted in the file DD_TEST_STARTS names.

Worker processes import this module again as their main module, so the note is taken there too.
"""

from __future__ import annotations

import os
import sys

from dd_assets.planning import engine

_compute_product = engine.compute_product


def _noted(work: engine.Work) -> object:
    with open(os.environ["DD_TEST_STARTS"], "a", encoding="utf-8") as file:
        file.write(f"{work.unit.name} {work.unit.digest}\n")
    return _compute_product(work)


engine.compute_product = _noted  # type: ignore[assignment]

if __name__ == "__main__":
    from dd_assets.cli import main

    sys.exit(main())
