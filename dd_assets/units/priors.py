"""The `priors` unit: how well each committee member teaches, in percent.

Belongs here: joining the members' trainings into one table, CV-DD's published figures. Does not belong: planning the
members' distillations (planning/committees.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError
from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units.kinds import kind_of

PRIORS = "priors.json"
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    # Jiacheng8/CV-DD 24097e9, recover/recover.py; accuracy of a student of images distilled from that model alone.
    "cifar10": dict(resnet18=63.0, resnet50=65.3, shufflenet_v2_x0_5=68.5, mobilenet_v2=67.6, densenet121=67.4),
    "cifar100": dict(resnet18=64.0, resnet50=60.6, shufflenet_v2_x0_5=51.6, mobilenet_v2=59.4, densenet121=56.4),
    "tiny_imagenet": dict(resnet18=46.5, resnet50=28.3, shufflenet_v2_x0_5=43.6, mobilenet_v2=44.8, densenet121=41.5),
    "imagenette": dict(resnet18=62.4, resnet50=52.0, shufflenet_v2_x0_5=57.2, mobilenet_v2=54.0, densenet121=60.8),
    "imagenet1k": dict(resnet18=56.4, resnet50=42.3, shufflenet_v2_x0_5=52.5, mobilenet_v2=44.2, densenet121=40.6),
}


def plan(setting: Setting, members: Sequence[str], source: str, scores: Mapping[str, Manifest]) -> Unit:
    """The table for these members; `scores` holds the trainings behind a measured one, as '<member>/seed<n>'.

    Raises InputError where the paper gives no figure for a member.
    """
    stated: dict[str, float] = {}
    if source == "published":
        known = PUBLISHED.get(setting.data, {})
        lacking = [name for name in members if name not in known]
        if lacking:
            raise InputError(
                f"CV-DD publishes no prior of {', '.join(lacking)} on {setting.data}",
                "choose priors: measured or equal",
            )
        stated = {name: known[name] for name in members}
    return Unit(
        name="priors",
        version=kind_of("priors").version,
        parameters={"members": list(members), "source": source, "stated": stated},
        inputs={name: manifest.content for name, manifest in scores.items()},
        sources={name: manifest.recipe_digest for name, manifest in scores.items()},
        setting=setting.name,
        label=f"priors {setting.name}",
    )


def compute(unit: Unit, work: Work) -> Product:
    """The mean accuracy per member, the stated figure, or 100 / members for each."""
    members, source = unit.parameters["members"], unit.parameters["source"]
    if source == "measured":
        priors = {}
        for member in members:
            own = [work.input(name) for name in unit.inputs if name.rsplit("/", 1)[0] == member]
            priors[member] = 100 * sum(manifest.summary["accuracy"] for manifest in own) / len(own)
    else:
        priors = {name: unit.parameters["stated"].get(name, 100 / len(members)) for name in members}
    return Product(
        content=ContentHasher("priors").value("priors", priors).hexdigest(),
        payloads={PRIORS: json.dumps(priors, indent=1).encode()},
        verdicts=(
            Verdict(
                name="members_rated",
                passed=bool(priors) and all(0 < value <= 100 for value in priors.values()),
                blocking=True,
                message=", ".join(f"{name} {value:.1f}" for name, value in priors.items()),
            ),
        ),
        summary={"priors": priors, "source": source},
    )


def load(work: Work) -> dict[str, float]:
    """Member to prior, in percent, of the table that is an input of the unit."""
    found: dict[str, float] = json.loads(work.input_bytes("priors", PRIORS))
    return found
