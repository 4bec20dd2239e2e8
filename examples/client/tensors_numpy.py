"""Arrays in, arrays out, in binary form: 1000 rows in one request. python examples/client/tensors_numpy.py [URL]"""

import sys

import numpy as np

from sluice_client import Client

MODEL = "digits-classifier"


def main(url: str = "http://127.0.0.1:3000") -> None:
    with Client(url) as sluice:
        model = sluice.model(MODEL)
        for tensor in (*model.inputs, *model.outputs):
            print(f"{tensor.name:14} {tensor.datatype} {tensor.shape}")

        images = np.random.default_rng(0).uniform(0, 16, (1000, 1, 8, 8)).astype(np.float32)
        answer = sluice.infer(MODEL, {"image": images}, outputs=["probabilities"])
        probabilities = answer.outputs["probabilities"]
        kilobytes = (images.nbytes + probabilities.nbytes) / 1000
        print(f"\n{len(images)} rows, {kilobytes:.0f} kB of tensors, took {1000 * answer.meta.seconds:.0f} ms")
        print("How often noise looks like each digit:", np.bincount(probabilities.argmax(axis=1), minlength=10))

        alone = sluice.infer(MODEL, {"image": images[:1]}, outputs=["probabilities"])
        same = np.array_equal(alone.outputs["probabilities"][0], probabilities[0])
        print(f"The first row alone gives the same bits: {same}")


if __name__ == "__main__":
    main(*sys.argv[1:])
