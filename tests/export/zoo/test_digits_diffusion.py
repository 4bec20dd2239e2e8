import numpy as np
import pytest

from export.errors import ExportError
from export.zoo.data.digits import load_digits
from export.zoo.quality.judge import measure_generation
from tests.support.models.reference import Reference


@pytest.fixture(scope="module")
def published():
    return Reference("digits-diffusion")


def make_inputs(rows, seed, time, next_time, eta=0.0):
    """One step of ``rows`` samples that are at one level, with labels in turn and the usual guidance."""
    sample, noise = np.random.default_rng(seed).standard_normal((2, rows, 1, 8, 8), dtype=np.float32)
    levels = {"time": np.full(rows, time), "next_time": np.full(rows, next_time)}
    strengths = {"guidance": np.full(rows, 0.5, np.float32), "eta": np.full(rows, eta, np.float32)}
    return {"sample": sample, **levels, "label": np.arange(rows) % 10, "noise": noise, **strengths}


def run_loop(published, inputs, steps):
    """The loop as the manifest describes it, from the noise in ``inputs`` to the picture: what the last step shows."""
    facts, (carry,) = published.manifest.generation.diffusion, published.manifest.loop.carries
    generator = np.random.default_rng(2)
    times = np.linspace(facts.times - 1, 0, steps).round().astype(np.int64)
    for time, next_time in zip(times, [*times[1:], -1], strict=True):
        levels = {facts.time: time, facts.next_time: next_time}
        inputs = {**inputs, **{name: np.full_like(inputs["label"], level) for name, level in levels.items()}}
        inputs[facts.step_noise] = generator.standard_normal(inputs["sample"].shape, dtype=np.float32)
        outputs = published.predict(inputs)
        inputs[carry.input] = outputs[carry.output]
    return outputs[published.manifest.generation.output]


def test_label_that_is_out_of_range_is_an_error(published):
    """The graph fails for a label above 9."""
    for label in (10, 11):
        with pytest.raises(ExportError, match="out of"):
            published.predict({**make_inputs(2, 0, 199, 100), "label": np.array([0, label])})


def test_level_that_is_out_of_range_is_an_error(published):
    """The graph fails for a level above that of pure noise."""
    with pytest.raises(ExportError, match=r"out of|out-of|[Ii]nvalid"):
        published.predict(make_inputs(2, 0, 200, 100))


@pytest.mark.slow
def test_published_loop_reaches_its_bar(published):
    """Twenty steps of version 1 draw the digits that were asked for, as varied as the manifest says."""
    inputs, steps = make_inputs(1000, 0, 199, 0), published.manifest.generation.diffusion.steps
    parts = [{name: array[i : i + 50] for name, array in inputs.items()} for i in range(0, 1000, 50)]  # fit the cache
    made = np.concatenate([run_loop(published, part, steps) for part in parts])
    metrics = measure_generation(made, inputs["label"], load_digits().test)
    assert published.manifest.quality.bar == {"agreement": 0.98, "least_class_agreement": 0.93, "diversity": 0.7}
    for name, least in published.manifest.quality.bar.items():
        assert metrics[name] >= least
        assert metrics[name] == pytest.approx(published.manifest.quality.metrics[name], abs=0.002)
    assert (made.shape, made.dtype) == ((1000, 1, 8, 8), np.float32)
    assert made.min() >= 0
    assert made.max() <= 16


def test_loop_with_fresh_noise_draws_digits_too(published):
    """With new noise in every step (DDPM, eta 1) nearly all pictures are of their class as well."""
    inputs = make_inputs(100, 1, 199, 0, eta=1.0)
    made = run_loop(published, inputs, steps=20)
    assert measure_generation(made, inputs["label"], load_digits().test)["agreement"] >= 0.97


def test_last_step_leaves_the_finished_picture(published):
    """At the level -1 the sample is the preview, scaled from -1..1 to 0..16, without noise."""
    quiet, noisy = (published.predict(make_inputs(20, 0, 9, -1, eta)) for eta in (0.0, 1.0))
    assert np.array_equal(quiet["next_sample"], noisy["next_sample"])
    assert quiet["preview"] == pytest.approx((quiet["next_sample"].clip(-1, 1) + 1) * 8, abs=1e-4)


def test_rows_at_different_steps_share_a_batch(published):
    """A row has the same bits alone and among rows of other levels, labels and strengths."""
    generator = np.random.default_rng(3)
    rows = 33
    time = generator.integers(0, 200, rows)
    strengths = {name: generator.random(rows, dtype=np.float32) for name in ("guidance", "eta")}
    inputs = {**make_inputs(rows, 3, 0, 0), "time": time, "next_time": generator.integers(-1, time), **strengths}
    together = published.predict(inputs)
    for row in range(rows):
        alone = published.predict({name: array[[row, row]] for name, array in inputs.items()})
        assert all(np.array_equal(alone[name][0], together[name][row]) for name in together)


