"""What a named protocol is: changes to a setting's protocol, or a recipe of its own, by dataset and IPC.

Belongs here: that, and how changes are applied. Does not belong: the presets (presets.py and what it gathers), what
the fields mean (protocol.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dd_assets.errors import UnknownNameError
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS, Views

Changes = Mapping[str, Any]
Ranges = tuple[tuple[int, Changes], ...]
"""(largest IPC, changes), ascending; the first that fits applies."""
MORE = 10**9
"""The largest IPC of a range without end."""
_SETTING_S = ("label", "label_storage", "precision", "window", "window_step", "curve_step", "curve_images")
"""Fields that a whole recipe takes from the setting."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named protocol: what it changes in the setting's own, or a recipe of its own."""

    name: str
    changes: Changes
    """Fields of Protocol; `views` holds fields of Views. A stated `label` goes before that of a study's variant."""
    whole: bool = False
    """Whether it is a recipe of its own: what it does not state is Protocol's default, whatever the setting says, but
    for how a training is looked at and computed (`_SETTING_S`)."""
    by_ipc: Ranges = ()
    """Changes on top."""
    by_data: Mapping[str, Changes] = field(default_factory=dict)
    """Dataset (a setting's `data`) to changes on top of both."""
    by_both: Mapping[str, Ranges] = field(default_factory=dict)
    """Dataset to changes by IPC, on top of all."""
    source: str
    left_out: str = ""
    """What the source does that this project's protocol cannot."""
    datasets: tuple[str, ...] = ()
    """Those that a paper's source has a recipe for, the one that stands in elsewhere first; () for no paper's."""

    def left_out_on(self, data: str) -> str:
        """`left_out`, and whether the source has no recipe for this dataset: then the preset is not the paper's."""
        if not self.datasets or data in self.datasets:
            return self.left_out
        return f"{self.left_out}; no recipe stated for {data}: {self.datasets[0]}'s"


def applied(protocol: Protocol, chosen: Preset, data: str, ipc: int) -> Protocol:
    """A setting's protocol under a preset, for a dataset and IPC; its name is the preset's but for RD3's own."""
    if chosen.whole:
        views = replace(VIEW_PRESETS["rd3"], hflip=protocol.views.hflip)
        protocol = Protocol(views=views, **{kept: getattr(protocol, kept) for kept in _SETTING_S})
    by_ipc, by_both = (_fitting(ranges, ipc) for ranges in (chosen.by_ipc, chosen.by_both.get(data, ())))
    stated = {**chosen.changes, **by_ipc, **chosen.by_data.get(data, {}), **by_both}
    return changed(replace(protocol, name=protocol.name if chosen.name == "rd3" else chosen.name), stated)


def _fitting(ranges: Ranges, ipc: int) -> Changes:
    return next((changes for limit, changes in ranges if ipc <= limit), {})


def changed(protocol: Protocol, changes: Changes) -> Protocol:
    """The protocol with fields changed, `views` field by field.

    Raises UnknownNameError for one that does not exist, InputError for a value that cannot be.
    Nothing gives mirror images to a setting that has none, since there a mirror changes the class. Views that equal a
    preset's take its name and others the name 'own': what they are called depends on what they do, so that equal label
    tables are computed once.
    """
    known = {item.name for item in fields(Protocol)}
    for name in changes:
        if name not in known:
            raise UnknownNameError.of("field of the protocol", name, known)
    views = {"views": _views(protocol.views, changes["views"])} if "views" in changes else {}
    return replace(protocol, **_as_typed(protocol, {**changes, **views}))


def _as_typed(stated: Protocol | Views, changes: Changes) -> dict[str, Any]:
    """The changes with 20 for 20.0 where a field is a float's: they are one value, in recipe digests too."""
    floats = {name for name in changes if isinstance(getattr(stated, name), float)}
    return {name: float(value) if name in floats and type(value) is int else value for name, value in changes.items()}


def _views(views: Views, changes: Changes) -> Views:
    known = {item.name for item in fields(Views)} - {"preset"}
    for name in changes:
        if name not in known:
            raise UnknownNameError.of("field of the views", name, known)
    mirrored = min(changes.get("hflip", 1.0), views.hflip)
    made = replace(views, **{**_as_typed(views, changes), "hflip": mirrored, "preset": ""})
    same = [name for name, entry in VIEW_PRESETS.items() if replace(entry, hflip=made.hflip, preset="") == made]
    return replace(made, preset=same[0] if same else "own")
