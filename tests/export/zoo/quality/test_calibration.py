import numpy as np
import pytest

from export.zoo.quality.calibration import fit_temperature, measure_calibration_error


def make_logits(rows, temperature):
    """Logits whose softmax at ``temperature`` is the true distribution of the labels."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(rows, 5)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([generator.choice(5, p=p) for p in probabilities])
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_of_scaled_logits_is_found(temperature):
    """Logits that are too large by a factor get that factor as their temperature."""
    logits, labels = make_logits(5000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.1)


def test_no_mistake_does_not_ask_for_certainty():
    """Two hundred rows without an error leave the temperature above its lower bound."""
    labels = np.arange(200) % 5
    temperature = fit_temperature(np.eye(5)[labels] * 6, labels)
    confidence = 1 / (1 + 4 * np.exp(-6 / temperature))
    assert confidence == pytest.approx(201 / 202, abs=1e-3)


def test_certain_and_wrong_has_the_largest_calibration_error():
    """Full confidence in the wrong class is an error of one, in the right class of zero."""
    certain = np.eye(3)
    assert measure_calibration_error(certain, np.array([0, 1, 2])) == 0
    assert measure_calibration_error(certain, np.array([1, 2, 0])) == 1


def test_calibration_error_weighs_bins_by_their_rows():
    """Three right rows at 0.8 and one wrong row at 0.6 give 3/4 of 0.2 plus 1/4 of 0.6."""
    probabilities = np.array([[0.8, 0.2]] * 3 + [[0.6, 0.4]])
    assert measure_calibration_error(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(0.3)
