import numpy as np
import pytest

from export.errors import ExportError
from export.zoo.data import captions, scenes
from export.zoo.data.digits import load_digits
from tests.support.models.reference import Reference


class Published(Reference):
    """The model in the store, looped as the manifest says."""

    def write(self, image):
        """The sentence of one picture float32 [3, 96, 96], and the logarithm of its probability."""
        facts, loop = self.manifest.writing, self.manifest.loop
        begun = self.predict({self.manifest.image.input: image[None]}, loop.start)
        carried = {
            tensor.name: np.zeros((1, *tensor.row_shape), np.float32)
            for tensor in self.manifest.graphs["main"].inputs
            if tensor.name in {carry.input for carry in loop.carries}
        } | {carry.input: begun[carry.start] for carry in loop.carries if carry.start}
        (token,), written, total = facts.begin, "", 0.0
        for step in range(loop.max_steps):
            answer = self.predict({**carried, facts.token: np.array([token]), facts.position: np.array([step])})
            carried |= {carry.input: answer[carry.output] for carry in loop.carries if carry.output}
            token = int(answer[facts.scores][0].argmax())
            total += float(answer[facts.scores][0, token])
            if token in facts.ends:
                return written, total
            written += facts.symbols[token]
        raise AssertionError(f"came to no end: {written!r}")


@pytest.fixture(scope="module")
def recipe():
    pytest.importorskip("torch")
    from export.zoo.scenes import digits_captioner

    return digits_captioner


@pytest.fixture(scope="module")
def published():
    return Published("digits-captioner")


def make_source(level=255):
    """Digits of the validation part on an even photograph."""
    return scenes.Source((np.full((200, 300, 3), level, np.uint8),), load_digits().validation)


@pytest.fixture(scope="module")
def drawn():
    return captions.draw_captioned(make_source(), 120, np.random.default_rng(0))


def test_token_and_position_beyond_the_tables_are_refused(published):
    """An unknown symbol and a step after the last fail the run, and the error names the table."""
    given = {
        tensor.name: np.zeros((1, *tensor.row_shape), np.float32 if tensor.datatype == "FP32" else np.int64)
        for tensor in published.manifest.graphs["main"].inputs
    }
    for name in ("token", "position"):
        with pytest.raises(ExportError, match=r"indices|out of"):
            published.predict({**given, name: np.array([10_000])})


def test_sentence_without_end_is_cut_at_the_last_step(recipe):
    """A model that never writes the end symbol is stopped at the last step."""

    def predict(inputs, graph="main"):
        if graph == "encode":
            return {}
        rows = len(inputs["token"])
        scores = np.tile(np.arange(len(captions.SYMBOLS)) == captions.SYMBOLS.index(" a"), (rows, 1))
        return {"scores": scores, "next_keys": inputs["keys"], "next_values": inputs["values"]}

    assert recipe.write(predict, np.zeros((2, 3, 8, 8))) == [" a" * recipe.MAX_STEPS] * 2


@pytest.mark.parametrize(
    ("digits", "sentence"),
    [
        ([], "no digit"),
        ([(4, 8)], "an 8 in the middle"),
        ([(0, 3), (8, 7)], "a 3 at the top left and a 7 at the bottom right"),
        ([(1, 0), (3, 8), (5, 1)], "a 0 at the top, an 8 on the left and a 1 on the right"),
    ],
)
def test_sentence_lists_the_digits_with_their_places(digits, sentence):
    """Articles, commas and the last "and" are those of English."""
    assert captions.read(captions.write(digits)) == sentence


def test_every_digit_lies_in_a_ninth_of_its_own(drawn):
    """No two digits of a scene share a name for their place."""
    assert {len(scene.labels) for scene in drawn} == {0, 1, 2}
    places = [region for scene in drawn for region, _ in captions.list_digits(scene)]
    assert set(places) == set(range(9))
    for scene in drawn:
        assert len({region for region, _ in captions.list_digits(scene)}) == len(scene.labels)


def test_scene_full_of_digits_keeps_them_apart():
    """A scene may have more digits than a sentence, and no two overlap."""
    counts = []
    for scene in captions.draw_scenes(make_source(), [9] * 20, np.random.default_rng(1)):
        counts.append(len(scene.labels))
        for position, (left, top, right, bottom) in enumerate(scene.boxes):
            others = np.delete(scene.boxes, position, axis=0)
            apart = (others[:, 0] >= right) | (others[:, 2] <= left) | (others[:, 1] >= bottom) | (others[:, 3] <= top)
            assert apart.all()
    assert max(counts) > captions.MOST_DIGITS


