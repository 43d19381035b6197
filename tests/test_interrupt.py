"""Ctrl-C while images are prepared: what is finished is whole, nothing half-written stays, and the next run does the rest."""
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from calcnb.formats.cache import read_cache
from calcnb.formats.dicom import write_dicom
from calcnb.formats.png import read_png

IMAGES, PROJECT = 12, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUN = """
import sys, pandas as pd
from pathlib import Path
from calcnb import preprocess
raw, out, jobs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
given = dict(tile_mm=20.0, clip=2.0, remove_pectoral=False, margin_mm=2.0)
records, problems = preprocess.prepare_all(pd.read_csv(raw/"images.csv"), {}, "inbreast", raw, out, given, jobs=jobs, cache="linear")
print(len(records), len(problems))
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Small oblique views, each a little different; the table says they are large, so that processes are worth starting."""
    folder, random = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    y, x = np.mgrid[:1000, :800]
    for n in range(IMAGES):
        depth = 1 - np.hypot((y - 500)/480, x/(600 + 4*n))
        grey = np.where(depth > 0, 900 + 1500*np.clip(3*depth, 0, 1) + 800*(x/300 + y/500 < 1), 0)*random.normal(1, 0.03, y.shape)
        write_dicom(folder/f"{n:02}.dcm", np.clip(grey, 0, 4095).astype(np.uint16))
    names = [f"{n:02}" for n in range(IMAGES)]
    pd.DataFrame(dict(image_id=[f"i{n}" for n in names], path=[f"{n}.dcm" for n in names], rows=5000, cols=5000, spacing_mm=0.1, view="MLO")).to_csv(folder/"images.csv", index=False)
    return folder


def start(raw, out, jobs):
    return subprocess.Popen([sys.executable, "-c", RUN, raw, out, str(jobs)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                            cwd=PROJECT, env={**os.environ, "PYTHONPATH": PROJECT})


def records(out): return {p.stem: (json.loads(p.read_text()), p.stat().st_mtime_ns) for p in (out/"records").glob("[!.]*.json")}
def content(out): return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file() and p.parent.name != "records"}


@pytest.fixture(scope="module")
def untouched(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("untouched")
    said, errors = start(raw, out, 1).communicate(timeout=60)
    assert said.split() == [str(IMAGES), "0"], errors
    return dict(files=content(out), progress=errors.replace("\r", "\n").strip().splitlines())


def test_progress_tells_rate_and_time_left(untouched):
    assert "preprocess: 100%" in untouched["progress"][-1] and f"{IMAGES}/{IMAGES}" in untouched["progress"][-1]
    assert any("image/s" in line and "<00:" in line for line in untouched["progress"][1:-1])  # elapsed<left, rate


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c(raw, untouched, tmp_path, jobs):
    run = start(raw, tmp_path, jobs)
    deadline = time.monotonic() + 40
    while len(list((tmp_path/"records").glob("[!.]*.json"))) < 3:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    pressed = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all processes of the run
    _, errors = run.communicate(timeout=20)
    assert run.returncode != 0 and "KeyboardInterrupt" in errors
    assert time.monotonic() - pressed < 10
    assert f"of {IMAGES} images are finished" in errors and "run again to go on" in errors

    # what a record names is whole, and the same as in a run that was left alone
    done = records(tmp_path)
    assert 3 <= len(done) < IMAGES
    for record, _ in done.values():
        for name in record["files"]:
            assert (tmp_path/name).read_bytes() == untouched["files"][name]
            (read_cache if name.endswith(".b2nd") else read_png)(tmp_path/name)
    # nor is any other file half-written
    for name, data in content(tmp_path).items(): assert data == untouched["files"][name], name

    # the next run leaves those alone, does the others, and ends where the undisturbed one did
    said, errors = start(raw, tmp_path, jobs).communicate(timeout=60)
    assert said.split() == [str(IMAGES), "0"], errors
    again = records(tmp_path)
    assert {name: again[name] for name in done} == done and len(again) == IMAGES
    assert content(tmp_path) == untouched["files"]
