"""The training loop under each of Keras' backends: it learns, comes back after a kill, keeps to its seed, and shares batches out."""
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from calcnb.formats.files import project_root

PACKAGES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}

TRAINING = """
import json, sys, tempfile
from pathlib import Path
import keras, numpy as np, pandas as pd
from calcnb.formats.files import BadInput
from calcnb.nets.losses import LOSSES, FocalDice
from calcnb.nets.training import Patches, Warp, in_batches, tile_score, train, use_all_devices, validation_tiles
from calcnb.nets.unet import unet

devices = use_all_devices(8)
images, masks = {}, {}
for n in range(6):
    rng = np.random.default_rng(n)
    image, mask = rng.normal(size=(256, 200)).astype("float32"), np.zeros((256, 200), "uint8")
    for r, c in rng.integers(20, 180, (8*(n < 4), 2)): mask[r:r + 3, c:c + 3] = 255
    images[str(n)], masks[str(n)] = image + np.float32(3)*(mask > 0), mask
table = pd.DataFrame([dict(image_id=i, row=r, col=c, size=64, positive_pixels=int((m[r:r + 64, c:c + 64] > 0).sum()), breast_share=1.)
                      for i, m in masks.items() for r in range(0, 193, 64) for c in range(0, 137, 64)])
tiles = validation_tiles(images, masks, table, most=21)

class Killed(Exception): pass
class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None): self.at = epoch
    def on_train_batch_end(self, batch, logs=None):
        if self.at == 1 and batch == 3: raise Killed

def learn(seed=1, epochs=2, **more):
    keras.utils.set_random_seed(seed)
    model = unet(widths=(4, 8), dropout=0.1)
    patches = Patches(images, masks, table, size=64, batch=8, steps=12, warp=Warp(turn=10))
    return model, train(model, patches, tiles, FocalDice(), epochs=epochs, rate=1e-2, mine_every=1, **more)

folder = Path(tempfile.mkdtemp())
model, history = learn()
threaded, _ = learn(threads=2)
try: learn(resume_folder=folder, callbacks=[Kill()])
except Killed: pass
kept = json.loads((folder/"state.json").read_text())["epoch"]
resumed, resumed_history = learn(seed=9, resume_folder=folder)
model.save(folder.parent/"model.keras")
opened = keras.saving.load_model(folder.parent/"model.keras", compile=False, safe_mode=True)
apart = lambda a, b: float(max(np.abs(v - w).max() for v, w in zip(a.get_weights(), b.get_weights())))
truth = (np.random.default_rng(1).random((2, 32, 32, 1)) < 0.1).astype("float32")
sound = [name for name, loss in LOSSES.items() if 0 <= float(loss()(truth, 0.9*truth + 0.05)) < float(loss()(truth, 0.95 - 0.9*truth)) < np.inf]
try: use_all_devices(9); refused = ""
except BadInput as error: refused = str(error)
keras.config.set_dtype_policy("mixed_bfloat16")
half = learn(epochs=1)[1]
print("RESULT", json.dumps(dict(backend=keras.backend.backend(), devices=devices, losses=history.loss.tolist(), dice=history.val_dice.tolist(), threaded=apart(model, threaded), kept=kept,
    resumed=apart(model, resumed), resumed_losses=resumed_history.loss.tolist(), opened=apart(model, opened), sound=sound, known=list(LOSSES), refused=refused, half=half.loss.tolist(),
    again=tile_score(in_batches(opened.predict_on_batch, 8), tiles, 8)["val_dice"])))
"""


def trained(backend, **environment):
    """What the training loop reports from a process of its own under `backend`; skipped where that is not installed."""
    if find_spec(PACKAGES[backend]) is None:
        pytest.skip(f"{backend} is not installed here")
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(project_root()), "MPLBACKEND": "agg", **environment}
    done = subprocess.run([sys.executable, "-c", TRAINING], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("RESULT", 1)[1])


@pytest.mark.slow
@pytest.mark.parametrize("backend", PACKAGES)
def test_training_loop(backend):
    found = trained(backend)
    assert found["backend"] == backend and found["devices"] == 1
    assert found["losses"][1] < 0.9*found["losses"][0] and max(found["dice"]) > 0.3
    assert abs(found["again"] - max(found["dice"])) < 1e-3 and found["opened"] == 0  # the best epoch's weights, on disk too
    assert found["kept"] == 0 and found["resumed"] < 1e-4 and found["threaded"] < 1e-4
    assert found["sound"] == found["known"] and all(abs(v) < 100 for v in found["half"])


@pytest.mark.slow
def test_batches_are_shared_out_among_devices():
    one, two = trained("jax"), trained("jax", XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert (one["devices"], two["devices"]) == (1, 2)
    assert abs(one["losses"][0]/two["losses"][0] - 1) < 0.01 and two["resumed"] < 1e-3
    assert "batch: 9 patches cannot be shared out evenly among 2 devices" in two["refused"] and one["refused"] == ""
