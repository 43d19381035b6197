"""Speed and memory of preprocessing: 20 mammograms of 4084 × 3328, side by side in one run.

    python benchmarks/preprocess.py [--images N] [--repeats N]

1. The whole chain, DICOM to PNG and cache, beside decoding the file and encoding the same outputs alone, for three ways of
   writing DICOM.
2. DeepMiCa's preprocessing written plainly with the same libraries in one thread, beside ours: from the decoded image to the
   finished arrays (theirs 8 bits, with the mask of the findings it needs; ours 16 bits, without), and from file to file.
3. Two workers beside one, both warm; and what starting them takes.
4. Memory of a worker after 5 and after all images.
5. CLAHE of one whole image: ours, scikit-image, OpenCV.
6. 100,000 rows of catalogue, written and read.

Times are of the clock; ratios `by_cpu` are of the processors' time, which other programs on the machine disturb less. Of two
workers that is what they would gain with two processors to themselves. glibc keeps its memory here, as `calcnb run` tells it to.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
from pydicom import uid as uids
from skimage.exposure import equalize_adapthist

from calcnb import preprocess as stage
from calcnb.formats.cache import write_cache
from calcnb.formats.catalogue import ANNOTATIONS, read_catalogue, write_catalogue
from calcnb.formats.dicom import read_dicom, write_dicom
from calcnb.formats.png import read_png, write_png
from calcnb.image.breast import breast_mask, pectoral_muscle
from calcnb.image.contrast import clahe
from calcnb.report.command import KEEP_MEMORY
from calcnb.virtual.anatomy import draw_breast, expose

sys.path.insert(0, str(Path(__file__).parent))
from decoders import rewrite  # noqa: E402

SHAPE, SPACING = (4084, 3328), 0.07
GIVEN = dict(tile_mm=20.0, clip=2.0, remove_pectoral=False, margin_mm=2.0, window="none", pixel_mm=None, long_side=None)
WAYS = {"uncompressed": None, "JPEG lossless": uids.JPEGLosslessSV1, "JPEG 2000": uids.JPEG2000Lossless}
BARS = dict(chain=1.5, deepmica=8, workers=1.8, memory=600, catalogue=5, clahe=10)


def draw(folder, number):
    """Four virtual breasts, drawn at a quarter of the size and enlarged, each with noise of its own: (path, view) of each image."""
    bases, random, found = [], np.random.default_rng(1), []
    for k, view in enumerate(("MLO", "CC", "MLO", "CC")):
        rng = np.random.default_rng(10 + k)
        anatomy = draw_breast(rng, view, 2 + k % 3, (SHAPE[0]//4, SHAPE[1]//4), 4*SPACING, breast_depth_mm=(100, 170), breast_height_mm=(190, 250))
        bases.append((cv2.resize(expose(anatomy.image, anatomy, rng).astype(np.float32), SHAPE[::-1], interpolation=cv2.INTER_CUBIC), view))
    for n in range(number):
        grey, view = bases[n % 4]
        grey = grey*random.uniform(0.9, 1.1) + np.sqrt(np.maximum(grey, 0))*random.standard_normal(SHAPE, np.float32)
        path = write_dicom(folder/f"{n:02}.dcm", np.clip(grey, 0, 4095).astype(np.uint16)[:, ::1 - 2*(n % 2)], BitsStored=12, HighBit=11, ViewPosition=view, ImagerPixelSpacing=[SPACING]*2, PixelSpacing=[SPACING]*2)
        found.append((path, view))
    return found


def seconds(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def both(work):
    """Seconds by the clock and of the processor."""
    cpu, (wall, _) = time.process_time(), seconds(work)
    return wall, time.process_time() - cpu


def median_ms(work, repeats):
    return 1000*float(np.median([seconds(work)[0] for _ in range(repeats)]))


def chain(path, view, out, code):
    image = dict(image_id=path.stem, path=path.name, file=path, spacing_mm=None, view=view)
    record, problems = stage.prepare(image, [], lambda _: read_dicom(path), out, GIVEN, cache="linear", code=code)
    assert record and not problems, problems
    return record


def encode(arrays, out):
    for name, array in arrays.items():
        (write_cache if name.endswith("b2nd") else write_png)(out/name, array)


def outputs(record, out):
    arrays = {name: read_png(out/name) for name in record["files"] if name.endswith(".png")}
    return arrays | {name: arrays[f"linear/{Path(name).stem}.png"] for name in record["files"] if name.endswith("b2nd")}


def deepmica(image, mask):
    """Its steps 1 to 8 (8 bits; the centre of the findings is needed), as one would write them down."""
    half = image.shape[1]//2
    if image[:, half:].sum() > image[:, :half].sum():
        image, mask = np.fliplr(image), np.fliplr(mask)
    rows, cols = np.where(mask > 0)
    middle = (rows.min() + rows.max())//2, (cols.min() + cols.max())//2
    grey = image/255
    binary = (grey > 0.01).astype(np.uint8)
    right = max(np.where(row)[0].max() for row in binary if row.any())
    column = np.where(binary[:, middle[1]])[0]
    top, bottom = column.min(), column.max()
    grey[:, right + int(0.1*(grey.shape[1] - right)):] = 0
    grey[bottom + int(0.1*(grey.shape[0] - bottom)):] = 0
    grey[:int(0.9*top)] = 0
    edge = grey[:, :max(1, int(0.001*grey.shape[1]))]
    if np.mean((edge > 0.9) | (edge < 0.1)) > 0.1:
        grey, mask = grey[:, int(0.01*grey.shape[1]):], mask[:, int(0.01*mask.shape[1]):]
    binary = (grey > 0.01).astype(np.uint8)*255
    kernel = np.ones((23, 23), np.uint8)
    binary = cv2.dilate(cv2.morphologyEx(binary, cv2.MORPH_OPEN, kernel), kernel)
    outlines, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    breast = cv2.drawContours(np.zeros(binary.shape, np.uint8), [max(outlines, key=cv2.contourArea)], -1, 1, -1)
    grey = grey*breast
    rows, cols = np.where(grey > 0)
    window = np.s_[rows.min():rows.max() + 1, cols.min():cols.max() + 1]
    grey, mask = grey[window], mask[window]
    return cv2.createCLAHE(2.0, (8, 8)).apply((grey*255).astype(np.uint8)), mask


def eight_bits(pixels): return (pixels/pixels.max()*255).astype(np.uint8)


def findings(image):
    """A mask of findings in the breast, which DeepMiCa's steps cannot do without."""
    mask, half = np.zeros(image.shape, np.uint8), image.shape[1]//2
    mask[2000:2200, slice(-700, -500) if image[::8, half:].sum() > image[::8, :half].sum() else slice(500, 700)] = 255
    return mask


