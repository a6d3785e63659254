"""PRISM-DFKD: prompt banks, which prompt an image gets, the ablation, refusals, resumption.

Belongs here: methods/prism_dfkd, diffusion/prompt_bank.py and wording.py. Does not belong: the energy
(tests/diffusion/test_energy.py), what the units reach (tests/diffusion/test_data_free.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dd_assets.diffusion.building import build_unet, scheduler_config
from dd_assets.diffusion.captions import captions_of
from dd_assets.diffusion.denoisers import Denoiser
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.prompt_bank import CONTENTS, STYLES, LanguageModel, template_bank, written_bank
from dd_assets.diffusion.registry import Generators
from dd_assets.diffusion.text import HashedText
from dd_assets.diffusion.wording import Bank, definitions
from dd_assets.errors import InputError
from dd_assets.methods.prism_dfkd.recipe import METHOD, VARIANTS, Parameters, refuse
from dd_assets.methods.prism_dfkd.synthesis import combination, prompt_of, prompts_from, synthesise
from dd_assets.methods.registry import method
from dd_assets.methods.request import SyntheticImages
from dd_assets.synthesis.batches import Batch
from dd_assets.synthesis.outputs import logits_of
from tests.diffusion.tiny import TINY, stirred
from tests.methods.requests import digit_facts, request
from tests.models.digits import digits, teacher
from tests.models.interruption import Killed, MemoryCheckpoints

CLASSES = tuple("0123456789")
BANK = template_bank("measured", 1, definitions("digits", CLASSES))
QUICK = Parameters(steps=5, batch=5)


class Listening(HashedText):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        self.asked += list(prompts)
        return super().__call__(prompts)


def reader(encoder: HashedText | None = None) -> Generator:
    """An untrained generator that reads prompts."""
    recipe = replace(TINY, width=8, heads=2, layers=1, reads="text")
    return Generator(
        denoiser=Denoiser(stirred(build_unet(recipe, (1, 8, 8), 128, 0))),
        autoencoder=None,
        scheduler=scheduler_config(recipe),
        classes=CLASSES,
        size=8,
        channels=1,
        text=encoder or HashedText(),
    )


def _made(parameters: Parameters, made: Generator | None = None, ipc: int = 2, **further: Any) -> SyntheticImages:
    asked = request(parameters, ipc, **further)
    asked.generator, asked.prompts = lambda: made or reader(), lambda: BANK
    return synthesise(asked)


def test_a_class_goes_through_all_combinations_before_one_returns() -> None:
    assert BANK.combinations(0) == 16
    first = [combination(BANK, index, 3, 0) for index in range(16)]
    assert sorted(first) == list(range(16))
    assert [combination(BANK, index, 3, 0) for index in range(16, 32)] == first
    # Another class, another draw: another order. Drawing with replacement would repeat one of 16 in ten with p > .9.
    assert [combination(BANK, index, 4, 0) for index in range(16)] != first
    assert [combination(BANK, index, 3, 1) for index in range(16)] != first


def test_a_prompt_says_class_meaning_content_and_style() -> None:
    bank = Bank(definitions=("a wading bird", ""), contents=(("in reeds", "flying"),) * 2, styles=(("at dusk",),) * 2)
    made = {prompt_of(bank, ("grey_crane", "kite"), "a photo of a {name}", index, 0, 0) for index in range(2)}
    assert made == {f"a photo of a grey crane, a wading bird, {place}, at dusk" for place in ("in reeds", "flying")}
    plain = prompt_of(bank, ("grey_crane", "kite"), "{name}", 0, 1, 0)
    assert plain in ("kite, in reeds, at dusk", "kite, flying, at dusk")


def test_a_prompt_belongs_to_its_row_whatever_the_batch() -> None:
    asked = prompts_from(BANK, CLASSES, QUICK, 0)
    whole = asked(Batch(*np.divmod(np.arange(30), 10)))
    parts = [asked(Batch(np.array([row // 10]), np.array([row % 10])))[0] for row in range(30)]
    assert list(whole) == parts
    assert all(prompt.startswith(f"{row % 10}, the handwritten digit") for row, prompt in enumerate(whole))
    assert len(set(whole)) == 30


def test_prompts_of_the_measured_bank_are_captions_that_images_have() -> None:
    # A word that no caption has would be noise to a generator that was trained on the captions.
    train, _ = digits()
    trained = set(captions_of(train, CLASSES, definitions("digits", CLASSES)).flatten())
    asked = prompts_from(BANK, CLASSES, QUICK, 0)(Batch(*np.divmod(np.arange(160), 10)))
    known = {word for caption in trained for word in caption.split(", ")}
    assert {word for prompt in asked for word in prompt.split(", ")} <= known
    assert np.mean([prompt in trained for prompt in asked]) > 0.9
    assert len(template_bank("measured", 3, ("",)).styles[0]) == 6


def test_the_generator_is_asked_for_them_and_without_dpe_for_the_class() -> None:
    listening = Listening()
    made = _made(QUICK, reader(listening))
    asked = [prompt for prompt in listening.asked if prompt]
    expected = prompts_from(BANK, CLASSES, QUICK, 0)(Batch(*np.divmod(np.arange(20), 10)))
    assert asked == list(expected)
    phrases = [BANK.phrases(row % 10, int(number)) for row, number in enumerate(made.columns["prompt"])]
    assert [prompt.split(", ")[2:] for prompt in asked] == [list(pair) for pair in phrases]
    listening.asked.clear()
    plain = _made(replace(QUICK, diversify=False), reader(listening))
    assert [prompt for prompt in listening.asked if prompt] == list(CLASSES) * 2
    assert "prompt" not in plain.columns
    assert not np.array_equal(plain.images, made.images)


def test_the_ablation_turns_each_part_off() -> None:
    by_name = {entry.name: entry.recipe_for("digits").parameters for entry in (METHOD, *VARIANTS)}
    parts = {name: (given.strength > 0, given.diversify) for name, given in by_name.items()}
    assert parts == {
        "prism_dfkd": (True, True),
        "prism_dfkd_no_energy": (False, True),
        "prism_dfkd_no_prompts": (True, False),
        "prism_dfkd_plain": (False, False),
    }
    reads = {entry.name: entry.reads_prompts(entry.recipe_for("digits").parameters) for entry in (METHOD, *VARIANTS)}
    assert reads == {name: prompts for name, (_, prompts) in parts.items()}
    assert not method("d4m").reads_prompts(method("d4m").recipe_for("digits").parameters)


def test_energy_guidance_lowers_the_energy_of_what_is_saved() -> None:
    made = reader()
    plain, guided = (_made(replace(QUICK, steps=10, strength=s), made).columns["energy"] for s in (0.0, 0.3))
    assert guided.mean() < plain.mean() - 1
    # Strength 0 is plain sampling bit for bit.
    off = _made(replace(QUICK, strength=0.0, level_low=0.0, level_high=1.0), made)
    assert np.array_equal(off.images, _made(replace(QUICK, strength=0.0), made).images)
    assert off.curves["guided"].tolist() == [0]


def test_the_class_weight_reaches_the_guidance() -> None:
    made, judge = reader(), teacher()

    def own(weight: float) -> float:
        """Mean log p(y | x) of the finished images."""
        drawn = _made(replace(QUICK, steps=10, strength=0.3, class_weight=weight), made)
        logits = logits_of(judge, drawn.images, digit_facts().normalisation, "cpu")
        return float(torch.log_softmax(logits, dim=1)[torch.arange(len(logits)), torch.from_numpy(drawn.labels)].mean())

    assert own(5.0) > own(0.0) + 1


def test_a_killed_shard_goes_on_with_the_same_images() -> None:
    made, whole = reader(), _made(QUICK, reader())
    place = MemoryCheckpoints(die_after=1)
    with pytest.raises(Killed):
        _made(QUICK, made, checkpoints=place)
    again = _made(QUICK, made, checkpoints=place)
    parts = [_made(QUICK, made, first=k, last=k + 1) for k in range(2)]
    for column in ("energy", "prompt"):
        assert np.array_equal(again.columns[column], whole.columns[column])
        assert np.allclose(np.concatenate([part.columns[column] for part in parts]), whole.columns[column], atol=1e-5)
    assert np.array_equal(again.images, whole.images)
    assert np.array_equal(np.concatenate([part.images for part in parts]), whole.images)


def test_what_cannot_apply_has_a_reason() -> None:
    facts = replace(digit_facts(), generators=("text",))
    own = method("prism_dfkd").recipe_for("digits").parameters
    assert method("prism_dfkd").reason_against(own, facts, 10) is None
    assert "centroids" in str(refuse(replace(own, start="centroid"), facts, 1))
    assert "need condition: text" in str(refuse(replace(own, condition="class"), facts, 1))
    assert refuse(replace(own, condition="class", diversify=False), facts, 1) is None
    assert "no range" in str(refuse(replace(own, level_low=0.9), facts, 1))
    assert "strength=-1" in str(refuse(replace(own, strength=-1.0), facts, 1))
    assert refuse(replace(own, bank="opn"), facts, 1) == "bank 'opn' is neither measured nor open"  # type: ignore[arg-type]
    assert refuse(replace(own, prompt="a photo"), facts, 1) == (
        "diversified prompts begin with the class: prompt 'a photo' has no {name} in it"
    )
    assert refuse(replace(own, prompt="a photo", condition="class", diversify=False), facts, 1) is None


def _lines(count: int, what: str) -> str:
    return "\n".join(f"{n + 1}. {what} {n}, and more." for n in range(count))


def test_a_language_model_writes_what_the_templates_leave_open() -> None:
    asked = []

    def complete(prompt: str) -> str:
        asked.append(prompt)
        if prompt.startswith("In a few words"):
            return " a machine that lifts loads.\nIt is tall."
        return _lines(20, "scene" if "scenes" in prompt else "look")

    bank = written_bank(complete, ("tower_crane", "egret"), ("", "a white wading bird"))
    assert bank.definitions == ("a machine that lifts loads", "a white wading bird")
    assert bank.contents[0][0] == "scene 0 and more"
    assert (len(bank.contents[1]), len(bank.styles[1])) == (CONTENTS, STYLES)
    assert not any("," in phrase for phrase in (*bank.contents[0], *bank.styles[0]))
    # What is known is not asked again, and what was answered is told on.
    assert len(asked) == 5
    assert "tower crane (a machine that lifts loads)" in asked[1]


def test_a_bank_does_not_shrink_in_silence() -> None:
    with pytest.raises(InputError, match=f"wrote 3 phrases about 'egret', {CONTENTS} are needed"):
        written_bank(lambda prompt: _lines(3, "scene") + "\n1. scene 0, and more", ("egret",), ("a bird",))


def test_a_language_model_comes_from_a_folder_and_repeats_itself(tmp_path: Path) -> None:
    from transformers import BertTokenizer, GPT2Config, GPT2LMHeadModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dark", "wide", "bright", "narrow"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    config = GPT2Config(vocab_size=9, n_positions=512, n_embd=8, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(tmp_path / "lm", safe_serialization=True)
    with pytest.raises(InputError, match=r"lacks tokenizer_config\.json"):
        LanguageModel(tmp_path / "lm")
    BertTokenizer(str(tmp_path / "vocab.txt"), model_input_names=["input_ids", "attention_mask"]).save_pretrained(
        tmp_path / "lm"
    )
    writes = LanguageModel(tmp_path / "lm")
    answer = writes("dark wide")
    assert answer
    assert writes("dark wide") == answer
    assert LanguageModel(tmp_path / "lm")("dark wide") == answer


def test_settings_name_generators_that_read_text_and_a_language_model(tmp_path: Path) -> None:
    from dd_assets.datasets.user_settings import read_settings
    from dd_assets.diffusion.recipes import RECIPES

    path = tmp_path / "settings.yaml"
    path.write_text(
        "own: {base: digits, generators: {text: {iterations: 7}, language_model: qwen},"
        " recipes: {prism_dfkd: {generator: foreign_text}}}\n"
    )
    made = read_settings(path)[0].generators
    assert made.text == replace(RECIPES["digits_text"], iterations=7)
    assert made.language_model == "qwen"
    assert made.names() == ("small", "text", "foreign", "foreign_text", "minimax")
    assert Generators(foreign="mnist").names() == ("foreign",)
