"""Nobody is named: DICOM files whose every tag that can hold words or dates is filled with marks of its own, and no mark in anything that is said or written.

The tags are all that pydicom's dictionary knows with a text or a date in them, far more than the list of PS3.15 Annex E (basic
profile), which is among them; further private tags, sequences within sequences, the file's preamble, its meta information and what lies behind the pixels.
"""
import logging
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom import uid as uids
from pydicom._dicom_dict import DicomDictionary
from scipy.ndimage import gaussian_filter

from calcnb.formats.dicom import TAGS, read_dicom, read_header, write_dicom
from calcnb.formats.files import BadInput, Problems, project_root
from calcnb.formats.layouts import get_layout

MARK = re.compile(r"qx7\d{4}z|18710918|1871-09-18|2\.25\.99887766554433|235917\.271828|\b123Y\b", re.I)
FORMS = dict(LO="Qx7{:04}Z", SH="Qx7{:04}Z", ST="Qx7{:04}Z", LT="Qx7{:04}Z", UT="Qx7{:04}Z", UC="Qx7{:04}Z", PN="Qx7{:04}Z^Theodora", AE="QX7{:04}Z", CS="QX7{:04}Z", UR="http://Qx7{:04}Z.org", UI="2.25.99887766554433{:04}",
             DA="18710918", DT="18710918120000", TM="235917.271828", AS="123Y")
NEEDED = {"PhotometricInterpretation", "SpecificCharacterSet", "TransferSyntaxUID", "SOPClassUID", "MediaStorageSOPClassUID", "TimezoneOffsetFromUTC"}
BASIC_PROFILE = """PatientName PatientID PatientBirthDate PatientBirthTime PatientSex PatientAge PatientAddress PatientMotherBirthName OtherPatientIDs OtherPatientNames PatientTelephoneNumbers MilitaryRank
    EthnicGroup Occupation PatientComments AdditionalPatientHistory ResponsiblePerson AccessionNumber StudyID StudyDate SeriesDate AcquisitionDate ContentDate StudyTime SeriesTime AcquisitionTime ContentTime
    InstitutionName InstitutionAddress InstitutionalDepartmentName ReferringPhysicianName PerformingPhysicianName OperatorsName PhysiciansOfRecord NameOfPhysiciansReadingStudy RequestingPhysician StationName
    DeviceSerialNumber ProtocolName StudyDescription SeriesDescription ImageComments StudyInstanceUID SeriesInstanceUID SOPInstanceUID FrameOfReferenceUID InstanceCreatorUID AdmissionID AdmittingDiagnosesDescription
    RequestedProcedureDescription PerformedProcedureStepDescription PersonName PersonAddress ContentCreatorName TextValue DetectorID PlateID CassetteID DerivationDescription AcquisitionComments""".split()


def fill(ds, group_filter=lambda tag: True, read_too=False):
    """Marks in every tag of the dictionary that can hold words or dates; the words put in, by keyword."""
    filled = {}
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr not in FORMS or not keyword or keyword in NEEDED or tag >> 16 in (0x0000, 0x0002, 0x0004, 0xFFFE) or (keyword in TAGS and not read_too) or not group_filter(tag):
            continue
        filled[keyword] = FORMS[vr].format(len(filled))
        ds.add_new(tag, vr, filled[keyword])
    return filled


def nested():
    """A sequence whose item names a person and holds another such sequence."""
    inner, outer = pydicom.Dataset(), pydicom.Dataset()
    inner.PatientName, inner.TextValue = "Qx79001Z^Inner", "Qx79002Z"
    outer.PatientID, outer.PersonName, outer.ReferencedStudySequence = "Qx79003Z", "Qx79004Z^Outer", [inner]
    return [outer]


def marked(path, pixels, read_too=False, **tags):
    """A mammogram full of marks."""
    write_dicom(path, pixels, **dict(BitsStored=12, HighBit=11, ImagerPixelSpacing=[0.07, 0.07]) | tags)
    ds = pydicom.dcmread(path)
    filled = fill(ds, read_too=read_too)
    assert set(BASIC_PROFILE) <= set(filled)
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    ds.OtherPatientIDsSequence = ds.RequestAttributesSequence = ds.ReferencedImageSequence = nested()
    block = ds.private_block(0x0011, "Qx79005Z", create=True)
    for n, vr in enumerate(("LO", "PN", "UT", "DA")):
        block.add_new(n, vr, FORMS[vr].format(9010 + n))
    ds.add_new(0x00091001, "LO", "Qx79020Z")
    ds.add_new(0xFFFCFFFC, "OB", b"Qx79021Z behind the pixels")
    meta = ds.file_meta
    meta.MediaStorageSOPInstanceUID, meta.ImplementationVersionName, meta.SourceApplicationEntityTitle = "2.25.998877665544330001", "Qx79030Z", "QX79031Z"
    meta.SendingApplicationEntityTitle, meta.PrivateInformationCreatorUID, meta.PrivateInformation = "QX79032Z", "2.25.998877665544330002", b"Qx79033Z"
    ds.preamble = b"Qx79034Z is written before everything".ljust(128, b"\0")
    with pydicom.config.disable_value_validation():
        ds.save_as(path)
    assert len(set(re.findall(rb"(?i)qx7\d{4}z", Path(path).read_bytes()))) > 800
    return path