def deepmica_files(path, out):
    pixels = read_dicom(path).pixels
    image, mask = deepmica(eight_bits(pixels), findings(pixels))
    cv2.imwrite(str(out/"image.png"), image)
    cv2.imwrite(str(out/"mask.png"), mask)


def chain_rows(files, out, repeats):
    rows = []
    for name, syntax in WAYS.items():
        some = files if syntax is None else files[:4]
        if syntax is not None:
            (out/"packed").mkdir(exist_ok=True)
            some = [(rewrite(path, syntax, out/"packed"/f"{syntax}-{path.name}"), view) for path, view in some]
        given = {path: outputs(chain(path, view, out/"a", "first"), out/"a") for path, view in some}
        times = dict(whole=[], read=[], code=[])
        for turn in range(repeats):
            for path, view in some:
                times["whole"].append(both(lambda: chain(path, view, out/"a", str(turn))))
                times["read"].append(both(lambda: read_dicom(path).pixels.max()))
                times["code"].append(both(lambda: encode(given[path], out/"b")))
        whole, read, code = (1000*np.mean(np.median(np.reshape(t, (repeats, len(some), 2)), axis=0), axis=0) for t in times.values())
        ratio, by_cpu = whole/(read + code)
        rows.append(dict(way=name, images=len(some), whole_ms=whole[0], decode_ms=read[0], encode_ms=code[0], ratio=ratio, by_cpu=by_cpu, bar=f"≤ {BARS['chain']}"))
    return pd.DataFrame(rows)


