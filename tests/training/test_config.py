"""Recipes: what they accept, and what they say about the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jetprop.training import Phase, Recipe, RecipeError

SMALL = "[training]\nbatch = 4\nsteps = 10\n"

WHOLE = """
[model]
widths = [1681, 256, 256, 256, 128, 9]
activation = "gelu"
init = "torch"

[data]
manifold = "cube"
images = 8192
order = 2
storage = "render"
directions = {random = 2, law = "rademacher"}

[data.options]
side = 0.3

[objective]
weights = [1, 1, 0.1]
normalizers = "printed"
phases = [{from = 0.8, weights = [1, 1, 0]}]

[optimizer]
name = "muon"
rate = 0.02
matrices = ["layers.1.*", "layers.2.weight"]

[optimizer.rest]
name = "adamw"
rate = 1e-3
options = {weight_decay = 0.01}

[schedule]
kind = "steps"
warmup = 0.01
steps = [[0.975, 1e-4], [0.9875, 1e-5]]

[training]
batch = 2310
epochs = 2000
seed = 3
precision = "tf32"
evaluate_every = 42
checkpoint_seconds = 60.0
"""


def test_a_whole_recipe_is_read() -> None:
    recipe = Recipe.parse(WHOLE)
    assert recipe.objective.phases == [Phase.model_validate({"from": 0.8, "weights": [1.0, 1.0, 0.0]})]
    assert recipe.data.options == {"side": 0.3}
    assert recipe.training.epochs == 2000 and recipe.training.steps is None


@pytest.mark.parametrize("text", [SMALL, WHOLE])
@pytest.mark.parametrize("full", [True, False])
def test_written_out_and_read_again_it_is_the_same(text: str, full: bool, tmp_path: Path) -> None:
    recipe = Recipe.parse(text)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.values(full)))
    assert Recipe.load(path).values() == recipe.values()


def test_toml_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(WHOLE)
    assert Recipe.load(path) == Recipe.parse(WHOLE)


def test_keys_are_replaced_by_name() -> None:
    recipe = Recipe.parse(WHOLE).replace({"training.seconds": 5.0, "data.options.side": 0.5, "model.widths": [1681, 9]})
    assert (recipe.training.seconds, recipe.training.epochs) == (5.0, None)
    assert recipe.data.options["side"] == 0.5
    assert recipe.model is not None and recipe.model.widths == [1681, 9]
    with pytest.raises(RecipeError, match='no key "sede"; did you mean "seed"'):
        recipe.replace({"training.sede": 1})
    with pytest.raises(RecipeError, match="no table"):
        recipe.replace({"training.batch.size": 1})


def with_section(text: str) -> str:
    return text + "\n" + SMALL


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[training]\nbach = 4\nsteps = 1", r'\[training\] has no key "bach"; did you mean "batch"\?'),
        ("[training]\nsteps = 1", r"\[training\] batch: missing"),
        ("", r"\[training\]: missing"),
        (with_section("[modell]\nx = 1"), 'no section "modell"; did you mean "model"'),
        (
            with_section("[data]\ndirections = {randm = 2}"),
            r'\[data.directions\] has no key "randm"; did you mean "random"',
        ),
        (with_section("[data]\ndirections = 'some'"), r"directions = 'some': write \"all\" or \{random = k\}"),
        (with_section("[data]\nzzz = 1"), r'no key "zzz". Keys: directions, fresh'),
        (with_section("[objective]\nphases = [{frm = 0.5, weights = [1, 1, 1]}]"), 'did you mean "from"'),
        (with_section("[objective]\nphases = [{from = 1.5, weights = [1, 1, 1]}]"), r"number 1 from = 1.5"),
        (
            with_section(
                "[objective]\nphases = [{from = 0.5, weights = [1, 1, 1]}, {from = 0.2, weights = [1, 1, 1]}]"
            ),
            "ascending",
        ),
        (with_section("[objective]\nphases = [{from = 0.5, weights = [1, 1]}]"), "number 1 has 2 weights.*needs 3"),
        (with_section("[objective]\nweights = [1, 1]"), r"\[objective\] weights has 2 weights"),
        (with_section("[objective]\nweights = [0, 0, 0]"), "not all zero"),
        (with_section("[objective]\nweights = [1, -1, 0]"), "numbers ≥ 0"),
        (with_section("[objective]\nnormalizers = 'recip'"), "normalizers = 'recip'"),
        (with_section("[model]\nwidths = [3]"), "at least an input and an output layer"),
        (with_section("[model]\nwidths = [3, 0]"), "of width ≥ 1"),
        (with_section("[model]\nkind = 'factory'"), "needs factory"),
        (with_section("[model]\nfactory = 'a:b'\nwidths = [3, 2]"), 'widths belongs to kind = "mlp"'),
        (with_section("[model]\nwidths = [3, 2]\noptions = {a = 1}"), 'belong to kind = "factory"'),
        (with_section("[optimizer]\nrest = {name = 'adam'}"), 'rest belongs to name = "muon"'),
        (with_section("[optimizer]\nrate = 0"), "rate = 0"),
        (with_section("[schedule]\nkind = 'steps'"), "belong together"),
        (with_section("[schedule]\nsteps = [[0.5, 0.1]]"), "belong together"),
        (with_section("[schedule]\nkind = 'steps'\nsteps = [[0.5, 0.1, 2]]"), "is no step"),
        (with_section("[schedule]\nkind = 'steps'\nsteps = [[0.5, 0.1], [0.4, 0.1]]"), "ascending"),
        (with_section("[schedule]\nfinal = 0.1"), 'final belongs to kind = "cosine"'),
        (with_section("[data]\nimages = 97021"), "set test_start = 97021 or more"),
        (with_section("[data]\nimages = 3"), "lower it"),
        (with_section("[data]\norder = 0\ndirections = {random = 1}\n"), "need order ≥ 1"),
        ("[training]\nbatch = 4\nepochs = 1\n[data]\nfresh = true", "has no epochs"),
        ("[training]\nbatch = 4\nepochs = 1\nsteps = 1", "exactly one of epochs, steps and seconds, got epochs, steps"),
        ("[training]\nbatch = 4", "got none"),
        ("[training]\nbatch = true\nsteps = 1", "batch = True"),
        ("[training]\nbatch = 3\nsteps = 1\ndevices = 2", "cannot be shared"),
        ("[training]\nbatch = 4\nsteps = 1\nprecision = 'fp16'", "'32-true', '32-medium', 'tf32', .*'64-true'"),
        ("training = 3", r"\[training\] = 3"),
        ("[training", "is no TOML"),
    ],
)
def test_faults_are_named_with_their_place_and_a_remedy(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Recipe.parse(text)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as error:
        Recipe.parse("[training]\nbatch = 0\nsed = 1\nsteps = -1\n[data]\nimges = 3")
    assert all(key in str(error.value) for key in ('"sed"', '"imges"', "batch = 0", "steps = -1"))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nowhere.toml cannot be read"):
        Recipe.load(tmp_path / "nowhere.toml")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(RecipeError, match="is no JSON"):
        Recipe.load(tmp_path / "broken.json")
