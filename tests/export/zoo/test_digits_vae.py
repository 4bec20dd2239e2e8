import numpy as np
import pytest

from export.zoo.data.digits import Part, load_digits
from export.zoo.quality.judge import judge
from tests.support.models.reference import Reference


@pytest.fixture(scope="module")
def published():
    return Reference("digits-vae")


def test_published_anomaly_score_tells_digits_from_what_is_none(published):
    """At the stored threshold few digits are anomalies, and nearly all noise and inverted digits are."""
    pytest.importorskip("torch")
    from export.zoo.digits_vae import draw_anomalies, measure_auroc

    test = load_digits().test
    manifest = published.manifest
    anomaly, threshold = manifest.reconstruction.anomaly, manifest.reconstruction.threshold
    usual = published.predict({"image": test.images})[anomaly]
    assert np.mean(usual > threshold) == pytest.approx(manifest.quality.metrics["false_alarm_rate"], abs=1 / 450)
    assert np.mean(usual > threshold) <= 0.05
    for images in draw_anomalies(test).values():
        odd = published.predict({"image": images})[anomaly]
        assert measure_auroc(usual, odd) >= 0.95
        assert np.mean(odd > threshold) >= 0.9


def test_reconstruction_is_the_digit_that_was_sent(published):
    """A test digit comes back as its class; the error is the root mean square over its pixels."""
    test = load_digits().test
    outputs, facts = published.predict({"image": test.images}), published.manifest.reconstruction
    difference = (outputs[facts.output] - test.images).reshape(450, -1)
    assert np.mean(judge(outputs[facts.output]) == test.labels) >= 0.95
    assert outputs[facts.error] == pytest.approx(np.sqrt(np.mean(difference**2, axis=1)), rel=1e-4)
    assert outputs["latent"].shape == (450, 6)


def test_anomaly_score_is_made_of_error_and_style(published):
    """The score is the squared error in units of the training spread plus the squared latent."""
    outputs = published.predict({"image": load_digits().test.images})
    expected = 10 * 64 * (outputs["error"] / 16) ** 2 + (outputs["latent"] ** 2).sum(1) / 2
    assert outputs["anomaly"] == pytest.approx(expected, rel=1e-4)


def test_latent_mean_of_digits_lies_where_noise_is_drawn(published):
    """Real digits lie in the part of the latent space that the decoder samples from."""
    latent = published.predict({"image": load_digits().test.images})["latent"]
    assert np.abs(latent.mean(0)).max() < 0.4
    assert latent.std(0).max() < 1.3


def test_anomalies_are_pictures_in_range_and_always_the_same():
    """Noise and inverted digits have pixel values; an inverted picture is 16 minus the picture."""
    pytest.importorskip("torch")
    from export.zoo.digits_vae import draw_anomalies

    images = 16 * np.random.default_rng(3).random((30, 1, 8, 8), dtype=np.float32)
    part = Part(images, np.zeros(30, np.int64))
    anomalies, again = draw_anomalies(part), draw_anomalies(part)
    assert set(anomalies) == {"uniform", "gaussian", "inverted"}
    assert np.array_equal(anomalies["inverted"], 16 - images)
    for kind, made in anomalies.items():
        assert np.array_equal(made, again[kind])
        assert (made.shape, made.dtype) == (images.shape, np.float32)
        assert made.min() >= 0
        assert made.max() <= 16


def test_auroc_is_the_chance_that_the_odd_one_scores_higher():
    """Separated scores give 1, equal ones 0.5, reversed ones 0; a tie counts half."""
    pytest.importorskip("torch")
    from export.zoo.digits_vae import measure_auroc

    low, high = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    assert measure_auroc(low, high) == 1
    assert measure_auroc(high, low) == 0
    assert measure_auroc(low, low) == 0.5
    assert measure_auroc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5


def test_decoder_and_reconstruction_agree_where_the_label_is_certain():
    """The mean of label embeddings under a probability of one is that label's embedding."""
    torch = pytest.importorskip("torch")
    from export.zoo.digits_vae import Decoder

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        decoder = Decoder()
        noise, label = torch.randn(10, 6), torch.arange(10)
        certain = torch.eye(10) @ decoder.label.weight
        assert torch.allclose(decoder.draw(noise, certain), decoder(noise, label), atol=1e-6)
