import numpy as np
import pytest

from export.errors import ExportError
from export.zoo.data.digits import load_digits
from tests.support.models.reference import Reference


@pytest.fixture(scope="module")
def published():
    return Reference("digits-gan")


def draw(rows, seed):
    noise = np.random.default_rng(seed).standard_normal((rows, 32), dtype=np.float32)
    return {"noise": noise, "label": np.arange(rows) % 10}


def test_made_digits_are_pictures(published):
    """Drawn pictures have the shape, datatype and range of a picture for any noise."""
    inputs = draw(20, seed=1)
    made = published.graphs["main"].run({**inputs, "noise": inputs["noise"] * 100})["image"]
    assert (made.shape, made.dtype) == ((20, 1, 8, 8), np.float32)
    assert made.min() >= 0
    assert made.max() <= 16


def test_label_that_is_out_of_range_is_an_error(published):
    """The graph fails for a label above 9."""
    with pytest.raises(ExportError, match="out of"):
        published.graphs["main"].run({**draw(2, seed=0), "label": np.array([0, 10])})


def test_published_critic_tells_labels_and_noise_from_digits(published):
    """Most test digits score highest under their own label, and above noise of the same brightness."""
    test = load_digits().test
    critic = published.graphs["realism"]
    scores = np.stack(
        [critic.run({"image": test.images, "label": np.full(450, label)})["score"] for label in range(10)], axis=1
    )
    accuracy = np.mean(scores.argmax(1) == test.labels)
    assert accuracy == pytest.approx(published.manifest.quality.metrics["label_accuracy"], abs=2 / 450)
    assert accuracy >= 0.85
    noise = np.random.default_rng(0).permuted(test.images.reshape(450, 64), axis=1).reshape(test.images.shape)
    below = critic.run({"image": noise, "label": test.labels})["score"]
    assert np.mean(scores[np.arange(450), test.labels] > below) >= 0.9


def test_drawn_inputs_are_the_same_every_time_and_balanced():
    """Quality is measured on the same noise each time, with equally many of each label."""
    pytest.importorskip("torch")
    from export.zoo.digits_gan import draw_inputs

    first, again = draw_inputs(1000), draw_inputs(1000)
    assert all(np.array_equal(first[name], again[name]) for name in ("noise", "label"))
    assert (first["noise"].dtype, first["noise"].shape) == (np.float32, (1000, 32))
    assert np.bincount(first["label"]).tolist() == [100] * 10


def test_folding_the_critic_does_not_change_its_scores():
    """Plain weights give the same scores as normalised ones, and no layer amplifies."""
    torch = pytest.importorskip("torch")
    from export.zoo.digits_gan import Critic

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        critic = Critic()
        for _ in range(50):  # the power iteration finds the norms
            critic(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))
        critic.eval()
        image, label = 16 * torch.rand(5, 1, 8, 8), torch.tensor([0, 3, 9, 3, 1])
        before = critic(image, label)
        critic.fold()
    assert torch.equal(critic(image, label), before)
    assert sorted(critic.state_dict()) == sorted(f"layers.{n}.{part}" for n in (1, 3, 5) for part in ("weight", "bias"))
    for layer in (1, 3, 5):
        weight = critic.layers[layer].weight.detach()
        assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, abs=0.02)


def test_critic_scores_the_label_that_is_asked_for():
    """A row's score is that of its own label, and does not depend on other rows."""
    torch = pytest.importorskip("torch")
    from export.zoo.digits_gan import Critic

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        critic = Critic().eval()
        image = 16 * torch.rand(1, 1, 8, 8).expand(10, -1, -1, -1)
        every = critic(image, torch.arange(10))
        assert torch.allclose(critic(image, torch.arange(10).flip(0)), every.flip(0), atol=1e-6)
    assert every.shape == (10,)
    assert len(every.unique()) == 10
