"""Tiles of a reconstruction: what is found in the graph, and what is refused."""

import pytest

from export import ParityError, SpecError, publish
from export.proof import memory
from model_store.tasks import Reconstruction, Tiles

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("export_once")


class Restorer(torch.nn.Module):
    """image [batch, 1, height, width] -> (as much, its distance to the image): at half the size and back."""

    def __init__(self, between=None, error="mean_square"):
        super().__init__()
        self.down = torch.nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.up = torch.nn.ConvTranspose2d(4, 1, 2, stride=2)
        self.between, self.error = between or torch.nn.MaxPool2d(3, 1, 1), error

    def forward(self, image):
        large = self.up(self.between(torch.relu(self.down(image))))
        made = image + large[:, :, : image.shape[2], : image.shape[3]]
        lines = (made - image).flatten(1, 2)
        squares = (lines * lines).mean(2).mean(1)
        return made, {"mean_square": squares, "root_mean_square": torch.sqrt(squares), "sum": squares * 100}[self.error]


class Attention(torch.nn.Module):
    """Every place looks at the mean of all."""

    def forward(self, x):
        return x + x.mean((2, 3), keepdim=True)


class Positions(torch.nn.Module):
    """Something else is added in every line."""

    def forward(self, x):
        return x + torch.cumsum(torch.ones_like(x), 2) * 0.01


@pytest.fixture
def make_restorer(make_spec, one_thread, monkeypatch):
    def make(module=None, **others):
        if others.get("tile_pixels", 64):  # what a run takes is not the matter then
            monkeypatch.setattr(memory, "_MOST_BYTES", 1 << 20)
        samples = torch.rand(4, 1, 20, 24, generator=torch.Generator().manual_seed(1))
        fields = {
            "task": "reconstruct",
            "inputs": {"image": samples[:3]},
            "outputs": ("made", "error"),
            "dynamic": {"image": {0: "batch", 2: "height", 3: "width"}},
            "samples": {"image": samples},
            "reconstruction": Reconstruction(output="made", error="error"),
            "tile_pixels": 64,
            "batches": (1, 3),
            "row_atol": 1e-6,
            "lengths": ({"height": 20, "width": 24},),
        }
        return make_spec(module or Restorer(), **{**fields, **others})

    return make


@pytest.mark.long
@pytest.mark.parametrize(
    ("module", "fields", "complaint"),
    [
        (lambda: Restorer(Attention()), {}, "depend on pixels 512 away or more, .*leave tile_pixels out$"),
        (lambda: Restorer(Positions()), {}, "depend on where a picture begins, .*leave tile_pixels out$"),
        (lambda: Restorer(error="sum"), {}, "'error' is neither the mean of the squared differences nor its root"),
        (Restorer, {"tile_overlap": 2}, r"tile_overlap: expected at least 4 pixels, .*\d away, got 2: leave it out"),
        (Restorer, {"tile_pixels": 8}, "more than twice the overlap 4, got 8: an output depends on pixels"),
        (Restorer, {"tile_pixels": 65}, "multiples of the stride 2, got 65 and 4"),
        (Restorer, {"tile_pixels": None, "tile_overlap": 4}, "tile_overlap: expected tile_pixels too"),
        (Restorer, {"tile_pixels": 0}, "tile_pixels: expected a side"),
    ],
)
def test_what_cannot_be_cut_so_is_refused(make_restorer, store, module, fields, complaint):
    """The message says why and what to do, and nothing is published."""
    with pytest.raises(SpecError, match=complaint):
        publish(make_restorer(module(), **fields), store)
    assert store.names() == []


def test_picture_of_one_size_has_no_tiles(make_restorer, store):
    """It is refused before the slow steps."""
    spec = make_restorer(dynamic={"image": {0: "batch"}}, lengths=None)
    with pytest.raises(SpecError, match=r"reconstruction\.tiles: input 'image' .* expected rows of"):
        publish(spec, store)


def test_joined_tiles_that_are_not_the_whole_are_refused(make_restorer, store):
    """An overlap that is too small shows at the border of a tile."""
    from export.proof.tiles import check_tiles, pictures_of
    from export.runtime import Runtime

    spec = make_restorer()
    version = publish(spec, store)
    runtime = Runtime(version.read(version.verify(), "main.onnx"))
    pictures = pictures_of(spec, spec.reconstruction)
    for wrong in (Tiles(size=64, overlap=0, stride=2), Tiles(size=63, overlap=7)):
        with pytest.raises(ParityError, match=r"differ from the whole at .*worst element made\[.*larger tile_ove"):
            check_tiles(pictures, runtime, wrong)
    assert check_tiles(pictures, runtime, Tiles(size=64, overlap=4, stride=2)) == {"mean_square"}


@pytest.mark.long
@pytest.mark.parametrize("error", ["mean_square", "root_mean_square"])
def test_published_tiles_are_as_far_as_outputs_look(make_restorer, store, error):
    """The overlap is found behind pooling and ReLU, and the kind of the error output is recognised."""
    tiles = publish(make_restorer(Restorer(error=error)), store).verify().reconstruction.tiles
    assert tiles == Tiles(size=64, overlap=4, stride=2, error=error)


def test_wider_overlap_may_be_asked_for(make_restorer, store):
    """It is checked like the one that is found."""
    tiles = publish(make_restorer(tile_overlap=10), store).verify().reconstruction.tiles
    assert (tiles.overlap, tiles.stride) == (10, 2)


@pytest.mark.long
def test_memory_of_a_run_is_in_the_manifest(make_restorer, store):
    """For rows of any size the memory is measured: more than inputs and outputs, within the expected range."""
    graph = publish(make_restorer(tile_pixels=None), store).verify().graphs["main"]
    assert graph.run_bytes is not None
    elements = 1000 * 1000
    fixed, linear, square = graph.run_bytes.terms
    assert 8 * elements < fixed + linear * elements + square * elements**2 < 100 * elements


def test_memory_of_rows_of_one_size_is_not_measured(make_spec, store):
    """The number of rows already bounds it."""
    assert publish(make_spec(), store).verify().graphs["main"].run_bytes is None
