"""The TypeScript client compiles and answers, where there are tsc and Node."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_store import DEFAULT_ROOT
from service.api.openapi.examples import EXAMPLES
from service.protocol.json import render_json
from tests.support.servers import FAST, Serving, settings_for

SOURCES = Path(__file__).resolve().parents[2] / "clients" / "typescript"
INSTALLED = Path(sys.prefix) / "clients" / "typescript" / "node_modules" / ".bin"
"""By `make clients`."""
USE = """
import { Client, Refused, type Classification } from "./client.js";

const sluice = new Client(process.argv[2]! + "/");
const zero = ZERO;
const answer = await sluice.ask("classify", { model: "digits-classifier", inputs: [zero], top_k: 2 });
const best: Classification | undefined = answer.predictions.find((each) => "top" in each);
console.log(best?.label, best?.top.length);
let steps = 0;
for await (const step of sluice.stream("generate", { model: "digits-diffusion", labels: ["7"], steps: 3, seed: 1 })) {
  if (step.event) steps += step.event.row === 0 ? 1 : 0;
  else console.log(steps, step.answer.outputs.length);
}
console.log((await sluice.draw("generate", { model: "digits-diffusion", steps: 2, seed: 1 })).type);
const image = { name: "image", shape: [1, 1, 8, 8], datatype: "FP32" as const, data: [zero] };
console.log((await sluice.infer("digits-classifier", { inputs: [image] })).outputs.length);
console.log((await sluice.models()).map((card) => card.name).join());
try {
  await sluice.ask("classify", { model: "nobody", inputs: [zero] });
} catch (error) {
  if (error instanceof Refused) console.log(error.status, error.message.split(":")[0], error.requestId !== "");
}
// @ts-expect-error there is no such task
void (() => sluice.ask("clasify", { inputs: [zero] }));
// @ts-expect-error there is no such option
void (() => sluice.ask("classify", { inputs: [zero], topk: 3 }));
// @ts-expect-error a number is no text
void (() => sluice.ask("classify", { inputs: [zero], model: 3 }));
"""


def find(program: str) -> str:
    """Skips where it is missing."""
    found = shutil.which(program) or shutil.which(program, path=INSTALLED)
    if found is None:
        pytest.skip(f"{program} is not installed: `make clients` installs TypeScript where there is npm")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_client_compiles_and_answers(tmp_path: Path) -> None:
    """The strict compiler takes the client and a program that uses it, finds its mistakes, and Node runs it."""
    tsc, node = find("tsc"), find("node")
    shutil.copytree(SOURCES, tmp_path, dirs_exist_ok=True)
    zero = render_json(EXAMPLES["classify"]["digit"][1]["inputs"][0]).decode()
    (tmp_path / "use.ts").write_text("declare const process: { argv: string[] };\n" + USE.replace("ZERO", zero, 1))
    run(tsc, "--project", tmp_path)
    settings = settings_for(DEFAULT_ROOT, models=("digits-classifier", "digits-diffusion"), max_rows=4)
    with Serving(settings, FAST) as server:
        printed = run(node, tmp_path / "dist" / "use.js", server.url)
    assert printed.splitlines() == [
        "0 2",
        "3 1",
        "image/png",
        "2",
        "digits-classifier,digits-diffusion",
        "404 no model 'nobody' true",
    ]