def test_guidance_pushes_away_from_what_no_label_gives(published):
    """The preview moves along a line with the guidance; at -1 it does not depend on the label."""
    inputs = make_inputs(10, 4, 120, 100)
    inputs["sample"] = inputs["sample"][[0] * 10] * 0.1  # faint, so that no preview is cut off at the ends

    def step(guidance):
        return published.predict({**inputs, "guidance": np.full(10, guidance, np.float32)})["next_sample"]

    without, plain, strong = step(-1), step(0), step(1)
    assert np.ptp(without, axis=0).max() < 1e-5
    assert np.ptp(plain, axis=0).max() > 0.1
    assert strong - plain == pytest.approx(plain - without, abs=1e-5)


def test_manifest_says_how_the_loop_runs(published):
    """The loop carries the sample and shows the preview."""
    facts = published.manifest.generation
    assert (facts.output, facts.noise, facts.diffusion.preview) == ("preview", "sample", "preview")
    assert [(carry.input, carry.output) for carry in published.manifest.loop.carries] == [("sample", "next_sample")]
    assert (facts.diffusion.steps, facts.diffusion.times, published.manifest.loop.max_steps) == (20, 200, 200)
    assert facts.picture.scale * 255 == pytest.approx(16)


def test_schedule_falls_from_the_picture_to_pure_noise():
    """The picture's share is 1 without noise, falls at every level, and is 0 at the last."""
    pytest.importorskip("torch")
    from export.zoo.digits_diffusion import make_schedule

    share = make_schedule()
    assert (share.shape, share.dtype, share[0]) == ((201,), np.float32, 1)
    assert np.all(np.diff(share) < 0)
    assert 0 < share[-1] < 1e-30


def test_steps_lead_from_pure_noise_to_none():
    """Any number of steps begins at 199 and ends at -1, each where the one before ended."""
    pytest.importorskip("torch")
    from export.zoo.digits_diffusion import list_times

    for steps in (1, 2, 20, 50, 200):
        times, next_times = list_times(steps)
        assert (len(times), times[0], next_times[-1]) == (steps, 199, -1)
        assert np.array_equal(times[1:], next_times[:-1])
        assert np.all(next_times < times)
    assert list_times(5)[0].tolist() == [199, 149, 100, 50, 0]


def test_update_is_that_of_the_papers(one_thread):
    """DDPM (eta 1) has the mean and variance of the true posterior; DDIM (eta 0) keeps the noise."""
    torch = pytest.importorskip("torch")
    from export.zoo.digits_diffusion import DenoisingStep, make_schedule

    step = DenoisingStep().eval()
    image, noise = torch.rand(6, 1, 8, 8) * 2 - 1, torch.randn(6, 1, 8, 8)
    time, next_time = torch.tensor([199, 150, 100, 50, 10, 1]), torch.tensor([198, 140, 50, 49, 0, 0])
    now, later = (torch.from_numpy(make_schedule())[t + 1].view(-1, 1, 1, 1).double() for t in (time, next_time))
    sample = (now.sqrt() * image + (1 - now).sqrt() * noise).float()
    velocity = (now.sqrt() * noise - (1 - now).sqrt() * image).float()
    step.denoiser.forward = lambda sample, *others: torch.cat([velocity, velocity])  # knows the picture
    others = (torch.zeros(6, dtype=torch.long), torch.zeros(6))
    zeros, ones = torch.zeros_like(image), torch.ones_like(image)
    with torch.no_grad():
        ddim, preview = step(sample, time, next_time, *others, zeros, torch.zeros(6))
        mean, _ = step(sample, time, next_time, *others, zeros, torch.ones(6))
        moved, _ = step(sample, time, next_time, *others, ones, torch.ones(6))
    assert torch.allclose(preview, (image + 1) * 8, atol=1e-4)
    assert torch.allclose(ddim, (later.sqrt() * image + (1 - later).sqrt() * noise).float(), atol=1e-5)
    kept = now / later  # the alpha of the step; 1 - kept is its beta
    posterior = (later.sqrt() * (1 - kept) * image + kept.sqrt() * (1 - later) * sample) / (1 - now)
    variance = (1 - later) * (1 - kept) / (1 - now)
    assert torch.allclose(mean, posterior.float(), atol=1e-4)
    assert torch.allclose((moved - mean) ** 2, variance.float().expand_as(mean), atol=1e-4)
