"""Small drawn datasets in each layout, written as they are distributed, and whole runs of the stages over them."""
import json
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from calcnb.formats.dicom import write_dicom
from calcnb.formats.files import project_root
from calcnb.formats.layouts import LAYOUTS
from calcnb.preprocess import prepare_all
from calcnb.report.execute import run_stage


def breast(side, seed, rows=400, cols=320, top=4000):
    """A breast of a kind with its own shape and texture, chest wall on the left for L, in dark air."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols]
    middle, width, height = rng.uniform(0.42, 0.58) * rows, rng.uniform(0.6, 0.85) * cols, rng.uniform(0.36, 0.46) * rows
    depth = 1 - (x / width) ** 2 - ((y - middle) / height) ** 2
    scale = rows / 400
    texture = sum(gaussian_filter(rng.normal(size=(rows, cols)), s * scale) * s * scale for s in (2, 5, 12, 30))
    tissue = np.where(depth > 0, 0.25 + 0.35 * np.sqrt(np.clip(depth, 0, 1)) + 0.12 * texture, 0.01)
    picture = np.clip(tissue, 0, 1) * top
    return (picture if side == "L" else picture[:, ::-1]).astype(np.uint8 if top < 256 else np.uint16)


def specks(picture, side, seed, n=5):
    """The picture with bright specks in it, and their mask."""
    rng = np.random.default_rng(seed)
    rows, cols = picture.shape
    mask = np.zeros(picture.shape, bool)
    for _ in range(n):
        y, x = int(rng.uniform(0.42, 0.58) * rows), int(rng.uniform(0.15, 0.4) * cols)
        mask[y : y + 3, (x if side == "L" else cols - x - 3) :][:, :3] = True
    return np.where(mask, np.minimum(picture.astype(float) * 1.6, np.iinfo(picture.dtype).max), picture).astype(picture.dtype), mask


def save(path, array, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array).save(path, **more)


def draw_mias(root, pairs=6):
    """Odd numbers right, even left; findings in every second pair, one spread over the film, one wrong line."""
    (root / "all-mias").mkdir(parents=True)
    lines = ["This file lists the films in the MIAS database.", "=" * 40]
    for n in range(1, 2 * pairs + 1):
        side = "RL"[n % 2 == 0]
        film = breast(side, n, 1024, 760, 230)
        if (n + 1) // 2 % 2:
            film, mask = specks(film, side, n)
            y, x = (int(v.mean()) for v in np.nonzero(mask))
            lines.append(f"mdb{n:03} G CALC {'BM'[n % 2]} {x + 132} {1023 - y} 60")
        else:
            lines.append(f"mdb{n:03} F NORM")
        padded = np.pad(film, ((0, 0), (132, 132)))
        (root / "all-mias" / f"mdb{n:03}.pgm").write_bytes(b"P5\n1024 1024\n255\n" + padded.tobytes())
    lines += ["mdb003 F CALC B *NOTE 3*", "mdb004 F CIRC B 5000 1 2", "-" * 40]
    (root / "all-mias" / "Info.txt").write_text("\n".join(lines))


def draw_folder(root, patients=6):
    """TIFF, JPEG, PNG and DICOM by turns, masks by every convention, a table for some."""
    rows = ["image_id,pathology,density"]
    for n in range(patients):
        for side in "LR":
            picture, mask = specks(breast(side, 10 * n + (side == "R")), side, n)
            name = f"case{n}_{side}_{'CC' if side == 'L' else 'MLO'}"
            if n % 3 == 0:
                save(root / f"{name}.tif", picture)
                save(root / f"{name}_mask.png", mask)
            elif n % 3 == 1:
                save(root / "more" / f"{name}.jpg", np.minimum(picture >> 4, 255).astype(np.uint8), quality=95)
                save(root / "masks" / "calcification" / f"{name}.png", mask)
            else:
                write_dicom(root / f"{name}.dcm", picture, PatientID=f"Theodora {n}", PatientName="Zacharewicz^Theodora", PatientBirthDate="19530721", ImagerPixelSpacing=[0.5, 0.5])
                save(root / "masks" / f"{name}_1.png", mask)
            rows.append(f"{name},{'benign' if n % 2 else 'malignant'},{1 + n % 4}")
    save(root / "colour.png", np.random.default_rng(0).integers(0, 255, (60, 40, 3)).astype(np.uint8))
    (root / "images.csv").write_text("\n".join(rows))


def draw_deepmica(root, patients=6):
    """DeepMiCa's INbreast: numbers as names, a table with semicolons, a mask where Micros is X."""
    rows = ["File Name;Patient ID;Micros;Laterality;View;ACR;Bi-Rads"]
    for n in range(patients):
        for side in "LR":
            number = 20586000 + 10 * n + (side == "R")
            picture, mask = specks(breast(side, 100 + 10 * n + (side == "R"), top=255), side, n)
            save(root / "INbreast" / "AllPng" / f"{number}.png", picture)
            if n % 3 < 2:
                save(root / "INbreast" / "Masks" / f"{number}.png", mask)
            rows.append(f"{number};{n};{'X' if n % 3 < 2 else ''};{side};CC;{1 + n % 4};{'2' if n % 2 else '5'}")
    (root / "INbreast" / "csv").mkdir()
    (root / "INbreast" / "csv" / "INbreast_table_noClusters.csv").write_text("\n".join(rows), encoding="latin-1")


