"""How long one network takes for one image of 224 × 224 pixels: torch eager, ONNX Runtime, and in 8-bit integers.

One client in one process on one thread, the forms in turn, each on the same prepared image. Networks are as they are
initialised: what they have learnt does not change how long they take. The peer is torch eager, the way most services
run a network. `python benchmarks/image_latency.py [NETWORK …]`; all of the catalogue without arguments.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import torch

from bedside.models import catalogue
from bedside.models.example_images import example_images
from bedside.models.imaging.onnx_export import exported
from bedside.models.imaging.onnx_int8 import quantised
from bedside.models.imaging.pixels import Pixels
from bedside.models.seeded import seeded
from bedside.models.task import Classify
from bedside.plan.compress.latency import machine, timed

SIDE = 224
TASK = Classify("blob", ("no", "yes"), "yes")
AIM = {"resnet": "≥ 3"}


def main(names: list[str]) -> None:
    here = machine()
    load = os.getloadavg()[0]
    print(f"{here['processor']}, {here['cores']} cores, load {load:.1f}; torch {torch.__version__}, ", end="")
    print(f"onnxruntime {here['onnxruntime']}; p50 / p99 in ms\n")
    print("| network | torch eager | ONNX Runtime | INT8 | eager ÷ INT8 | ONNX ÷ INT8 | aim |")
    print("|---|---|---|---|---|---|---|")
    torch.set_num_threads(1)
    images = example_images(24)
    for name in names:
        model = catalogue.build({"name": name, "image": SIDE})
        with seeded(0, threads=1):
            network = model.build(1, 2).eval()
        plain = exported(network, model.target_layer(), Pixels("image", SIDE, (0.5,), (0.2,)), TASK, {"model": name})
        whole = quantised(plain, images.keeping(["image"]), TASK.truth(images), 0)
        x = np.random.default_rng(0).normal(size=(1, 1, SIDE, SIDE)).astype(np.float32)
        given = torch.from_numpy(x)

        def eager(network: torch.nn.Module = network, given: torch.Tensor = given) -> None:
            with torch.inference_mode():
                network(given)

        forms = timed(eager, lambda m=plain, x=x: m.logits(x), lambda m=whole, x=x: m.logits(x))
        cells = [f"{np.median(each):.1f} / {np.quantile(each, 0.99):.1f}" for each in forms]
        first, second, third = (float(np.median(each)) for each in forms)
        ratios = f"**{first / third:.1f}** | {second / third:.2f}"
        print(f"| {name} | {' | '.join(cells)} | {ratios} | {AIM.get(name, '')} |", flush=True)


if __name__ == "__main__":
    networks = [entry.name for entry in catalogue.entries() if entry.modality == "image"]
    main(sys.argv[1:] or networks)
