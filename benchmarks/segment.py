"""Speed of our nets beside PyTorch and MONAI on the processor: a training step, a whole mammogram, and the time until a net is good.

    python benchmarks/segment.py [--step] [--whole] [--quality] [--torch-python PATH]      (--step --whole without any of them)

1. --step: a training step, batch 8 of 256², Adam, focal and Dice loss. One plan (1-32-64-128-256, twice 3×3 convolution, batch
   normalisation and ReLU a level) in Keras and, written plainly, in PyTorch (eager, channels last); our folded plan and MONAI's UNet
   (32-64-128-256, strided) beside it. float32 and bfloat16.
2. --whole: one drawn mammogram of 4084 × 3328. Our search (tiles where there is breast) at several tile sizes, MONAI's sliding window
   (256, overlap 0.25, gaussian, 8 windows at once) over the whole image. Dice is that of the marks against one float32 pass over the
   whole image by the same net: the one that comes with calcnb, or, where there is none, one taught for a minute.
3. --quality: the folded plan and MONAI's UNet, each in its faster precision, taught with the same batches of drawn patches, the same
   number of steps and the same course of the rate; rate (and MONAI's normalisation) chosen for each in runs of a third of the steps. The
   score is the sensitivity at 0.4 false marks per cm² on validation images, visible calcifications only. Rate, threshold and step are
   chosen on those same images, for both nets alike, so the scores compare the two and promise nothing elsewhere. Seconds are of
   training alone, TensorFlow's compilation in the first step included; `share_at_fastest_step` counts steps at each net's fastest one.

Everything measured runs in a process of its own, warmed up, with glibc told to keep its memory; the processes take turns, so that
what else the machine does falls on all alike. `busy` is how many processors a contender kept busy: less than there are where it had to
share them, or where its work did not divide. --torch-python names an interpreter with PyTorch, MONAI and, for Keras on PyTorch, Keras;
what it lacks is shown as not installed.
"""
import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

# The project, Keras, torch and MONAI are imported where they are used: this file also runs in an interpreter that has some of them only
WIDTHS, BATCH, SIDE = (32, 64, 128, 256), 8, 256
RATES, BASE_RATE, FALSE_PER_CM2 = (1e-3, 2e-3, 4e-3), 2e-3, 0.4
IMAGE = (7, 8)  # seed and number of the drawn mammogram; about half of it is breast
BARS = dict(float32=0.95, bfloat16=0.9, seconds=4, gigabytes=1.5, dice=0.99, quality=1/3)


# What is measured: each function makes one contender, in a process of its own

def keras_net(net, precision, rate=BASE_RATE, steps=None, **_):
    """Ours, as `calcnb.nets.training.train` compiles it; `steps` sets the course of the rate."""
    import keras
    from calcnb.nets.losses import FocalDice
    from calcnb.nets.models import planned_net
    from calcnb.nets.unet import unet
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    model = planned_net(plan="folded") if net == "folded" else unet(widths=WIDTHS)
    if steps:
        from calcnb.nets.training import schedule
        rate = schedule(rate, steps)
    model.compile(keras.optimizers.Adam(rate), FocalDice(), jit_compile=False)

    def whole(normal, breast):
        from calcnb.image.tiles import predict_tiled
        return predict_tiled(model.predict_on_batch, normal, breast, 512, 64)
    return SimpleNamespace(step=model.train_on_batch, whole=whole, weights=sum(math.prod(w.shape) for w in model.trainable_weights))


def search_net(folder, size, overlap, precision, **_):
    """Ours, with a trained net that lies in `folder`."""
    from calcnb.nets.models import Search, open_model
    search = Search(open_model(folder)[0], size, overlap, "mixed_bfloat16" if precision == "bfloat16" else "float32")
    return SimpleNamespace(whole=search.on, weights=search.model.count_params())


