"""Is the input the bottleneck? Training steps with patches drawn as in training, beside the same steps on one constant batch.

    python benchmarks/input.py [--steps N] [--repeats N] [--size PX] [--widths 16,32,64,128]

Patches of --size pixels, 8 a batch, from images of 2048 × 1536 kept in files: flipped only, and turned, stretched and bent as well; drawn
by Keras' own loop, or ahead by threads (`train(threads=…)`). The bar: at most 1.1 times the step on constant data. Ways take turns,
so that what else the machine does falls on all of them alike.
"""
import argparse
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from calcnb.nets.losses import FocalDice
from calcnb.nets.training import Patches, Warp, set_precision
from calcnb.nets.unet import unet

BAR = 1.1
STRONG = Warp(turn=25, scale=0.2, shift=6, elastic=2.5)


def draw(folder, number=8, shape=(2048, 1536)):
    """Images of noise with bright specks and their masks, in files that are read piecewise, and a patch index."""
    images, masks, rows = {}, {}, []
    for n in range(number):
        rng = np.random.default_rng(n)
        mask = np.zeros(shape, np.uint8)
        for r, c in rng.integers(100, 1400, (200, 2)):
            mask[r:r + 4, c:c + 4] = 255
        np.save(folder/f"{n}-image.npy", (rng.standard_normal(shape) + 3*(mask > 0)).astype(np.float16))
        np.save(folder/f"{n}-mask.npy", mask)
        images[str(n)], masks[str(n)] = (np.load(folder/f"{n}-{part}.npy", mmap_mode="r") for part in ("image", "mask"))
        rows += [dict(image_id=str(n), row=r, col=c, size=256, positive_pixels=int((mask[r:r + 256, c:c + 256] > 0).sum()), breast_share=1.)
                 for r in range(0, shape[0], 256) for c in range(0, shape[1], 256)]
    return images, masks, pd.DataFrame(rows)


class Constant(keras.utils.PyDataset):
    """One batch again and again."""
    def __init__(self, batch, steps):
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, number):
        return self.batch


def main():
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--steps", type=int, default=20)
    given.add_argument("--repeats", type=int, default=5)
    given.add_argument("--size", type=int, default=128)
    given.add_argument("--widths", default="16,32,64,128")
    given = given.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images, masks, table = draw(Path(folder))
        policy = set_precision("auto")
        model = unet(widths=[int(w) for w in given.widths.split(",")])
        model.compile(keras.optimizers.Adam(1e-3), FocalDice(), jit_compile=keras.backend.backend() == "jax")
        ways = {}
        for name, warp in (("flipped", Warp()), ("turned, stretched, bent", STRONG)):
            for threads in (0, 1, 2):
                ways[name, threads] = Patches(images, masks, table, size=given.size, batch=8, steps=given.steps, warp=warp)
                ways[name, threads].threads = threads
        drawing = {}
        for name, patches in ways.items():
            start = time.perf_counter()
            for n in range(3): patches.batch_of(n)
            drawing[name] = (time.perf_counter() - start)/3
        ways["constant", 0] = Constant(ways["flipped", 0].batch_of(0), given.steps)
        model.fit(ways["constant", 0], epochs=2, verbose=0)
        seconds = {name: [] for name in ways}
        for _ in range(given.repeats):
            for name, data in ways.items():
                start = time.perf_counter()
                model.fit(data, epochs=1, verbose=0)
                seconds[name].append((time.perf_counter() - start)/given.steps)
        medians = {name: float(np.median(s)) for name, s in seconds.items()}
        least = medians["constant", 0]
        rows = [dict(patches=name, threads=threads, draw_ms=1000*drawing.get((name, threads), 0), step_ms=1000*medians[name, threads], ratio=medians[name, threads]/least, bar=f"≤ {BAR}") for name, threads in ways]
        print(f"{keras.backend.backend()}, {policy}, widths {given.widths}, batch 8 of {given.size}², medians of {given.repeats} × {given.steps} steps")
        print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.2f}"), flush=True)


if __name__ == "__main__":
    main()
