"""Breast and muscle as the small study's run found them, beside the outlines from which its images were drawn."""
import cv2
import numpy as np
import pandas as pd
import pytest

from calcnb.formats.png import load
from calcnb.preprocess import as_transform, to_source
from calcnb.report.stage import resolve_path

WORK = {"digital": "data/work/small/preprocess", "film": "data/work/small-film/preprocess"}
TRUTH = resolve_path("data/raw/small/truth")


def dice(a, b): return 2*np.sum(a & b)/(np.sum(a) + np.sum(b))


def overlaps(folder, part, ids):
    """Dice of each image in the file's own pixels; the rows and columns of a film's border are not counted"""
    transforms = pd.read_csv(folder/"transforms.csv", dtype=dict(image_id=str)).set_index("image_id", drop=False)
    for image_id in ids:
        found = to_source(load(folder, part, image_id), as_transform(transforms.loc[image_id])) > 0
        truth = cv2.imread(str(TRUTH/part/f"{image_id}.png"), cv2.IMREAD_UNCHANGED) > 0
        breast = to_source(load(folder, "breast", image_id), as_transform(transforms.loc[image_id])) > 0
        rows = np.flatnonzero(breast.any(1))[[0, -1]]
        truth[:rows[0]] = truth[rows[1] + 1:] = False
        yield image_id, dice(found, truth)


@pytest.mark.parametrize("kind", [pytest.param("digital"), pytest.param("film", marks=pytest.mark.slow)])
def test_outlines(kind):
    folder = resolve_path(WORK[kind])
    if not (folder/"transforms.csv").exists(): pytest.skip(f"{folder.parent.name} has not been run")
    breast = dict(overlaps(folder, "breast", sorted(p.stem for p in (folder/"breast").glob("[!.]*.png"))))
    assert len(breast) >= 12 and np.mean(list(breast.values())) > 0.995 and min(breast.values()) > 0.98
    doubt = {p.stem: pd.read_json(p, typ="series").pectoral_doubt for p in (folder/"records").glob("[!.]*.json")}
    muscle = dict(overlaps(folder, "pectoral", sorted(p.stem for p in (folder/"pectoral").glob("[!.]*.png"))))
    assert len(muscle) >= 6 and np.median(list(muscle.values())) > 0.97
    assert [name for name, overlap in muscle.items() if overlap < 0.95 and not doubt[name]] == []
    assert sum(bool(doubt[name]) for name in muscle) <= len(muscle)/3