def draw_chest(root, patients=6):
    """X-rays and scores, among them a lateral view, an empty one and a score that is none."""
    root.mkdir(parents=True)
    with sqlite3.connect(root / "site.db") as db:
        db.execute("CREATE TABLE patient (id TEXT, cac_score, sex TEXT, birth TEXT, rx_date TEXT)")
        for n in range(1, patients + 1):
            db.execute("INSERT INTO patient VALUES (?, ?, ?, ?, ?)", (f"CAC_{n:02}", "n.d." if n == 2 else 30 * n, "fm"[n % 2], "1953-07-21", "2019-03-04"))
    db.close()
    for n in range(1, patients + 1):
        for k, view in enumerate(["PA", "LL"] if n == 1 else [""] if n == 3 else ["AP"]):
            picture = np.maximum(breast("L", n), breast("R", n + 50))
            write_dicom(root / f"CAC_{n:03}" / "rx" / f"{k}.dcm", picture, Modality="DX", ViewPosition=view, PatientID=f"CAC_{n:03}", PatientName="Zacharewicz^Theodora", PatientBirthDate="19530721", ImagerPixelSpacing=[0.8, 0.8])


DRAW = dict(mias=draw_mias, folder=draw_folder, deepmica=draw_deepmica, chest=draw_chest)


def run(study, folder, *more, raw=None, **environment):
    """`calcnb run` of a study from config/ over a drawn dataset; the finished process."""
    command = [sys.executable, "-m", "calcnb.report.command", "run", "--study", study, "--raw-dir", str(raw or folder / "raw"), "--work-dir", str(folder / "work"), "--report-dir", str(folder / "report"),
               "--cores", "2", "--no-pages", *more]
    kept = {k: v for k, v in os.environ.items() if k != "CALCNB_RUN"}
    return subprocess.run(command, cwd=project_root(), env=kept | environment, capture_output=True, text=True, timeout=300)


def figures(folder, stage):
    return json.loads((folder / "report/metrics" / f"{stage}.json").read_text())["figures"]


def written_text(folder):
    """All text that a run leaves in its reports, and the tables of its work folder but for the column of paths."""
    parts = [path.read_text(errors="replace") for path in sorted((folder / "report").rglob("*")) if path.suffix in (".json", ".ipynb", ".html", ".log", ".csv")]
    parts += [path.read_text() for path in sorted((folder / "work").rglob("*.csv"))]
    parts += [pd.read_parquet(path).drop(columns="path", errors="ignore").to_csv() for path in sorted((folder / "work").rglob("*.parquet"))]
    return "\n".join(parts)


def told_of_a_person(folder):
    """What of the drawn people's names and dates stands in the written text; long enough not to occur in a picture's base64."""
    text = written_text(folder)
    return [secret for secret in ("Zacharewicz", "Theodora", "19530721", "1953-07-21") if secret in text]


SHORT = ["--set", "split.patch_size=64", "--set", "split.stride=32"]


def whole_run(layout, tmp_path):
    """The four stages over a drawn dataset; its catalogue, lesions and roles."""
    DRAW[layout](tmp_path / "raw")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "raw").rglob("*")}
    done = run(layout, tmp_path, *SHORT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "raw").rglob("*")} == before, "the distributed files were touched"
    read = lambda name: pd.read_parquet(tmp_path / "work/explore" / f"{name}.parquet")
    images, lesions, roles = read("catalogue"), read("lesions"), pd.read_csv(tmp_path / "work/split/splits.csv", dtype=str)
    processed = {path.stem for path in (tmp_path / "work/preprocess/images").glob("*.png")}
    assert processed == set(images.image_id[images.path.notna()]) == set(roles.image_id)
    assert roles.groupby("patient_id").role.nunique().max() == 1 and set(roles.role) == {"train", "validation", "test"}
    assert figures(tmp_path, "split")["leaks"] == 0 and figures(tmp_path, "split")["patches_with_target"] > 0
    assert not told_of_a_person(tmp_path)
    return images.set_index("image_id"), lesions, roles