def step_rows(path, view, repeats):
    """Where the time of one image goes."""
    source = read_dicom(path)
    done = stage.preprocess_image(source, **GIVEN)
    pixels = stage.from_source(source.pixels, done.transform)
    steps = {"read": lambda: read_dicom(path), "breast mask": lambda: breast_mask(source.pixels, SPACING),
             "pectoral muscle": lambda: pectoral_muscle(pixels, done.breast, SPACING), "CLAHE": lambda: clahe(done.linear, SPACING, 20, 2, done.breast),
             "all but reading and writing": lambda: stage.preprocess_image(source, **GIVEN)}
    return pd.DataFrame([dict(step=name, ms=median_ms(work, repeats)) for name, work in steps.items()])


def deepmica_rows(files, out, repeats):
    times = {name: [] for name in ("theirs", "ours", "theirs, file to file", "ours, file to file")}
    for turn in range(repeats):
        for path, view in files:
            source = read_dicom(path)
            eight, mask = eight_bits(source.pixels), findings(source.pixels)
            times["theirs"].append(both(lambda: deepmica(eight, mask)))
            times["ours"].append(both(lambda: stage.preprocess_image(source, **GIVEN)))
            times["theirs, file to file"].append(both(lambda: deepmica_files(path, out)))
            times["ours, file to file"].append(both(lambda: chain(path, view, out/"a", f"d{turn}")))
    ms = {name: 1000*np.median(t, axis=0) for name, t in times.items()}
    pairs = [(what, ms[f"theirs{end}"], ms[f"ours{end}"]) for what, end in (("image to arrays", ""), ("file to file", ", file to file"))]
    return pd.DataFrame([dict(what=what, theirs_ms=theirs[0], ours_ms=ours[0], times_faster=theirs[0]/ours[0], by_cpu=theirs[1]/ours[1], bar=f"≥ {BARS['deepmica']}") for what, theirs, ours in pairs])


