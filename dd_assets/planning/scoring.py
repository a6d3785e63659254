"""From a cell and a protocol to student trainings: what score assets and studies share.

Belongs here: which draws and seeds, whose labels, the two units behind one training. Does not belong: which protocols a
cell is scored under (graph.py, studies.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError
from dd_assets.evaluation.protocol import LabelMode, Protocol, check_parts, check_top_k
from dd_assets.methods.contract import Method
from dd_assets.planning.cells import Cell, usable
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.units import labels

FIRST_LOOK = 2
"""A setting with at most so many trainings wants that many, also of a method with more draws."""


def draws_of(method: Method, chosen: Setting) -> int:
    """How many image sets a method makes: the setting's number if it states one and the method's draws differ."""
    if method.draws == 1:
        return 1
    return chosen.draws or method.draws


def trainings(method: Method, chosen: Setting) -> list[tuple[int, int]]:
    """(draw, seed) pairs of a cell: one student per draw, at least as many as the setting asks for.

    A setting that asks for one or two gets one or two, of the first draws: a first look, to which more can be added.
    """
    asked = chosen.trainings
    return pairs(method, chosen, asked if asked <= FIRST_LOOK else max(asked, draws_of(method, chosen)))


def pairs(method: Method, chosen: Setting, count: int) -> list[tuple[int, int]]:
    """The first `count` (draw, seed) pairs of a method in a setting; draws take turns."""
    draws = draws_of(method, chosen)
    return [(number % draws, chosen.first_seed + number) for number in range(count)]


def scored_draws(method: Method, chosen: Setting) -> int:
    """How many draws a cell has image sets of: the method's, but none that no student is trained on."""
    return len({draw for draw, _ in trainings(method, chosen)})


def protocol_for(cell: Cell, student: str, base: Protocol, mode: LabelMode) -> Protocol:
    """The protocol under which a student is trained in a cell, from a setting's or a variant's.

    Raises InputError naming the setting where the labels that the protocol asks for cannot be: for want of a committee,
    of views in a batch, of classes.
    """
    chosen = cell.setting
    images = cell.ipc * len(chosen.classes)
    sized = base.for_student(student == chosen.teacher.architecture, images, student)
    made = for_labels(sized, mode, chosen)
    check_parts(made.labelling, images, made.batch)
    return made


def for_labels(protocol: Protocol, mode: LabelMode, chosen: Setting) -> Protocol:
    """The protocol of one label mode in a setting; raises InputError as `protocol_for` does."""
    try:
        made = protocol.for_labels(mode, tuple(choice.key for choice in chosen.committee))
        check_top_k(made.label_top_k, len(chosen.classes))
    except InputError as error:
        raise InputError(f"{chosen.name}: {error.problem}", error.remedy) from error
    return made


def label_key(draw: int, seed: int, protocol: Protocol) -> str:
    """The name of a label table within its asset partition."""
    return f"draw{draw}/seed{seed}/batch{protocol.batch}"


def labellers(protocol: Protocol, inputs: Mapping[str, Reference], engine: Engine) -> dict[str, Manifest]:
    """The inputs that soft labels come from: the teacher, or members of the committee and what weights them."""
    found = {}
    for name in labels.labeller_inputs(protocol.labelling):
        asset, _, member = name.partition("/")
        found[name] = usable(engine, inputs[asset], member or asset)
    return found