def test_every_sentence_fits_into_the_cache(drawn, recipe):
    """The longest sentence, and its end, take no more steps than the loop has."""
    token, target = captions.encode(drawn)
    assert all((target == captions.END).sum(axis=1) == 1)
    assert np.array_equal(token[:, 1:], target[:, :-1])
    assert all(token[:, 0] == captions.BEGIN)
    assert target.shape[1] <= recipe.MAX_STEPS
    longest = [(region, 1) for region in (0, 2)]
    assert len(captions.write(longest)) + 1 == recipe.MAX_STEPS


def test_steps_one_by_one_are_the_steps_at_once(recipe):
    """With its cache, the decoder gives the same scores in a loop as for the whole sentence."""
    torch = pytest.importorskip("torch")
    from export.zoo.scenes.caption_networks import CACHE, Captioner

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Captioner().eval()
        memory = model.encoder(torch.rand(3, 3, captions.SIDE, captions.SIDE) * 255)
        tokens = torch.randint(len(captions.SYMBOLS), (3, recipe.MAX_STEPS))
        together = model.decoder.follow(tokens, *memory)
        keys = values = torch.zeros(3, *CACHE)
        for step in range(recipe.MAX_STEPS):
            position = torch.full((3,), step)
            scores, keys, values = model.decoder(tokens[:, step], position, keys, values, *memory)
            assert torch.allclose(scores, together[:, step], atol=1e-5)


def test_what_the_cache_holds_of_later_steps_changes_nothing(published):
    """Keys and values at places that are not yet written do not count."""
    generator = np.random.default_rng(0)
    given = {
        tensor.name: generator.normal(size=(2, *tensor.row_shape)).astype(np.float32)
        for tensor in published.manifest.graphs["main"].inputs
        if tensor.datatype == "FP32"
    } | {"token": np.array([3, 4]), "position": np.array([5, 5])}
    changed = {name: array.copy() for name, array in given.items()}
    for name in ("keys", "values"):
        changed[name][:, :, :, 6:] = 9
    first, second = (published.predict(inputs)["scores"] for inputs in (given, changed))
    assert np.array_equal(first, second)


@pytest.mark.slow
def test_published_captioner_reaches_its_bar(recipe, published):
    """At least 95 % of the sentences about held-out digits are right, as the manifest says."""
    pytest.importorskip("skimage")
    quality = recipe.measure_quality(published.predict, captions.load_sources().test)
    assert dict(published.manifest.quality.bar) == {"exact_match": 0.95}
    assert quality.metrics["exact_match"] >= 0.95
    assert dict(quality.metrics) == pytest.approx(dict(published.manifest.quality.metrics), abs=0.01)


def test_manifest_says_how_the_loop_runs(published):
    """A loop that follows the manifest says where the digits of a picture are, and is sure of it."""
    drawn = captions.draw_captioned(make_source(40), 12, np.random.default_rng(5))
    image = published.manifest.image
    assert (image.graph, image.height, image.width, image.resize) == ("encode", captions.SIDE, captions.SIDE, "fit")
    right = 0
    for scene, row in zip(drawn, scenes.stack_images(drawn), strict=True):
        written, total = published.write(row)
        right += written == captions.read(captions.write(captions.list_digits(scene)))
        assert total <= 0
    assert right >= 10


def test_row_keeps_its_bits_in_a_batch(published):
    """From two rows on, the other rows of a batch do not change a row's bits."""
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 255, (17, 3, captions.SIDE, captions.SIDE)).astype(np.float32)
    memory = published.predict({"image": images}, "encode")
    step = {
        tensor.name: generator.normal(size=(17, *tensor.row_shape)).astype(np.float32)
        for tensor in published.manifest.graphs["main"].inputs
        if tensor.name in ("keys", "values")
    } | {"token": np.arange(17), "position": np.arange(17) % published.manifest.loop.max_steps}
    answers = {**memory, **published.predict({**memory, **step})}
    for row in (0, 8, 16):
        pair = [row, row]
        alone = published.predict({"image": images[pair]}, "encode")
        alone |= published.predict({**alone, **{name: array[pair] for name, array in step.items()}})
        assert all(np.array_equal(alone[name][0], answers[name][row]) for name in answers)