def worker_rows(files, out, repeats):
    folder = files[0][0].parent
    table = pd.DataFrame(dict(image_id=[p.stem for p, _ in files], path=[p.name for p, _ in files], rows=SHAPE[0], cols=SHAPE[1], spacing_mm=None, view=[v for _, v in files]))
    def cpu(): return sum(psutil.Process().cpu_times()[:4]) + sum(sum(p.cpu_times()[:2]) for p in psutil.Process().children())  # of ended workers, too
    def run(jobs):
        shutil.rmtree(out/"w", ignore_errors=True)
        before = cpu()
        took, (records, problems) = seconds(lambda: stage.prepare_all(table, {}, "inbreast", folder, out/"w", GIVEN, jobs=jobs, cache="linear"))
        assert len(records) == len(table) and not problems
        return took, cpu() - before
    cold = seconds(lambda: run(2))[0]  # an idle worker ends after ten seconds, so that each warm run follows one of two workers
    two, one = (np.median([run(jobs) for _ in range(max(1, repeats//2))], axis=0) for jobs in (2, 1))
    return pd.DataFrame([dict(images=len(files), one_s=one[0], two_s=two[0], ratio=one[0]/two[0], by_cpu=2*one[1]/two[1], bar=f"≥ {BARS['workers']}", two_with_starting_s=cold)])


MEMORY = """
import sys
sys.path.insert(0, {here!r})
import cv2, psutil
from pathlib import Path
from preprocess import chain
cv2.setNumThreads(1)
files, out = sorted(Path({folder!r}).glob("*.dcm")), Path({out!r})
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))/1024
before = psutil.Process().memory_info().rss
for n, path in enumerate(files, 1):
    chain(path, "MLO", out, "memory")
    if n in (5, len(files)): print(n, psutil.Process().memory_info().rss/2**20, peak(), before/2**20)
"""


def memory_rows(files, out):
    code = MEMORY.format(here=str(Path(__file__).parent), folder=str(files[0][0].parent), out=str(out/"m"))
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    return pd.DataFrame([dict(zip(("images", "now_MiB", "peak_MiB", "libraries_MiB"), map(float, line.split()))) | dict(bar=f"peak ≤ {BARS['memory']}") for line in lines if line])


def clahe_rows(path, repeats):
    image = read_dicom(path).pixels
    side = round(20/SPACING)
    works = {"ours, 16 bits": lambda: clahe(image, SPACING, 20, 2), "scikit-image, 16 bits": lambda: equalize_adapthist(image, kernel_size=side, clip_limit=2/1024, nbins=1024),
             "OpenCV, 8 bits": lambda: cv2.createCLAHE(2.0, (14, 12)).apply(eight), "OpenCV, 16 bits (its clip limit has no effect)": lambda: cv2.createCLAHE(2.0, (14, 12)).apply(image)}
    eight = eight_bits(image)
    times = {name: median_ms(work, repeats if "scikit" not in name else max(1, repeats//2)) for name, work in works.items()}
    return pd.DataFrame([dict(what=name, ms=ms, times_ours=ms/times["ours, 16 bits"]) for name, ms in times.items()])


def catalogue_rows(out, number=100_000):
    n = np.arange(number)
    table = pd.DataFrame(dict(image_id=n.astype(str), dataset="inbreast", patient_id=(n//4).astype(str), laterality=np.where(n % 2, "L", "R"), view=np.where(n % 4 < 2, "CC", "MLO"), path=[f"a/{k}.dcm" for k in n],
                              rows=4084, cols=3328, spacing_mm=0.07, spacing_source="ImagerPixelSpacing", photometric="MONOCHROME2", bits=14, density=1 + n % 4, birads="2", pathology="benign", label_source="birads", official_split=None, annotation=ANNOTATIONS[0]))
    write, _ = seconds(lambda: write_catalogue(table, out/"catalogue.parquet"))
    read, again = seconds(lambda: read_catalogue(out/"catalogue.parquet"))
    assert len(again) == number
    return pd.DataFrame([dict(rows=number, write_s=write, read_s=read, both_s=write + read, bar=f"≤ {BARS['catalogue']}")])


def main():
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--images", type=int, default=20, help="8 or more, or one worker does it all")
    given.add_argument("--repeats", type=int, default=5)
    given = given.parse_args()
    cv2.setNumThreads(1)
    show = lambda title, table: print(f"\n{title}\n{table.to_string(index=False, float_format=lambda v: f'{v:.2f}' if abs(v) < 100 else f'{v:.0f}')}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder)/"raw", Path(folder)/"out"
        raw.mkdir(), out.mkdir()
        files = draw(raw, given.images)
        print(f"{len(files)} images of {SHAPE[0]} × {SHAPE[1]}, 12 bits; medians of {given.repeats} repeats of each image; OpenCV with one thread")
        show("The whole chain, and decoding and encoding alone", chain_rows(files, out, given.repeats))
        show("Where the time of an oblique view goes", step_rows(*files[0], given.repeats))
        show("DeepMiCa's steps written plainly", deepmica_rows(files[:4], out, given.repeats))
        show("Two workers", worker_rows(files, out, given.repeats))
        show("Memory of a worker", memory_rows(files, out))
        show("CLAHE of a whole image (bar: 10 times as fast as scikit-image)", clahe_rows(files[0][0], given.repeats))
        show("Catalogue", catalogue_rows(out))


if __name__ == "__main__":
    if not KEEP_MEMORY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    main()
