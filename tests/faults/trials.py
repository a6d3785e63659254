"""One trial: start a run at a random point, strike it at a random moment, start it again, look at everything.

Belongs here: the order of these steps and what a trial records; the undisturbed run that trials are held to.
Does not belong: what a fault does (kinds.py), how many trials there are (campaign.py), cancelling in the UI
(cancelling.py).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dd_assets.planning.unit import Manifest
from dd_resources.store import ArtefactStore
from tests.faults import state
from tests.faults.children import Child, Zygote, warm
from tests.faults.kinds import Corrupt, Fault, Place, ending
from tests.faults.proxy import Proxy
from tests.faults.state import Start, Truth
from tests.servers import BUCKET, KEY, SECRET, s3_server

SETTINGS = Path(__file__).with_name("campaign.yaml")
PARTITION = "tried|1"
SCORE = "sre2l/score_convnet2_w64"
SYNC = ("sync", "--select", f'key:"{SCORE}"', "--partition", PARTITION)
DISCARDS = 6
"""Times that a resumed command may ask for a damaged result to be discarded."""


@dataclass
class Trial:
    """What is recorded of a trial."""

    number: int
    kind: str
    start_units: int
    """Units that were committed when the command started."""
    drawn_cpu_seconds: float
    """When the fault was to strike, on the CPU clock of the command."""
    stage: str = ""
    hit: bool = False
    """False if the command was over before its fault came; such a trial does not count."""
    note: dict[str, Any] = field(default_factory=dict)
    status: int | None = None
    message: str = ""
    """The last line of the struck command, shortened."""
    defects: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class World:
    """Warm commands, the undisturbed run, and the place where trials happen."""

    root: Path
    local: Zygote
    truth: Truth
    remote: Zygote | None = None
    places: dict[bool, Place] = field(default_factory=dict)

    def run(self, remote: bool, *arguments: str) -> Child:
        """Start a command over the folder or the S3 store."""
        zygote = self.remote if remote else self.local
        assert zygote is not None
        return zygote.run(arguments or SYNC, self.places[remote].home)


@contextmanager
def world(root: Path, with_s3: bool) -> Iterator[World]:
    """Everything trials need, below `root`; the undisturbed run is done on the way."""
    home, store = root / "trial" / "home", root / "trial" / "store"
    for folder in (home.parent, root / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        local = stack.enter_context(
            warm({"DD_STORE": str(store), "DD_DATASETS": str(SETTINGS), "DAGSTER_HOME": str(home)}, root / "logs")
        )
        made = World(root, local, Truth())
        made.places[False] = Place(ArtefactStore(str(store)), home)
        undisturbed(made)
        if with_s3:
            server = stack.enter_context(s3_server(root / "s3"))
            proxy = Proxy(server.ports["s3.port"])
            stack.callback(proxy.close)
            reached = {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
                "AWS_ACCESS_KEY_ID": KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
            }
            address = f"s3://{BUCKET}/trial"
            settings = {"DD_STORE": address, "DD_DATASETS": str(SETTINGS), "DAGSTER_HOME": str(home)}
            made.remote = stack.enter_context(warm({**settings, **reached}, root / "logs"))
            made.places[True] = Place(ArtefactStore(address, server.options()), home, server, proxy)
        yield made


def undisturbed(made: World) -> None:
    """A run from nothing, stopped for a moment at each commit to copy a starting point."""
    place, truth = made.places[False], made.truth
    child, units = made.run(False), 0
    while not child.ended():
        committed = len(place.store.list("manifests"))
        if committed > units:
            units = committed
            child.send(signal.SIGSTOP)
            folder = made.root / "starts" / str(units)
            cpu = child.cpu_seconds()
            shutil.copytree(place.home, folder / "home")
            shutil.copytree(place.store.root, folder / "store")
            truth.starts.append(Start(folder, units, cpu))
            child.send(signal.SIGCONT)
        truth.cpu_seconds = max(truth.cpu_seconds, child.cpu_seconds())
        time.sleep(0.002)
    assert child.status == 0, child.text()[-2000:]
    truth.contents, truth.kinds = state.contents(place.store), state.kinds(place.store)
    truth.references = state.references(place.store)
    # Copied while it ran: its bytes would be read as torn only if the command wrote torn files.
    assert len(truth.starts) > 5, f"only {len(truth.starts)} starting points"


def attempt(made: World, number: int, fault: Fault, chance: random.Random) -> Trial:
    """One trial; with `hit` False if the command had ended before the drawn moment."""
    began = time.monotonic()
    place, truth = made.places[fault.remote], made.truth
    place.note, place.damaged = {}, set()
    start = chance.choice([None, *truth.starts])
    # The last starting point still has references, Dagster's records and the leaderboard before it.
    drawn = chance.uniform(0.0, truth.cpu_seconds - (start.cpu_seconds if start else 0.0))
    trial = Trial(number, fault.name, start.units if start else 0, round(drawn, 3))
    state.copy(start, place.store, place.home)
    fault.prepare(place, chance)
    try:
        child = made.run(fault.remote)
        if child.until_cpu(drawn):
            before = state.manifests(place.store)
            trial.hit = True
            trial.stage = state.stage(place.store, truth, child.process)
            fault.strike(place, child, chance)
            child.wait()
            if child.status == -signal.SIGKILL:
                trial.stage = state.stage(place.store, truth, child.process)
            trial.defects += ending(fault, child)
            fault.mend(place)
            _after(made, fault, trial, before)
        trial.status, trial.note = child.wait(), dict(place.note)
        trial.message = (child.text().strip().splitlines() or [""])[-1][:300] if trial.status else ""
    finally:
        fault.clear(place)
    trial.seconds = round(time.monotonic() - began, 1)
    return trial


def _after(made: World, fault: Fault, trial: Trial, before: dict[str, bytes]) -> None:
    """Look at what the fault left, run the same command again, look at what came of it."""
    place, truth = made.places[fault.remote], made.truth
    store = place.store
    survived = state.manifests(store)
    for problem in (*state.torn(store, place.damaged), *state.lost(before, survived), *state.held(store)):
        trial.defects.append(f"after the fault: {problem}")
    excused = _resume(made, fault, trial)
    if excused:
        # A set of one shard has that shard's file: who discards one has the other made anew as well.
        excused |= state.naming(survived, place.damaged)
    resumed = state.manifests(store)
    for problem in (
        *state.torn(store, place.damaged if excused is None else ()),
        *state.lost(survived, resumed, excused or ()),
        *state.held(store),
        *state.different(store, truth),
        *state.unfinished(store, place.home),
    ):
        trial.defects.append(f"after resuming: {problem}")


def _resume(made: World, fault: Fault, trial: Trial) -> set[str] | None:
    """The same command until it ends well; recipes that were discarded on the way because their bytes were damaged."""
    place = made.places[fault.remote]
    discarded: set[str] = set()
    for _ in range(DISCARDS):
        child = made.run(fault.remote)
        if child.wait() == 0:
            unread = _still_damaged(place) if isinstance(fault, Corrupt) else None
            if unread is None:
                return discarded
            refusal = state.read_refusal(place.store, *unread)
            if refusal is None:
                trial.defects.append(f"a damaged payload of {unread[0].label} is handed out")
                return discarded
            text = refusal
        else:
            text = child.text()
        asked = re.search(r"dd-assets discard ([0-9a-f]{12})", text)
        if not (isinstance(fault, Corrupt) and asked):
            trial.defects.append(f"resuming failed with {child.status}: {text.strip()[-300:]}")
            return discarded
        trial.note["named"] = trial.note.get("named", 0) + 1
        place.note["named"] = trial.note["named"]
        digest = next(digest for digest in state.manifests(place.store) if digest.startswith(asked[1]))
        made.run(fault.remote, "discard", asked[1]).wait()
        discarded.add(digest)
        if not place.store.list("quarantine"):
            trial.defects.append("the damaged payload was not put into quarantine")
    trial.defects.append("resuming asked again and again for damaged results to be discarded")
    return discarded


def _still_damaged(place: Place) -> tuple[Manifest, str] | None:
    """A payload in the store that the fault damaged and no command has read since."""
    for data in state.manifests(place.store).values():
        manifest = Manifest.from_json(json.loads(data))
        for name in manifest.payloads:
            if manifest.payloads[name].sha256 in place.damaged and state.read_refusal(place.store, manifest, name):
                return manifest, name
    return None


def as_json(trial: Trial) -> dict[str, Any]:
    """A trial as the campaign's file holds it."""
    return {**asdict(trial), "process": os.getpid()}