def torch_plan():
    """The plan of `calcnb.nets.unet.unet(widths=WIDTHS)`, written plainly in PyTorch."""
    import torch
    from torch import nn

    def block(before, width):
        return nn.Sequential(*(layer for n in range(2) for layer in (nn.Conv2d(width if n else before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))))

    class Plan(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList(block(before, width) for before, width in zip((1, *WIDTHS), WIDTHS))
            self.mix = nn.ModuleList(nn.Conv2d(after, width, 1) for width, after in zip(WIDTHS, WIDTHS[1:]))
            self.up = nn.ModuleList(block(2*width, width) for width in WIDTHS[:-1])
            self.logit = nn.Conv2d(WIDTHS[0], 1, 1)

        def forward(self, x):
            skips = []
            for level, down in enumerate(self.down):
                x = down(nn.functional.max_pool2d(x, 2) if level else x)
                skips.append(x)
            for level in range(len(WIDTHS) - 2, -1, -1):
                x = nn.functional.interpolate(self.mix[level](x), scale_factor=2, mode="nearest")
                x = self.up[level](torch.cat([skips[level], x], 1))
            return self.logit(x)
    return Plan()


def torch_net(net, precision, rate=BASE_RATE, steps=None, rates=None, norm="INSTANCE", window=256, **_):
    """PyTorch eager, channels last: the plan, or MONAI's UNet; `rates` is the course of the rate, step by step."""
    import torch
    torch.manual_seed(1)
    if net == "monai":
        from monai.networks.nets import UNet
        model = UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=WIDTHS, strides=(2,)*(len(WIDTHS) - 1), num_res_units=0, norm=norm)
    else:
        model = torch_plan()
    last = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))][-1]
    torch.nn.init.constant_(last.bias, math.log(0.01/0.99))  # both nets begin at the same share of foreground
    model = model.to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(model.parameters(), rate)
    course = iter(rates or ())

    def cast(): return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def loss(p, t):  # calcnb.nets.losses.FocalDice
        p = p.float().sigmoid().clamp(1e-7, 1 - 1e-7)
        focal = -0.75*t*(1 - p)**2*p.log() - 0.25*(1 - t)*p**2*(1 - p).log()
        return 20*focal.mean() + 1 - (2*(t*p).sum() + 1)/(t.sum() + p.sum() + 1)

    def step(x, y):
        model.train()
        for group in adam.param_groups if rates else ():
            group["lr"] = next(course)
        x, y = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in (x, y))  # rows × columns × 1 is both first and last
        adam.zero_grad(set_to_none=True)
        with cast():
            logits = model(x.contiguous(memory_format=torch.channels_last))
        value = loss(logits, y)
        value.backward()
        adam.step()
        return value.item()

    def whole(normal, breast):
        from monai.inferers import sliding_window_inference
        model.eval()
        with torch.inference_mode(), cast():
            answer = sliding_window_inference(torch.from_numpy(normal)[None, None], window, BATCH, model, 0.25, "gaussian")
        return answer.float().sigmoid()[0, 0].numpy()
    return SimpleNamespace(step=step, whole=whole, weights=sum(p.numel() for p in model.parameters()))


CONTENDERS = dict(keras=keras_net, search=search_net, torch=torch_net)


# What a contender is asked to do

def steps(contender, number, side):
    """Seconds of each training step on one batch of noise."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((BATCH, side, side, 1), np.float32), (rng.random((BATCH, side, side, 1)) < 0.01).astype(np.float32)
    took, cpu = [], time.process_time()
    for _ in range(number):
        start = time.perf_counter()
        contender.step(x, y)
        took.append(time.perf_counter() - start)
    return dict(seconds=took, busy=(time.process_time() - cpu)/sum(took))


def learn(contender, folder, first, last):
    """Seconds of training with batches `first` to `last`."""
    x, y = (np.load(Path(folder)/f"{part}.npy", mmap_mode="r") for part in "xy")
    times, losses, cpu = [time.perf_counter()], [], time.process_time()
    for n in range(first, last):
        losses.append(float(contender.step(np.float32(x[n]), np.float32(y[n]))))
        times.append(time.perf_counter())
    took = times[-1] - times[0]
    return dict(seconds=took, busy=(time.process_time() - cpu)/took, fastest_s=float(np.diff(times).min()), loss=float(np.mean(losses)))


def search(contender, folder, names, to):
    """Score maps of a drawn set, in one file."""
    maps = [contender.whole(np.float32(np.load(Path(folder)/f"{name}-input.npy")), np.load(Path(folder)/f"{name}-breast.npy")) for name in names]
    np.save(to, np.stack(maps).astype(np.float16))
    return {}


def whole(contender, folder, to=None, rows=None):
    """Seconds for the whole mammogram, or for its uppermost rows."""
    normal, breast = (np.load(Path(folder)/f"{part}.npy")[:rows] for part in ("normal", "breast"))
    start, cpu = time.perf_counter(), time.process_time()
    score = contender.whole(normal, breast)
    took = time.perf_counter() - start
    busy = (time.process_time() - cpu)/took
    if to: np.save(to, score.astype(np.float32))
    return dict(seconds=took, busy=busy)


TASKS = dict(steps=steps, learn=learn, search=search, whole=whole)


def memory(what):
    """VmRSS or VmHWM (the peak) of this process, in GB."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what))*1024/1e9


