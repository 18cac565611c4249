"""What a heat map costs: each method on a 224 × 224 image, in one thread, beside captum's where it has the same.

The peer gets the same score, baseline, windows and steps, so that both do the same work; the maps are compared as well.
CPU milliseconds an image, the least of several rounds of a batch of four; a forward pass of the network stands beside.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum import attr

from bedside.checks.explain.attribution import IntegratedGradients
from bedside.checks.explain.heat_maps import METHODS
from bedside.checks.explain.saliency import forward, scores
from bedside.cohort import plugins
from bedside.models.seeded import seeded

SIDE, IMAGES, ROUNDS = 224, 4, 3
CLASSES = np.array([0, 1, 0, 1])
NETWORKS: dict[str, dict[str, Any]] = {"small_cnn": {}, "resnet": {"depth": 18}}


def milliseconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU milliseconds an image, and what came of it."""
    work()
    best, made = float("inf"), None
    for _ in range(ROUNDS):
        start = time.process_time()
        made = work()
        best = min(best, time.process_time() - start)
    return 1000 * best / IMAGES, made


def peers(network: Any, layer: str, x: torch.Tensor) -> dict[str, Callable[[], np.ndarray]]:
    """captum's own maps, each as ours are laid out, or as far as that goes."""

    def score(batch: torch.Tensor) -> torch.Tensor:
        return scores(network(batch), torch.from_numpy(CLASSES).repeat(len(batch) // IMAGES))

    cell = SIDE / METHODS["occlusion"]().CELLS  # type: ignore[attr-defined]
    side, step = round(2 * cell), round(cell)

    def grad_cam() -> np.ndarray:
        given = x.clone().requires_grad_(True)
        made = attr.LayerGradCam(score, dict(network.named_modules())[layer]).attribute(given, relu_attributions=True)
        return made[:, 0].detach().numpy()

    def integrated() -> np.ndarray:
        steps = IntegratedGradients.STEPS
        # One step of all images at a time, as ours: all at once would need steps × the memory.
        made = attr.IntegratedGradients(score).attribute(x, 0.0, n_steps=steps, internal_batch_size=IMAGES)
        return made.detach().numpy()

    def occlusion() -> np.ndarray:
        windows = (x.shape[1], side, side)
        return attr.Occlusion(score).attribute(x, windows, strides=(x.shape[1], step, step), baselines=0).numpy()

    return {"grad_cam": grad_cam, "integrated_gradients": integrated, "occlusion": occlusion}


def main() -> None:
    torch.set_num_threads(1)
    x = np.random.default_rng(0).normal(size=(IMAGES, 1, SIDE, SIDE)).astype(np.float32)
    print("| network | method | ours, CPU-ms an image | captum | ratio |")
    print("|---|---|---|---|---|")
    for name, parameters in NETWORKS.items():
        model = plugins.build("models", {"name": name, "image": SIDE, **parameters})
        with seeded(0, threads=1):
            network = model.build(1, 2).requires_grad_(False)
            for _ in range(10):
                network(torch.from_numpy(x))
        network, layer = network.eval(), model.target_layer()
        once, _ = milliseconds(lambda network=network: forward(network, x, CLASSES))
        print(f"| `{name}` | one forward pass | {once:.1f} | | |")
        theirs = peers(network, layer, torch.from_numpy(x))
        for method, cls in METHODS.items():
            way = cls()
            ours, made = milliseconds(
                lambda way=way, network=network, layer=layer: way.maps(network, layer, x, CLASSES)
            )
            if method not in theirs:
                print(f"| | `{method}` | {ours:.1f} | none | |", flush=True)
                continue
            peer, other = milliseconds(theirs[method])
            print(f"| | `{method}` | {ours:.1f} | {peer:.1f} | {peer / ours:.2f}× |", flush=True)
            if method == "grad_cam" and not np.allclose(made, other, atol=1e-5 * np.abs(other).max()):
                sys.exit("the maps differ")


if __name__ == "__main__":
    main()
