"""Plans of nets beside each other: what each has learned after the same time of training on the same drawn images.

    python benchmarks/plans.py [--minutes M] [--plans folded small …] [--seeds 1 2] [--folder F] [--out FILE.csv]

Every plan trains for M minutes of two processors (counted as processor time, so that other work on the machine changes nothing;
learning rate falling along a cosine over the steps it is expected to make, which the first steps tell), with the same patches, loss and
batch. The best epoch, threshold and base are chosen on validation images; Dice and sensitivity are those of test images of a third seed,
for calcifications that can be seen (d′ ≥ 5). Rows are added to FILE as they come, and plans that stand in it are not trained again.
"""
import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from calcnb.report.command import KEEP_MEMORY

if any(os.environ.get(name) != value for name, value in KEEP_MEMORY.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY, "TF_CPP_MIN_LOG_LEVEL": "3"})

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from calcnb import weights as stage  # noqa: E402
from calcnb.measure.scores import choose  # noqa: E402
from calcnb.nets.losses import FocalDice  # noqa: E402
from calcnb.nets.models import Search, built, planned_net  # noqa: E402
from calcnb.nets.training import Patches, set_precision, train, validation_tiles  # noqa: E402
from calcnb.virtual.variety import draw_set  # noqa: E402

SIZE, BATCH, RATE = 192, 8, 2e-3
FOLDED = dict(net="unet", widths=(24, 48, 96), fold=2, up_blocks=1)
PLANS = {
    "folded": lambda: planned_net(plan="folded"),
    "folded, one level fewer": lambda: built({**FOLDED, "widths": (24, 48)}),
    "folded, group normalisation": lambda: built({**FOLDED, "norm": "group"}),
    "not folded (24, 48, 96)": lambda: built({**FOLDED, "fold": 1}),
    "folded by 4": lambda: built({**FOLDED, "fold": 4}),
    "small": lambda: planned_net(plan="small"),
    "cbis": lambda: planned_net(plan="cbis"),
    "calc1": lambda: planned_net(plan="calc1"),
    "deepmica": lambda: planned_net(plan="deepmica"),
}


def clock() -> float: return time.process_time()/2 # s, of two processors


def learn(make, sets, minutes, seed=1):
    """Train one plan for a time; its net, steps and seconds a step."""
    keras.utils.set_random_seed(seed)
    set_precision("auto")
    model = make()
    arrays = {part: {what: {name: stage.opened(folder, name, key) for name in table.image_id} for what, key in (("images", "input"), ("masks", "mask"))} for part, (folder, table) in sets.items()}
    places = {part: stage.patch_places(folder, table.image_id, SIZE) for part, (folder, table) in sets.items()}
    def patches(steps): return Patches(**arrays["train"], table=places["train"], size=SIZE, batch=BATCH, steps=steps, positive_share=0.6, seed=seed)
    model.compile("adam", FocalDice(), jit_compile=False)
    times, few = [], patches(5)
    for n in range(5):
        start = clock()
        model.train_on_batch(*few[n])
        times.append(clock() - start)
    step = float(np.median(times[2:]))
    steps = max(10, int(60*minutes/step))
    epochs = int(np.clip(steps//20, 1, 20))
    keras.utils.set_random_seed(seed)
    model = make()
    tiles = validation_tiles(**arrays["validation"], table=places["validation"], most=24, seed=seed)
    start = clock()
    class Clock(keras.callbacks.Callback):
        steps = 0
        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if clock() - start > 60*minutes: self.model.stop_training = True
    stop = Clock()
    curve = train(model, patches(max(1, steps//epochs)), tiles, FocalDice(), epochs=epochs, rate=RATE, threads=2, callbacks=[stop])
    return model, dict(weights=model.count_params(), s_a_step=step, steps=stop.steps, best_epoch=int(curve.val_dice.idxmax()) + 1, epochs=len(curve), minutes=(clock() - start)/60)


def main():
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--minutes", type=float, default=4)
    given.add_argument("--plans", nargs="*", default=list(PLANS), choices=list(PLANS), metavar="PLAN", help=f"of {', '.join(map(repr, PLANS))}; all by default")
    given.add_argument("--seeds", nargs="*", type=int, default=[1])
    given.add_argument("--out", type=Path, help="a table that is kept and added to")
    given.add_argument("--folder", help="where the drawn images are kept; a temporary folder by default")
    given = given.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        sets = {part: (folder/part, draw_set(folder/part, seed, number, title=part)) for part, seed, number in (("train", 200, 120), ("validation", 201, 16), ("test", 202, 30))}
        rows = pd.read_csv(given.out).to_dict("records") if given.out and given.out.is_file() else []
        for seed, name in [(seed, name) for seed in given.seeds for name in given.plans]:
            if any(row["plan"] == name and row["seed"] == seed for row in rows): continue
            model, about = learn(PLANS[name], {part: sets[part] for part in ("train", "validation")}, given.minutes, seed)
            search = Search(model, size=256)
            chosen = choose(stage.search_set(lambda normal, breast, mm: search.on(normal, breast), *sets["validation"]))
            start = clock()
            cases = stage.search_set(lambda normal, breast, mm: search.on(normal, breast), *sets["test"])
            seconds = (clock() - start)/len(cases)
            figures = stage.score_set(cases, chosen)[0]
            rows.append(dict(plan=name, seed=seed, **about, s_an_image=seconds, dice=figures["dice_foreground"], **{f"at_{rate}": figures[f"sensitivity_at_{rate}_fp_per_cm2"] for rate in ("0_1", "0_4", "1")}))
            if given.out: pd.DataFrame(rows).to_csv(given.out, index=False)
            print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format), flush=True)
            keras.backend.clear_session()


if __name__ == "__main__":
    main()