def serve(job):
    """Make a contender and do what is asked of it, line by line."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    contender = CONTENDERS[job["kind"]](**job)
    answer = dict(weights=int(contender.weights), begun=memory("VmRSS"))
    while True:
        print(json.dumps(answer | dict(peak=memory("VmHWM"))), file=out, flush=True)
        line = sys.stdin.readline()
        if not line: return
        asked = json.loads(line)
        answer = TASKS[asked.pop("task")](contender, **asked)


class Process:
    """A contender in a process of its own."""
    def __init__(self, python, backend="tensorflow", **job):
        from calcnb.report.command import KEEP_MEMORY
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([python, __file__, "--serve", json.dumps(job)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                        env={**os.environ, **KEEP_MEMORY, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"})
        self.weights = self.answer()["weights"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError("a contender ended: " + self.errors.read()[-2000:])
        got = json.loads(line)
        self.peak = got["peak"]
        return got

    def ask(self, task, **asked):
        print(json.dumps(dict(task=task, **asked)), file=self.process.stdin, flush=True)
        return self.answer()

    def __enter__(self): return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def has(python, *modules):
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules!r})))"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def show(title, rows):
    import pandas as pd
    print(f"\n{title}\n{pd.DataFrame(rows).to_string(index=False, na_rep='–', float_format=lambda v: f'{v:.3f}' if abs(v) < 100 else f'{v:.0f}')}", flush=True)


def summary(turns):
    """Median and least seconds, and how many processors were busy, of what a process answered in its turns."""
    seconds = np.concatenate([np.atleast_1d(turn["seconds"]) for turn in turns])
    return dict(seconds=float(np.median(seconds)), fastest_s=float(seconds.min()), busy=float(np.median([turn["busy"] for turn in turns])))


# 1. A training step

def contenders(torch_python):
    """name → (net, precision, interpreter, backend, kind, what the interpreter must have), in groups that are measured in turns."""
    ours, groups = sys.executable, []
    for precision in ("float32", "bfloat16"):
        groups.append({("Keras, TensorFlow", "plan", precision): (ours, "tensorflow", "keras", ("tensorflow",)),
                       ("Keras, PyTorch", "plan", precision): (torch_python, "torch", "keras", ("keras", "torch", "calcnb")),
                       ("PyTorch", "plan", precision): (torch_python, "torch", "torch", ("torch",))})
    groups.append({key: value for precision in ("float32", "bfloat16") for key, value in {
        ("Keras, TensorFlow", "folded", precision): (ours, "tensorflow", "keras", ("tensorflow",)),
        ("MONAI", "monai", precision): (torch_python, "torch", "torch", ("torch", "monai"))}.items()})
    return groups


def take_turns(group, rounds, number, side):
    """What was measured of each contender of a group, None for what is not installed."""
    with contextlib.ExitStack() as stack:
        running = {}
        for key, (python, backend, kind, needs) in group.items():
            if has(python, *needs):
                running[key] = stack.enter_context(Process(python, backend, kind=kind, net=key[1], precision=key[2]))
                running[key].ask("steps", number=3, side=side)
        turns = {key: [] for key in running}
        for _ in range(rounds):
            for key, process in running.items():
                turns[key].append(process.ask("steps", number=number, side=side))
        return {key: dict(weights=running[key].weights, **summary(turns[key]), peak_GB=running[key].peak) if key in running else None for key in group}


def step_tables(torch_python, rounds, number, side):
    found = {}
    for group in contenders(torch_python):
        found |= take_turns(group, rounds, number, side)
    rows = [dict(on=on, net=net, precision=precision, **(got | dict(images_per_s=BATCH/got["seconds"]) if got else dict(seconds="not installed")))
            for (on, net, precision), got in found.items()]
    show(f"A training step, batch {BATCH} of {side}²; medians of {rounds} × {number} steps", rows)
    bars = []
    for precision in ("float32", "bfloat16"):
        theirs = found["PyTorch", "plan", precision]
        kerases = {on: got["seconds"] for (on, net, p), got in found.items() if on.startswith("Keras") and net == "plan" and p == precision and got}
        if not theirs or not kerases: continue
        assert {got["weights"] for (_, net, p), got in found.items() if net == "plan" and p == precision and got} == {theirs["weights"]}, "the plans differ"
        best = min(kerases, key=kerases.get)
        bars.append(dict(precision=precision, torch_s=theirs["seconds"], best_keras=best, keras_s=kerases[best], times_as_fast=theirs["seconds"]/kerases[best], bar=f"≥ {BARS[precision]}"))
    if bars: show("Keras on its better backend, at the same plan, beside PyTorch", bars)


# 2. A whole mammogram

def draw_mammogram(folder, shape):
    """Write what a net sees of it, and its breast; returns the mask of visible calcifications and the pixel spacing."""
    from calcnb.image.breast import breast_mask
    from calcnb.image.contrast import normalise_locally
    from calcnb.virtual.variety import draw_varied, taught
    drawn = draw_varied(*IMAGE, shape)
    breast = breast_mask(drawn["pixels"], drawn["spacing_mm"])
    np.save(folder/"normal.npy", normalise_locally(drawn["pixels"], drawn["spacing_mm"], breast))
    np.save(folder/"breast.npy", breast)
    return taught(drawn["labels"], drawn["objects"]) > 0, drawn["spacing_mm"]


def teach(folder, number=600):
    """The folded plan after a minute of training, for want of the net that comes with calcnb."""
    import keras
    from calcnb.nets.losses import FocalDice
    from calcnb.nets.models import planned_net
    from calcnb.nets.training import Patches, schedule
    from calcnb.virtual.variety import draw_set
    from calcnb.weights import opened, patch_places
    keras.utils.set_random_seed(1)
    table = draw_set(folder/"taught", 3, 12, 2, (512, 416))
    arrays = {key: {name: opened(folder/"taught", name, part) for name in table.image_id} for key, part in (("images", "input"), ("masks", "mask"))}
    patches = Patches(**arrays, table=patch_places(folder/"taught", table.image_id, 128), size=128, batch=BATCH, steps=number)
    model = planned_net(plan="folded")
    model.compile(keras.optimizers.Adam(schedule(BASE_RATE, number)), FocalDice(), jit_compile=False)
    model.fit(patches, epochs=1, shuffle=False, verbose=0)
    return model


def prepare(job):
    """In a process of its own: the net, its answer to the whole mammogram in one float32 pass, and the threshold of its marks."""
    from calcnb.formats.files import BadInput
    from calcnb.measure.overlap import best_threshold, threshold_counts
    from calcnb.nets.models import in_precision, save_model, shipped
    from calcnb.nets.unet import divisor, finest
    from calcnb.measure.scores import THRESHOLDS
    folder = Path(job["folder"])
    try: model, card = shipped()
    except BadInput: model, card = teach(folder), {}
    save_model(folder, model)
    net = finest(in_precision(model))
    normal, breast, mask = (np.load(folder/f"{part}.npy") for part in ("normal", "breast", "mask"))
    rows, columns = normal.shape
    filled = np.pad(normal, [(0, -n % divisor(net)) for n in normal.shape])
    dense = np.where(breast, net.predict_on_batch(filled[None, ..., None])[0, :rows, :columns, 0], 0)
    threshold = card.get("threshold") or best_threshold(threshold_counts(dense, mask, THRESHOLDS, breast), THRESHOLDS)[0]
    np.save(folder/"dense.npy", dense)
    print(json.dumps(dict(shipped=bool(card), threshold=float(threshold), peak=memory("VmHWM"))))


def dice(a, b): return float(2*(a & b).sum()/max(a.sum() + b.sum(), 1))


def search_jobs(torch_python, folder):
    ours = {f"calcnb, tiles of {size}": (sys.executable, dict(kind="search", folder=str(folder), size=size, overlap=64, precision=precision), precision, ("tensorflow",))
            for size, precision in ((512, "bfloat16"), (256, "bfloat16"), (768, "bfloat16"), (1024, "bfloat16"))}
    ours["calcnb, tiles of 512, float32"] = (sys.executable, dict(kind="search", folder=str(folder), size=512, overlap=64, precision="float32"), "float32", ("tensorflow",))
    theirs = {f"MONAI, {name}": (torch_python, dict(kind="torch", net=net, precision=precision), precision, ("torch", "monai"))
              for name, net, precision in (("its UNet", "monai", "float32"), ("its UNet, bfloat16", "monai", "bfloat16"), ("plan 32-64-128-256", "plan", "float32"))}
    return ours | theirs


def whole_tables(torch_python, rounds, shape):
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = Path(folder)
        mask, spacing = draw_mammogram(folder, shape)
        np.save(folder/"mask.npy", mask)
        made = json.loads(subprocess.run([sys.executable, __file__, "--prepare", json.dumps(dict(folder=str(folder)))], capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        breast, dense = np.load(folder/"breast.npy"), np.load(folder/"dense.npy") >= made["threshold"]
        print(f"\nA mammogram of {shape[0]} × {shape[1]}, {spacing:g} mm, {100*breast.mean():.0f} % breast; net: {'as it comes with calcnb' if made['shipped'] else 'taught for a minute, none comes with this checkout'}; "
              f"threshold {made['threshold']:.2f}: {dense.sum()} pixels marked by one float32 pass ({made['peak']:.1f} GB), {mask.sum()} drawn, Dice of the two {dice(dense, mask):.2f}", flush=True)
        running, jobs = {}, search_jobs(torch_python, folder)
        for name, (python, job, _, needs) in jobs.items():
            if has(python, *needs):
                running[name] = stack.enter_context(Process(python, **job))
                running[name].ask("whole", folder=str(folder), rows=512)
        turns = {name: [] for name in running}
        for turn in range(rounds):
            for name, process in running.items():
                if turn and jobs[name][1].get("net") == "plan": continue  # more than half a minute, and no bar hangs on it
                turns[name].append(process.ask("whole", folder=str(folder), to=str(folder/"score.npy")))
                if not turn: process.marks = np.load(folder/"score.npy") >= made["threshold"]
        def row(name, job):
            if name not in running: return dict(seconds="not installed")
            return summary(turns[name]) | dict(runs=len(turns[name]), peak_GB=running[name].peak, weights=running[name].weights, dice=dice(running[name].marks & breast, dense) if job["kind"] == "search" else np.nan)
        rows = [dict(what=name, precision=precision, **row(name, job)) for name, (_, job, precision, _) in jobs.items()]
        show(f"The whole mammogram; bars for ours: ≤ {BARS['seconds']} s, ≤ {BARS['gigabytes']} GB, Dice ≥ {BARS['dice']}", rows)


# 3. Time to quality

def write_batches(folder, train, table, number, side):
    """All batches of a training, drawn once as `calcnb.nets.training.Patches` draws them."""
    from calcnb.nets.training import Patches
    from calcnb.weights import opened, patch_places
    arrays = {key: {name: opened(train, name, part) for name in table.image_id} for key, part in (("images", "input"), ("masks", "mask"))}
    patches = Patches(**arrays, table=patch_places(train, table.image_id, side), size=side, batch=BATCH, steps=number)
    x, y = (np.lib.format.open_memmap(folder/f"{part}.npy", "w+", kind, (number, BATCH, side, side, 1)) for part, kind in (("x", np.float16), ("y", np.uint8)))
    for n in range(number):
        x[n], y[n] = patches[n]
    x.flush(), y.flush()


def score(maps, folder, table):
    """Sensitivity at the allowed rate of false marks, and Dice, of score maps in a file."""
    from calcnb.measure.froc import froc, sensitivity_at
    from calcnb.measure.scores import choose, findings_of
    from calcnb.weights import search_set
    answers = iter(np.load(maps, mmap_mode="r"))
    cases = search_set(lambda *_: np.float32(next(answers)), folder, table)
    chosen = choose(cases)
    return sensitivity_at(froc(findings_of(cases, chosen["base"])), FALSE_PER_CM2), chosen["dice"]


class Quality:
    """The data, and trainings with it."""
    def __init__(self, folder, torch_python, given):
        from calcnb.virtual.variety import draw_set
        self.torch_python, self.steps, self.every, self.side, self.folder = torch_python, given.steps, given.every, given.side, folder
        kept, shape = Path(given.keep or folder), (given.drawn_rows, given.drawn_rows*13//16)
        train = draw_set(kept/"train", 21, given.images, 2, shape)
        self.validation, self.table = kept/"validation", draw_set(kept/"validation", 22, given.validation_images, 2, shape)
        self.names = self.table.image_id.tolist()
        write_batches(folder, kept/"train", train, self.steps, self.side)

    def start(self, net, precision, rate, number, norm):
        from calcnb.nets.training import schedule
        job = dict(net=net, precision=precision, rate=rate, steps=number)
        if net == "folded": return Process(sys.executable, kind="keras", **job)
        course = schedule(rate, number)
        return Process(self.torch_python, kind="torch", norm=norm, window=self.side, rates=[float(course(n)) for n in range(number)], **job)

    def search(self, process, to):
        process.ask("search", folder=str(self.validation), names=self.names, to=str(to))
        return to

    def faster(self, net):
        """The precision with the shorter step."""
        group = {("", net, p): (sys.executable, "tensorflow", "keras", ()) if net == "folded" else (self.torch_python, "torch", "torch", ()) for p in ("float32", "bfloat16")}
        return min((got["seconds"], key[2]) for key, got in take_turns(group, 3, 3, self.side).items())[1]

    def short(self, net, precision, rate, norm):
        """Score after a third of the steps."""
        number = max(1, self.steps//3)
        with self.start(net, precision, rate, number, norm) as process:
            process.ask("learn", folder=str(self.folder), first=0, last=number)
            return score(self.search(process, self.folder/"short.npy"), self.validation, self.table)[0]

    def tune(self, net):
        """(precision, rate, norm) with the best score, and all that was tried."""
        precision, tried = self.faster(net), {}
        for norm in ("INSTANCE", "BATCH") if net == "monai" else ("BATCH",):
            tried[BASE_RATE, norm] = self.short(net, precision, BASE_RATE, norm)
        norm = max(tried, key=tried.get)[1]
        for rate in RATES:
            if (rate, norm) not in tried: tried[rate, norm] = self.short(net, precision, rate, norm)
        rate, norm = max(tried, key=tried.get)
        return (precision, rate, norm), [dict(net=net, precision=precision, rate=r, norm=n.lower(), sensitivity=s, chosen="←" if (r, n) == (rate, norm) else "") for (r, n), s in tried.items()]

    def curves(self, settings):
        """Seconds of training and score of each net after every so many steps; the nets take turns."""
        from joblib import Parallel, delayed
        with contextlib.ExitStack() as stack:
            running = {net: stack.enter_context(self.start(net, precision, rate, self.steps, norm)) for net, (precision, rate, norm) in settings.items()}
            passed, rows = dict.fromkeys(running, 0.), []
            for first in range(0, self.steps, self.every):
                last = min(self.steps, first + self.every)
                for net, process in running.items():
                    got = process.ask("learn", folder=str(self.folder), first=first, last=last)
                    passed[net] += got["seconds"]
                    rows.append(dict(net=net, step=last, training_s=passed[net], busy=got["busy"], fastest_step_s=got["fastest_s"], loss=got["loss"], maps=self.search(process, self.folder/f"{net}{last}.npy")))
        scores = Parallel(2)(delayed(score)(row.pop("maps"), self.validation, self.table) for row in rows)
        return [row | dict(sensitivity=s, dice=d) for row, (s, d) in zip(rows, scores)]


def quality_tables(torch_python, given):
    if not has(torch_python, "torch", "monai"):
        print("\nTime to quality: MONAI is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        quality = Quality(Path(folder), torch_python, given)
        settings, tried = {}, []
        for net in ("folded", "monai"):
            settings[net], rows = quality.tune(net)
            tried += rows
        show(f"Chosen on the validation images: sensitivity at {FALSE_PER_CM2} FP/cm² after {max(1, given.steps//3)} steps", tried)
        rows = quality.curves(settings)
    by_net = {net: [row for row in rows if row["net"] == net] for net in settings}
    show(f"Time to quality: {given.images} and {given.validation_images} drawn images, batch {BATCH} of {given.side}², {given.steps} steps", by_net["folded"] + by_net["monai"])
    best = max(by_net["monai"], key=lambda row: row["sensitivity"])
    reached = next((row for row in by_net["folded"] if row["sensitivity"] >= best["sensitivity"]), None)
    show("When ours is as good as MONAI's UNet at its best", [verdict(by_net, best, reached)])


def verdict(by_net, best, reached):
    """Shares of MONAI's time: as it was, and at each net's fastest step, which other programs on the machine disturb least."""
    row = dict(monai_best=best["sensitivity"], monai_step=best["step"], monai_s=best["training_s"], ours_best=max(row["sensitivity"] for row in by_net["folded"]))
    if reached:
        fastest = {net: min(row["fastest_step_s"] for row in rows) for net, rows in by_net.items()}
        row |= dict(ours_step=reached["step"], ours_s=reached["training_s"], share=reached["training_s"]/best["training_s"], share_at_fastest_step=reached["step"]*fastest["folded"]/(best["step"]*fastest["monai"]))
    return row | dict(bar=f"≤ {BARS['quality']:.2f}")


def main():
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("step", "whole", "quality"): given.add_argument(f"--{name}", action="store_true")
    given.add_argument("--torch-python", default=sys.executable, metavar="PATH", help="interpreter with PyTorch and MONAI (default: this one)")
    given.add_argument("--rounds", type=int, default=4, help="turns of each contender")
    given.add_argument("--number", type=int, default=3, help="training steps in a turn")
    given.add_argument("--step-side", type=int, default=SIDE, help="side of the squares of --step, px")
    given.add_argument("--shape", type=int, nargs=2, default=(4084, 3328), metavar=("ROWS", "COLUMNS"), help="of the mammogram of --whole")
    given.add_argument("--steps", type=int, default=600, help="training steps of --quality")
    given.add_argument("--every", type=int, default=100, help="steps between scores of --quality")
    given.add_argument("--side", type=int, default=192, help="side of the patches of --quality, px")
    given.add_argument("--images", type=int, default=120)
    given.add_argument("--validation-images", type=int, default=24)
    given.add_argument("--drawn-rows", type=int, default=1024, help="height of the drawn images of --quality, px")
    given.add_argument("--keep", metavar="FOLDER", help="where the drawn images of --quality stay for another run")
    given.add_argument("--serve", help=argparse.SUPPRESS)
    given.add_argument("--prepare", help=argparse.SUPPRESS)
    given = given.parse_args()
    if given.serve: return serve(json.loads(given.serve))
    os.environ |= dict(TF_CPP_MIN_LOG_LEVEL="2", TQDM_DISABLE="1")
    if given.prepare: return prepare(json.loads(given.prepare))
    torch_python = given.torch_python
    chosen = {name for name in ("step", "whole", "quality") if getattr(given, name)} or {"step", "whole"}
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before the start", flush=True)
    if "step" in chosen: step_tables(torch_python, given.rounds, given.number, given.step_side)
    if "whole" in chosen: whole_tables(torch_python, given.rounds, tuple(given.shape))
    if "quality" in chosen: quality_tables(torch_python, given)


if __name__ == "__main__":
    main()
