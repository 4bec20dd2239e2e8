import json
import subprocess
import sys

import numpy as np
import pytest

from export import QualityError, UnknownRecipe
from export.zoo import RECIPES, load_recipe
from export.zoo.data.digits import load_digits
from model_store import Store


def test_unknown_recipe_says_what_there_is():
    """The message names the recipes that exist."""
    with pytest.raises(UnknownRecipe, match=r"there are .*digits-classifier"):
        load_recipe("nope")


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_of_the_registry_offers_what_a_recipe_offers(name):
    """Every registered module can train, and its model has the registered name."""
    pytest.importorskip("torch")
    recipe = load_recipe(name)
    assert callable(recipe.train)
    assert name == recipe.NAME


def test_digits_are_split_without_overlap_and_always_alike():
    """Every picture is in one part, 450 are for the test, and every part has all labels."""
    parts = [load_digits().train, load_digits().validation, load_digits().test]
    assert [len(part.labels) for part in parts] == [1122, 225, 450]
    assert all(set(part.labels) == set(range(10)) for part in parts)
    again = load_digits()
    assert np.array_equal(parts[2].images, again.test.images)
    pictures = np.concatenate([part.images.reshape(-1, 64) for part in parts])
    assert len(np.unique(pictures, axis=0)) == len(pictures) == 1797
    assert (pictures.min(), pictures.max(), pictures.dtype) == (0, 16, np.float32)


def test_shifted_pictures_keep_their_ink():
    """A shift moves a picture by one pixel at most, and fills with paper."""
    torch = pytest.importorskip("torch")
    from export.zoo.digits_classifier import _shift

    pictures = torch.zeros(200, 1, 8, 8)
    pictures[:, 0, 4, 3] = 16.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        moved = _shift(pictures)
    places = moved[:, 0].flatten(1).argmax(1)
    assert moved.shape == pictures.shape
    assert torch.equal(moved.sum((1, 2, 3)), pictures.sum((1, 2, 3)))
    assert set(zip((places // 8).tolist(), (places % 8).tolist(), strict=True)) == {
        (y, x) for y in (3, 4, 5) for x in (2, 3, 4)
    }


def test_calibration_that_is_off_is_refused():
    """An accurate classifier that is not calibrated is not published."""
    pytest.importorskip("torch")
    from export.zoo.digits_classifier import measure_quality

    test = load_digits().test
    unsure = np.full((450, 10), 0.05, np.float32)
    unsure[np.arange(450), test.labels] = 0.55
    with pytest.raises(QualityError, match=r"calibration error on the test part: expected at most 0\.02, got 0\.45"):
        measure_quality(lambda inputs: {"probabilities": unsure}, test)


@pytest.mark.slow
def test_training_twice_gives_the_same_file(tmp_path):
    """The same seed gives the same digest in two processes, with an accuracy over the bar."""
    pytest.importorskip("torch")
    code = (
        "import argparse, sys; from export import cli; p = argparse.ArgumentParser(); cli.train_arguments(p); "
        "sys.exit(cli.train(p.parse_args(sys.argv[1:])))"
    )
    words = ["digits-classifier", "--seed", "0", "--json", "--store", str(tmp_path)]
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["published"][0]["quality"]["accuracy"] >= 0.99
    first, second = (version.read_manifest() for version in Store(tmp_path).versions("digits-classifier"))
    assert first.files == second.files
