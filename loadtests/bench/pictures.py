"""Measures ``/classify`` and ``/detect`` of pictures, against BentoML with Python code around the model."""

from collections.abc import Collection, Mapping

from loadtests.bench.comparison import Comparison, Schedule
from loadtests.bench.models.classifier import CLASSIFIER
from loadtests.bench.models.detector import DETECTOR
from loadtests.bench.models.model import BenchModel
from loadtests.bench.models.photograph import JPEG
from loadtests.bench.models.picture import PNG, make_classifier
from loadtests.bench.peer import Peer
from loadtests.bench.peers.bentoml_photograph import BATCHED_PEER
from loadtests.bench.peers.bentoml_photograph import PEER as BENTOML_PHOTOGRAPH
from loadtests.bench.peers.bentoml_picture import PEER as BENTOML_PICTURE
from loadtests.bench.peers.sluice import STORE, TASKS_PEER
from loadtests.bench.peers.sluice_photograph import PHOTOGRAPH_PEER
from loadtests.bench.results.result import Cell

CLIENTS, QUICK_CLIENTS = (16, 64), (16,)

OF_PNG = {"sluice": (TASKS_PEER,), "bentoml": (BENTOML_PICTURE,)}
OF_JPEG = {"sluice": (PHOTOGRAPH_PEER,), "bentoml": (BENTOML_PHOTOGRAPH, BATCHED_PEER)}
"""The servers of each kind of picture, by the name by which they are chosen."""


def picture_peers(names: Collection[str]) -> list[Peer]:
    """All servers to be installed, if those of ``names`` are compared."""
    return [*_choose(OF_PNG, names), *_choose(OF_JPEG, names)]


def measure_pictures(comparison: Comparison, names: Collection[str], is_quick: bool) -> list[Cell]:
    jobs: list[tuple[BenchModel, str, list[Peer]]] = [
        (make_classifier(STORE), PNG, _choose(OF_PNG, names)),
        (CLASSIFIER, JPEG, _choose(OF_JPEG, names)),
        (DETECTOR, JPEG, _choose(OF_JPEG, names)),
    ]
    cells: list[Cell] = []
    for model, encoding, peers in jobs:
        schedule = Schedule(
            encodings=(encoding,),
            clients=QUICK_CLIENTS if is_quick else CLIENTS,
            rounds=1 if is_quick else 5,
            round_s=1 if is_quick else 2,
            warm_up_s=1,
        )
        cells += comparison.measure(model, peers, schedule)
    return cells


def _choose(peers: Mapping[str, tuple[Peer, ...]], names: Collection[str]) -> list[Peer]:
    """The chosen peers. There are none without Sluice, because there is nothing to compare."""
    return [peer for name in peers if name in names for peer in peers[name]] if "sluice" in names else []
