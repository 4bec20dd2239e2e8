"""Locust users. ``sluice loadtest`` runs this file. Locust can run it too, with its page or distributed:

locust -f loadtests/locustfile.py --host http://127.0.0.1:3000 --model digits ClassifyUser

A user sends its next request as soon as the last one is answered. Bodies are made before the first request, to keep the
generator's own work small. Every answer is checked, because a fast wrong answer is a failure.
"""

import csv
import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import locust.stats
import numpy as np
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import WorkerRunner
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from loadtests.answer import check_outputs, check_predictions, check_status
from loadtests.http_client import Unreachable
from loadtests.rows import make_inputs
from loadtests.signature import NoModel, Signature, find_model, read_signature
from loadtests.wire import WrongAnswer, encode_binary, shorten

BODIES = 32
"""How many different bodies are sent in turn: enough to defeat caches, few enough to make at once."""

SEED = 20


@dataclass(frozen=True)
class Body:
    content: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Load:
    """What the users of this process send."""

    signature: Signature
    rows: int
    classify: tuple[Body, ...]
    binary: tuple[Body, ...]


_loads: list[Load] = []  # empty until test_start; Locust gives its users no other place of their own


def bucket_response_time(response_time: int | float) -> int:
    """Milliseconds with three significant digits; Locust's own two would let 254 ms pass a limit of 250 ms."""
    digits = len(str(int(response_time)))
    return round(response_time) if digits <= 3 else int(round(response_time, 3 - digits))


locust.stats.bucket_response_time = bucket_response_time  # Locust's documented way to choose the resolution


def add_arguments(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("Sluice")
    group.add_argument(
        "--model",
        default="",
        env_var="LOADTEST_MODEL",
        help="model to ask; without it, the first ready one that the server lists",
    )
    group.add_argument("--rows-per-request", type=int, default=1, env_var="LOADTEST_ROWS", help="rows in each request")
    group.add_argument(
        "--figures", default="", metavar="PREFIX", help="write PREFIX_stats.csv and PREFIX_failures.csv at the end"
    )


def prepare(environment: Environment, **_: object) -> None:
    """Read the model's signature and make the bodies. If that fails, the run ends at once."""
    _loads.clear()
    options: Any = environment.parsed_options
    address = environment.host or ""
    classifies = any(issubclass(user, ClassifyUser) for user in environment.user_classes)
    try:
        model = options.model or find_model(address, "classify" if classifies else None)
        _loads.append(make_load(read_signature(address, model), options.rows_per_request))
    except (NoModel, Unreachable) as failure:
        logging.error("%s", failure)
        environment.process_exit_code = 1
        if environment.runner is not None:
            environment.runner.quit()


def write_figures(environment: Environment, **_: object) -> None:
    """Write the final CSV files. Locust's own ``--csv`` files can lack the last second, and all of a short run."""
    options: Any = environment.parsed_options
    if not options.figures or isinstance(environment.runner, WorkerRunner):
        return
    with _open_csv(f"{options.figures}_stats.csv") as file:
        StatsCSV(environment, PERCENTILES_TO_REPORT).requests_csv(csv.writer(file))
    with _open_csv(f"{options.figures}_failures.csv") as file:
        writer = csv.writer(file)
        writer.writerow(("Name", "Error", "Occurrences"))
        for failure in environment.stats.errors.values():
            # A worker sends text; Locust's own file would wrap each text in the name of its exception class.
            writer.writerow((failure.name, str(failure.error), failure.occurrences))


def _open_csv(path: str) -> TextIO:
    return Path(path).open("w", newline="", encoding="utf-8")


def make_load(signature: Signature, rows: int) -> Load:
    """Bodies of ``rows`` rows each for both kinds of user; raises NoModel."""
    rng = np.random.default_rng(SEED)
    classify, binary = [], []
    for _ in range(BODIES):
        inputs = make_inputs(signature, rows, rng)
        headers, content = encode_binary(inputs)
        binary.append(Body(content, headers))
        # The task route takes the rows of a single input; a classifier with several inputs is asked over /v2 instead.
        first = shorten(next(iter(inputs.values())))
        document = {"model": signature.model, "inputs": first}
        classify.append(Body(json.dumps(document).encode(), {"Content-Type": "application/json"}))
    return Load(signature, rows, tuple(classify), tuple(binary))


class ModelUser(FastHttpUser):
    """The base of both kinds of user."""

    abstract = True
    wait_time = constant(0)
    connection_timeout = 10.0
    network_timeout = 30.0

    def on_start(self) -> None:
        if not _loads:
            raise StopUser
        self.load = _loads[0]

    def send(self, path: str, body: Body, name: str) -> None:
        content: Any = body.content  # bytes are sent as they are, though Locust declares text and forms only
        with self.client.post(
            path, data=content, headers=dict(body.headers), name=name, catch_response=True
        ) as response:
            try:
                check_status(response.status_code)
                headers = {key.lower(): value for key, value in (response.headers or {}).items()}
                self.check(headers, response.content or b"")
            except WrongAnswer as failure:
                response.failure(str(failure))

    def check(self, headers: Mapping[str, str], body: bytes) -> None:
        raise NotImplementedError


class ClassifyUser(ModelUser):
    """A user that sends rows as nested JSON numbers to the task route."""

    @task
    def classify(self) -> None:
        self.send("/classify", random.choice(self.load.classify), "/classify")

    def check(self, headers: Mapping[str, str], body: bytes) -> None:
        check_predictions(body, self.load.rows)


class BinaryUser(ModelUser):
    """A user that sends tensors as bytes by the Open Inference Protocol."""

    @task
    def infer(self) -> None:
        path = f"/v2/models/{self.load.signature.model}/infer"
        self.send(path, random.choice(self.load.binary), f"{path} (binary)")

    def check(self, headers: Mapping[str, str], body: bytes) -> None:
        check_outputs(headers, body, self.load.signature, self.load.rows)


_events: Any = events  # Locust's hooks have no types
_events.init_command_line_parser.add_listener(add_arguments)
_events.test_start.add_listener(prepare)
_events.quitting.add_listener(write_figures)
