"""The `embedding` unit: real images and every method's, placed together in the plane by t-SNE of teacher features.

Belongs here: planning it over the image sets that a cell has, which images take part, its table. Does not belong:
features (synthesis/outputs.py), drawing (report/embedding.py).

One joint embedding, as RD3's Figure 10 compares methods in: separate ones would each have axes of their own. What it
shows are neighbourhoods; distances between clusters and their sizes mean nothing (Wattenberg et al. 2016).
"""

from __future__ import annotations

from collections.abc import Mapping

from dd_assets import randomness
from dd_assets.datasets.registry import settings
from dd_assets.datasets.setting import Setting
from dd_assets.lazy import np
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import Cell, usable
from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Engine, Work
from dd_assets.planning.unit import Manifest, Product, Reference, Unit, Verdict
from dd_assets.units import teacher
from dd_assets.units.kinds import kind_of
from dd_assets.units.labels import typed_normalisation
from dd_assets.units.tables import IMAGES, read_images, write_columns
from dd_resources.store import ArtefactStore

ASSET, TABLE = "embedding", "embedding.parquet"
IMAGES_OF = "images/"
"""What the inputs that are image sets are called, before the method's name."""
REAL = {"real train": 25, "real test": 15}
"""Set to images of each class."""
CLASSES = 10
"""The first ones, as RD3's figure has ten of ImageNet-1K's."""
MADE = 1000
"""Synthetic images in all, shared evenly among methods and classes: the time grows with them."""
PERPLEXITY, ITERATIONS = 30.0, 500


def plan(setting: Setting, inputs: Mapping[str, Manifest], label: str) -> Unit:
    """The unit over a cell's image sets; `inputs` holds dataset, teacher and 'images/<method>' of one draw each."""
    return Unit(
        name="embedding",
        version=kind_of("embedding").version,
        parameters={
            "normalisation": setting.normalisation,
            "classes": min(CLASSES, len(setting.classes)),
            "real": REAL,
            "made": MADE,
            "perplexity": PERPLEXITY,
            "iterations": ITERATIONS,
        },
        inputs={name: manifest.content for name, manifest in inputs.items()},
        sources={name: manifest.recipe_digest for name, manifest in inputs.items()},
        seed=0,
        setting=setting.name,
        label=label,
    )


def image_sets(store: ArtefactStore, namespace: str, chosen: Setting) -> tuple[int, dict[str, Reference]]:
    """(IPC, method to reference) of the cell that most methods have images for, the larger IPC of several.

    Ablations and overridden parameters are left out; (0, {}) where there is nothing.
    """
    cells: dict[int, dict[str, Reference]] = {}
    for ipc in chosen.ipc:
        for name, entry in METHODS().items():
            found = store.read_reference(namespace, f"{name}/synthetic_images", f"{chosen.name}|{ipc}")
            if found is not None and found.declared and not entry.is_ablation:
                cells.setdefault(ipc, {})[name] = found
    if not cells:
        return 0, {}
    ipc = max(cells, key=lambda value: (len(cells[value]), value))
    return ipc, cells[ipc]


def refresh(engine: Engine, namespace: str) -> dict[str, Manifest]:
    """Partition to the embedding of each enabled setting that has images, computed where missing, and referenced."""
    made = {}
    for chosen in settings().values():
        ipc, sets = image_sets(engine.store, namespace, chosen)
        real = {name: engine.store.read_reference(namespace, name, chosen.name) for name in ("dataset", "teacher")}
        references = {name: reference for name, reference in real.items() if reference is not None}
        if not sets or len(references) < len(real):
            continue
        cell = Cell(setting=chosen, ipc=ipc)
        given = {name: usable(engine, reference, name) for name, reference in references.items()}
        given |= {f"{IMAGES_OF}{name}": usable(engine, found, next(iter(found.units))) for name, found in sets.items()}
        (manifest,) = engine.run([plan(chosen, given, f"{ASSET} {cell.partition}")])
        made[cell.partition] = manifest
        engine.store.write_reference(
            namespace,
            Reference(
                asset=ASSET,
                partition=cell.partition,
                units={ASSET: manifest.recipe_digest},
                contents={ASSET: manifest.content},
            ),
        )
    return made


def compute(unit: Unit, work: Work) -> Product:
    """Features of a seeded choice of images of every set, and one t-SNE of them all."""
    train, test = work.raw.load(unit.setting, unit.inputs["dataset"])
    given = unit.parameters
    sets = {"real train": (train.images, train.labels), "real test": (test.images, test.labels)}
    counts = dict(given["real"])
    methods = [name.removeprefix(IMAGES_OF) for name in sorted(unit.inputs) if name.startswith(IMAGES_OF)]
    for name in methods:
        images, labels, _ = read_images(work.input_bytes(f"{IMAGES_OF}{name}", IMAGES))
        sets[name], counts[name] = (images, labels), max(1, given["made"] // (len(methods) * given["classes"]))
    rows = {name: _rows(name, labels, counts[name], given["classes"]) for name, (_, labels) in sets.items()}
    features = _features(unit, work, np.concatenate([sets[name][0][chosen] for name, chosen in rows.items()]))
    places = embedded(features, given["perplexity"], given["iterations"], unit.seed or 0)
    table = {
        "x": places[:, 0],
        "y": places[:, 1],
        "label": np.concatenate([sets[name][1][chosen] for name, chosen in rows.items()]),
        "row": np.concatenate(list(rows.values())),
        "set": np.repeat(np.array(list(rows)), [len(chosen) for chosen in rows.values()]),
    }
    hasher = ContentHasher("embedding").value("set", table["set"].tolist())
    for name in ("x", "y", "label", "row"):
        hasher.array(name, table[name])
    finite = bool(np.isfinite(places).all())
    return Product(
        content=hasher.hexdigest(),
        payloads={TABLE: write_columns(table)},
        verdicts=(Verdict(name="finite", passed=finite, blocking=True, message=f"{len(places)} images placed"),),
        summary={"images": {name: len(chosen) for name, chosen in rows.items()}},
    )


def _rows(name: str, labels: np.ndarray, count: int, classes: int) -> np.ndarray:
    """Up to `count` rows of each class, in a seeded order that does not depend on the other sets."""
    found = []
    for label in range(classes):
        own = np.flatnonzero(labels == label)
        found.append(np.sort(own[randomness.permutation(len(own), 0, "embedding", name, label)[:count]]))
    return np.concatenate(found)


def _features(unit: Unit, work: Work, images: np.ndarray) -> np.ndarray:
    from dd_assets.synthesis.outputs import features_of

    return features_of(teacher.load(work), images, typed_normalisation(unit.parameters["normalisation"]), work.device)


def embedded(features: np.ndarray, perplexity: float, iterations: int, seed: int) -> np.ndarray:
    """Places in the plane, float32 (N, 2), of features (N, D): t-SNE (van der Maaten and Hinton 2008) begun from PCA.

    One thread, so that sums are added in one order; with fewer than three images per neighbour the perplexity is a
    third of the others.
    """
    from sklearn.manifold import TSNE

    model = TSNE(
        init="pca",
        perplexity=min(perplexity, (len(features) - 1) / 3),
        max_iter=iterations,
        random_state=randomness.torch_seed(seed, "embedding") % 2**32,
        n_jobs=1,
    )
    return np.asarray(model.fit_transform(features), dtype=np.float32)