@pytest.mark.parametrize("layout", ["folder", "chest"])
def test_exploring_names_what_is_wrong_and_nobody(layout, tmp_path):
    """The fast one: one stage, in this process."""
    DRAW[layout](tmp_path / "raw")
    assert run_stage("explore", dict(layout=layout, raw_dir=str(tmp_path / "raw"), work_dir=str(tmp_path / "work"), report_dir=str(tmp_path / "report"), seed=1, spacing_mm=None)) == ""
    images = pd.read_parquet(tmp_path / "work/explore/catalogue.parquet").set_index("image_id")
    problems = pd.read_csv(tmp_path / "work/explore/problems.csv")
    assert not told_of_a_person(tmp_path)
    if layout == "folder":
        assert len(images) == 12 and problems.file.tolist() == ["colour.png"] and "red, green and blue differ" in problems.reason[0]
        assert images.spacing_mm.notna().sum() == 4 and (images.spacing_source[images.spacing_mm.isna()] == "none in the file").all()
    else:
        assert images.decision.value_counts().to_dict() == {"keep": 4, "drop": 2, "review": 1}
        assert (images.age == 65).all() and images["view"].isna().sum() == 1


@pytest.mark.slow
def test_a_folder_goes_through_the_stages(tmp_path):
    images, lesions, roles = whole_run("folder", tmp_path)
    assert len(images) == 12 and images.patient_id.nunique() == 6
    assert set(images.bits) == {8, 16} and set(lesions.kind) == {"calcification", "calcification_region"}


@pytest.mark.slow
def test_mias_goes_through_the_stages(tmp_path):
    images, lesions, roles = whole_run("mias", tmp_path)
    assert len(images) == 12 and images.patient_id.nunique() == 6 and (images.spacing_mm == 0.2).all()
    assert images.annotation["mdb003"] == "incomplete" and (lesions.outline == "").sum() == 2
    assert roles.patient_id[roles.image_id.isin(["mdb001", "mdb002"])].nunique() == 1


@pytest.mark.slow
def test_deepmica_is_merged_and_prepared(tmp_path):
    """Two stages as a run, the third by its function: the fourth is the same for every layout."""
    draw_deepmica(tmp_path / "raw")
    done = run("deepmica", tmp_path, "--stages", "merge")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    images, lesions = (pd.read_parquet(tmp_path / "work/explore" / f"{name}.parquet") for name in ("catalogue", "lesions"))
    assert len(images) == 12 and images.patient_id.nunique() == 6 and set(lesions.kind) == {"calcification"}
    assert (images.annotation == "complete").all() and images.spacing_mm.isna().all()
    masks = pd.read_csv(tmp_path / "work/merge/masks.csv", dtype=dict(image_id=str))
    masks_of = {row.image_id: [(row.kind, tmp_path / "work/merge" / row.path)] for row in masks.itertuples()}
    records, problems = prepare_all(images, masks_of, "deepmica", tmp_path / "raw", tmp_path / "prepared", dict(tile_mm=20.0, clip=2.0))
    assert len(records) == 12 and not problems and not told_of_a_person(tmp_path)
    assert len(list((tmp_path / "prepared/masks/calcification").glob("*.png"))) == len(masks)


LAYOUT_OF_ONES_OWN = """
from calcnb.formats.folder import Folder
class Mine(Folder):
    name = "mine"
    def catalogue(self, *given, **named): return super().catalogue(*given, **named).assign(dataset="mine")
"""


@pytest.mark.slow
def test_a_chest_study_is_cleaned_by_a_table_and_prepared(tmp_path):
    draw_chest(tmp_path / "raw")
    before = {path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()}
    done = run("chest", tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert {path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()} == before
    decisions = pd.read_csv(tmp_path / "work/preprocess/decisions.csv")
    assert decisions[decisions.what == "image"].decision.value_counts().to_dict() == {"keep": 4, "drop": 2, "review": 1}
    kept = decisions.image_id[(decisions.what == "image") & (decisions.decision == "keep")]
    assert {path.stem for path in (tmp_path / "work/preprocess/images").glob("*.png")} == set(kept)
    picture = np.asarray(Image.open(next((tmp_path / "work/preprocess/images").glob("*.png"))))
    assert max(picture.shape) == 1024 and abs(picture.shape[1] / picture.shape[0] - 320 / 400) < 0.01
    assert not told_of_a_person(tmp_path)


@pytest.mark.slow
def test_a_layout_of_ones_own_is_accepted_by_the_command_and_the_stages(tmp_path):
    package = tmp_path / "site"
    (package / "mine-1.dist-info").mkdir(parents=True)
    (package / "mine-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (package / "mine-1.dist-info/entry_points.txt").write_text("[calcnb.layouts]\nmine = mine:Mine\n")
    (package / "mine.py").write_text(LAYOUT_OF_ONES_OWN)
    draw_folder(tmp_path / "raw", 2)
    (tmp_path / "mine.yaml").write_text("title: Mine\nlayout: mine\nraw_dir: a\nwork_dir: b\nreport_dir: c\nstages: [explore]\n")
    assert "mine" not in LAYOUTS
    refused = run(str(tmp_path / "mine.yaml"), tmp_path)
    assert refused.returncode == 2 and "'mine' is not one of inbreast" in refused.stderr
    done = run(str(tmp_path / "mine.yaml"), tmp_path, PYTHONPATH=str(package))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert set(pd.read_parquet(tmp_path / "work/explore/catalogue.parquet").dataset) == {"mine"}
