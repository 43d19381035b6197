"""Damaged files: each is one row in problems.csv, and the other files' results are what they are without it."""
import csv
import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest

from calcnb.formats.files import project_root
from calcnb.report.execute import run_stage

SMALL = project_root() / "data/raw/small"
pytestmark = pytest.mark.skipif(not (SMALL / "cohort.json").exists(), reason="the small cohort is made by `make test`")
ENTITY_BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<plist version="1.0"><dict><key>Images</key><string>&c;</string></dict></plist>"""


def run_two_stages(layout, raw_dir, folder):
    """Problems (file → reason), catalogue, lesions and mask list after explore and merge."""
    shared = dict(layout=layout, raw_dir=str(raw_dir), work_dir=str(folder / "work"), report_dir=str(folder / "report"), seed=1)
    for stage in ("explore", "merge"):
        assert run_stage(stage, shared) == ""
    rows = [row for stage in ("explore", "merge") for row in csv.DictReader((folder / "work" / stage / "problems.csv").open())]
    tables = {name: pd.read_parquet(folder / "work" / "explore" / f"{name}.parquet") for name in ("catalogue", "lesions")}
    return rows, tables["catalogue"].set_index("image_id"), tables["lesions"].set_index("lesion_id"), pd.read_csv(folder / "work/merge/masks.csv").astype(str)


def same_rows(before, after, without=()):
    """Whether every row of `before` stands unchanged in `after`, but for those named."""
    kept = before.drop(index=[i for i in without if i in before.index])
    pd.testing.assert_frame_equal(kept, after.loc[kept.index])


@pytest.fixture(scope="module")
def inbreast(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inbreast")
    shutil.copytree(SMALL / "INbreast", folder / "raw/INbreast")
    return folder / "raw", run_two_stages("inbreast", folder / "raw", folder / "clean")


def test_inbreast_faults_are_one_row_each_and_harm_no_other_file(inbreast, tmp_path):
    clean_raw, (clean_problems, catalogue, lesions, masks) = inbreast
    raw = tmp_path / "raw"
    shutil.copytree(clean_raw, raw)
    dicoms = sorted((raw / "INbreast/AllDICOMs").glob("*.dcm"))
    whole = dicoms[0].read_bytes()
    (raw / "INbreast/AllDICOMs/99999901_0123456789abcdef_MG_L_CC_ANON.dcm").write_bytes(whole[: len(whole) // 3])
    (raw / "INbreast/AllDICOMs/99999902_0123456789abcdef_MG_L_CC_ANON.dcm").write_text("this is a letter, not an image\n" * 50)
    (raw / "INbreast/AllXML/99999903.xml").write_text("<html><body>not a property list</body></html>")
    (raw / "INbreast/AllXML/99999904.xml").write_text(ENTITY_BOMB)
    problems, catalogue_after, lesions_after, masks_after = run_two_stages("inbreast", raw, tmp_path / "damaged")
    new = [row for row in problems if row["file"].startswith("999999")]
    assert sorted({row["file"][:8] for row in new}) == ["99999901", "99999902", "99999903", "99999904"]
    for stage in ("explore", "merge"):
        files = [row["file"] for row in new if row["stage"] == stage]
        assert len(files) == len(set(files)), f"a file stands twice in {stage}'s problems"
    assert all(len(row["reason"]) > 10 and "\n" not in row["reason"] for row in new)
    assert len(problems) - len(clean_problems) == len(new)
    same_rows(catalogue, catalogue_after), same_rows(lesions, lesions_after)
    assert len(catalogue_after) == len(catalogue) and masks_after.equals(masks)


@pytest.mark.slow
def test_an_empty_inbreast_table_is_named_and_the_images_are_still_read(inbreast, tmp_path):
    clean_raw, (_, catalogue, lesions, _) = inbreast
    raw = tmp_path / "raw"
    shutil.copytree(clean_raw, raw)
    (raw / "INbreast/INbreast.csv").write_text("")
    problems, catalogue_after, lesions_after, _ = run_two_stages("inbreast", raw, tmp_path / "damaged")
    assert [row["file"] for row in problems if row["stage"] == "explore"] == ["INbreast.csv"]
    pixels = ["path", "rows", "cols", "spacing_mm", "bits", "patient_id", "laterality"]
    pd.testing.assert_frame_equal(catalogue[pixels], catalogue_after[pixels])
    pd.testing.assert_frame_equal(lesions[["image_id", "kind", "outline"]], lesions_after[["image_id", "kind", "outline"]])


def mask_files(raw):
    """Distributed DICOMs that are two-valued and as large as a mammogram."""
    found = []
    for path in sorted((raw / "CBIS-DDSM").rglob("*.dcm")):
        pixels = pydicom.dcmread(path).pixel_array
        if pixels.size > 400_000 and len(np.unique(pixels)) == 2:
            found.append(path)
    return found


def test_cbis_faults_are_one_row_each_and_harm_no_other_file(tmp_path):
    clean, raw = tmp_path / "clean_raw", tmp_path / "raw"
    shutil.copytree(SMALL / "CBIS-DDSM", clean / "CBIS-DDSM")
    shutil.copytree(clean, raw)
    clean_problems, catalogue, lesions, _ = run_two_stages("cbis-ddsm", clean, tmp_path / "clean")
    assert len(lesions) >= 3
    lost, misshapen = mask_files(raw)[:2]
    shutil.rmtree(lost.parent)
    header = pydicom.dcmread(misshapen)
    header.Rows, header.Columns = header.Rows // 2, header.Columns
    header.PixelData = header.PixelData[: len(header.PixelData) // 2]
    header.save_as(misshapen)
    problems, catalogue_after, lesions_after, _ = run_two_stages("cbis-ddsm", raw, tmp_path / "damaged")
    extra = [row for row in problems if row not in clean_problems]
    assert len({(row["file"], row["reason"]) for row in extra}) == len(extra) == 2, extra
    touched = [i for i in lesions.index if not (i in lesions_after.index and lesions.loc[i].equals(lesions_after.loc[i]))]
    assert len(touched) <= 2
    same_rows(lesions, lesions_after, touched)
    images = set(lesions.loc[touched, "image_id"])
    same_rows(catalogue, catalogue_after, images)
    unread = catalogue.loc[sorted(images)].drop(columns="annotation")
    same_rows(unread, catalogue_after.drop(columns="annotation"))
    assert (catalogue_after.loc[sorted(images), "annotation"] == "incomplete").any()


@pytest.mark.slow
def test_an_empty_cbis_table_is_named_and_the_others_are_read(tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(SMALL / "CBIS-DDSM", raw / "CBIS-DDSM")
    (table,) = (raw / "CBIS-DDSM").glob("mass*test*.csv")
    table.write_text("")
    problems, catalogue, lesions, _ = run_two_stages("cbis-ddsm", raw, tmp_path / "damaged")
    assert [row["file"] for row in problems if row["file"] == table.name and row["stage"] == "explore"] == [table.name]
    assert (lesions["kind"] == "calcification_region").any()