def breast(seed, rows=200, cols=160):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols]
    depth = 1 - (x / (0.7 * cols)) ** 2 - ((y - rows / 2) / (0.42 * rows)) ** 2
    return np.where(depth > 0, 1200 + 1500 * np.sqrt(np.clip(depth, 0, 1)) + 400 * gaussian_filter(rng.normal(size=(rows, cols)), 3), 20).clip(0, 4095).astype(np.uint16)


def marks(text):
    """The marks in a text; a bytes object is searched as it is."""
    return sorted(set(MARK.findall(text if isinstance(text, str) else text.decode("latin-1"))))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Marked files: whole, with marks also in the tags that are read, compressed, in colour, in a stack."""
    folder = tmp_path_factory.mktemp("marked")
    pixels = breast(1)
    made = [marked(folder / "whole.dcm", pixels), marked(folder / "everywhere.dcm", pixels, read_too=True), marked(folder / "stack.dcm", pixels, NumberOfFrames=3), marked(folder / "skewed.dcm", pixels, PixelSpacing=[0.05, 0.08]),
            marked(folder / "colour.dcm", np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8), SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB", BitsStored=8, HighBit=7)]
    for syntax, plugin in ((uids.JPEG2000Lossless, "pylibjpeg"), (uids.RLELossless, "pydicom"), (uids.JPEGLSLossless, "pyjpegls")):
        ds = pydicom.dcmread(made[0])
        ds.compress(syntax, encoding_plugin=plugin)
        made.append(folder / f"{plugin}.dcm")
        ds.save_as(made[-1])
    return made


def said_by(path):
    """Everything that reading a file says: the records, or the error in all its forms."""
    said = []
    for read in (read_header, read_dicom):
        try:
            image = read(path)
            said.append(" ".join(str(value) for name, value in vars(image).items() if name != "pixels"))
        except BadInput as e:
            said += [str(e), repr(e), *map(str, e.args), *(str(e.__cause__), str(e.__context__) if not e.__suppress_context__ else ""), *e._render_traceback_()]
    return "\n".join(said)


def test_the_marks_would_be_found():
    assert marks("a Qx70012Z b 18710918") and marks(b"QX70012Z") and marks("2.25.998877665544330007") and not marks("sha256 0123456789abcdef")


def test_reading_marked_files_names_nobody(files, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    for path in files:
        said = said_by(path)
        assert not marks(said), (path.name, marks(said))
        assert str(path.parent) not in said
    out, err = capfd.readouterr()
    assert not marks(out + err + caplog.text)
    assert read_dicom(files[0]).shape == (200, 160)


def test_reading_damaged_marked_files_names_nobody(files, tmp_path, capfd, caplog):
    """Wounds among the tags: lengths that run over, names where numbers should be."""
    caplog.set_level(logging.DEBUG)
    rng, path, outcomes = np.random.default_rng(5), tmp_path / "damaged.dcm", set()
    for n in range(160):
        whole = files[n % len(files)].read_bytes()
        data, start = bytearray(whole), max(whole.find(b"\x28\x00\x02\x00US") - 3000, 132) if n % 2 else 132
        for _ in range(int(rng.choice([1, 3, 30]))):
            data[int(rng.integers(start, min(start + 4000, len(data))))] = int(rng.integers(256))
        if n % 5 == 0: # the numbers of the picture become a name
            data = data.replace([b"0.07\\0.07 ", b"\x28\x00\x10\x00US\x02\x00", b"MONOCHROME2 ", b"1.2.840.10008.1.2.1\0"][n // 5 % 4], [b"Qx71234Z\\a", b"\x28\x00\x10\x00PN\x02\x00", b"Qx71234Z^The", b"Qx71234Z^Theodora^Za"][n // 5 % 4])
        path.write_bytes(data)
        said = said_by(path)
        outcomes.add(said[:20])
        assert not marks(said), (n, marks(said), said[:300])
        assert str(tmp_path) not in said
    out, err = capfd.readouterr()
    assert not marks(out + err + caplog.text)
    assert len(outcomes) > 3


def draw(layout, root):
    """A small study of marked files, one of them cut short, in a folder whose name is a mark too."""
    if layout == "inbreast":
        names = [f"AllDICOMs/{20586900 + n}_{'ab'[n // 2] * 16}_MG_{'LR'[n % 2]}_CC_ANON.dcm" for n in range(4)]
    elif layout == "cbis-ddsm":
        names = [f"Calc-Training_P_0000{n}_LEFT_CC/08-29-2017-DDSM-94942/1.000000-full mammogram images-38548/1-1.dcm" for n in range(3)]
    else:
        names = [f"CAC_{n:03}/rx/{n}.dcm" for n in range(1, 4)] if layout == "chest" else [f"case{n // 2}_{'LR'[n % 2]}_CC.dcm" for n in range(5)]
    for n, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        marked(root / name, breast(n) if n % 2 == 0 else breast(n)[:, ::-1].copy(), read_too=n == 1)
    last = root / names[-1]
    last.write_bytes(last.read_bytes()[:-9000])
    if layout == "inbreast":
        (root / "INbreast.csv").write_text("Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads\r\n" + "".join(f"Qx78001Z;123Y;{'LR'[n % 2]};CC;18710918;{20586900 + n};2;4a\r\n" for n in range(4)))
    if layout == "cbis-ddsm":
        (root / "calc_case_description_train_set.csv").write_text("patient_id,breast density,left or right breast,image view,abnormality id,abnormality type,calc type,calc distribution,assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path\r\n"
            + "".join(f'P_0000{n},2,LEFT,CC,1,calcification,PUNCTATE,CLUSTERED,4,MALIGNANT,3,{names[n]},"x\n","y\n"\r\n' for n in range(3)))
    if layout == "chest":
        with sqlite3.connect(root / "site.db") as db:
            db.execute("CREATE TABLE patient (id TEXT, cac_score, sex TEXT, birth TEXT, rx_date TEXT, name TEXT)")
            db.executemany("INSERT INTO patient VALUES (?, ?, ?, ?, ?, ?)", [(f"CAC_{n:03}", "Qx78002Z" if n == 2 else 30, "f", "1871-09-18", "1931-02-03", "Qx78003Z") for n in range(1, 4)])
        db.close()
    return root


@pytest.mark.parametrize("layout", ["inbreast", "cbis-ddsm", "folder", "chest"])
def test_the_tables_of_a_marked_study_name_nobody(layout, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    root, problems = draw(layout, tmp_path / "Qx78000Z"), Problems("explore")
    capfd.readouterr(), caplog.clear()
    catalogue = get_layout(layout).catalogue(root, problems, spacing_mm=0.07)
    lesions = get_layout(layout).lesions(root, catalogue, problems)
    text = catalogue.to_csv() + lesions.to_csv() + pd.DataFrame(problems).to_csv()
    assert not marks(text), marks(text)
    assert str(tmp_path) not in text and "Qx78000Z" not in text
    assert len(catalogue) >= 2 and any("cut short" in row["reason"] for row in problems)
    out, err = capfd.readouterr()
    assert not marks(out + err + caplog.text)


def everything_written(*folders):
    """(file, its bytes and, of a picture or a table, the text that is packed in it)"""
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.suffix == ".png":
            with Image.open(path) as image:
                data += str(image.info | getattr(image, "text", {})).encode()
        if path.suffix == ".parquet":
            data += pd.read_parquet(path).to_csv().encode()
        yield path, data


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["folder", "inbreast"])
def test_a_whole_run_over_a_marked_study_names_nobody(layout, tmp_path):
    """Pages, notebooks, metrics, tables, pictures and what the command prints; nor where on the machine the study lies."""
    raw = draw(layout, tmp_path / "Qx78000Z" / "raw")
    command = [sys.executable, "-m", "calcnb.report.command", "run", "--study", layout, "--stages", "explore,preprocess", "--raw-dir", str(raw), "--work-dir", str(tmp_path / "work"), "--report-dir", str(tmp_path / "report"), "--cores", "2"]
    done = subprocess.run(command, cwd=project_root(), env={k: v for k, v in os.environ.items() if k != "CALCNB_RUN"}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert not marks(done.stdout + done.stderr)
    found = dict(everything_written(tmp_path / "work", tmp_path / "report"))
    assert str(raw).encode() in found.pop(tmp_path / "work" / "config.yaml") # the run's own note of where everything lies; it stays in the work folder
    kinds = {path.suffix for path in found}
    assert {".html", ".ipynb", ".json", ".png", ".csv", ".parquet"} <= kinds, kinds
    named = {str(path.relative_to(tmp_path)): marks(data) for path, data in found.items() if marks(data)}
    assert not named, named
    home = [path.relative_to(tmp_path).as_posix() for path, data in found.items() for place in (str(raw), f"{Path.home()}/") if place.encode() in data]
    assert not home, home
