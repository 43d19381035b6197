"""Thousands of damaged files of every kind that calcnb reads: each gives values or one sentence about it, and harms no other.

The reading happens in a process of its own, so that a crash, a hang or a hunger for memory is seen and laid to the input that caused it.
A new kind of file is one row in `SOURCES`.

    python tests/test_damaged.py KIND NUMBER        reads one input again and shows what comes of it
"""
import io
import json
import os
import re
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import xlwt
from PIL import Image
from pydicom import uid as uids
from pydicom.encaps import encapsulate

from calcnb.formats import cbis, chest, folder, inbreast, mias, picture
from calcnb.formats.catalogue import read_catalogue, read_lesions, write_catalogue, write_lesions
from calcnb.formats.dicom import read_dicom, read_header, write_dicom
from calcnb.formats.files import BadInput, Problems
from calcnb.formats.layouts import get_layout
from calcnb.virtual import files as virtual

TIME_LIMIT, WAIT_LIMIT = 5, 60  # s of processor time for one input; s that it may take on a busy machine
HANGS = (signal.SIGPROF, signal.SIGALRM)
MEMORY_LIMIT = 4 << 30  # bytes of address space; a bomb that is not found out before it is unpacked ends here
RESIDENT_LIMIT = 900 << 20  # bytes that the reading process may ever have held


# --- undamaged files ---------------------------------------------------------------------------------------------------

def grey(rows=48, cols=40, top=4095):
    rng = np.random.default_rng(1)
    return (np.add.outer(np.arange(rows), np.arange(cols)) * (top // (rows + cols)) + rng.integers(0, 9, (rows, cols))).astype(np.uint16 if top > 255 else np.uint8)


def table_item(values, bits):
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [len(values), 0, bits], np.asarray(values, np.uint16).tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    return [item]


def dicom(where, syntax=uids.ExplicitVRLittleEndian, **tags):
    """A small digital mammogram, as it is written in a transfer syntax."""
    path = write_dicom(where / "made.dcm", grey(), **dict(BitsStored=12, HighBit=11, ImagerPixelSpacing=[0.07, 0.07], ImageLaterality="L", ViewPosition="CC", WindowCenter=2000, WindowWidth=3000) | tags)
    ds = pydicom.dcmread(path)
    writer = {uids.RLELossless: "pydicom", uids.JPEGLSLossless: "pyjpegls", uids.JPEG2000Lossless: "pylibjpeg"}.get(syntax)
    if writer:
        ds.compress(syntax, encoding_plugin=writer)
    elif syntax == uids.JPEGBaseline8Bit:
        out = io.BytesIO()
        Image.fromarray(grey(top=255)).save(out, "JPEG")
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 8, 8, 7, encapsulate([out.getvalue()])
        ds["PixelData"].is_undefined_length = True
    elif syntax == uids.ExplicitVRBigEndian:
        ds.PixelData = grey().byteswap().tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.walk(lambda _, element: element.value)
    pydicom.dcmwrite(path, ds, implicit_vr=syntax == uids.ImplicitVRLittleEndian, little_endian=syntax != uids.ExplicitVRBigEndian, force_encoding=True)
    return path.read_bytes()


def lossless_jpeg(where):
    import gdcm

    write_dicom(where / "made.dcm", grey(), BitsStored=12, HighBit=11)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(where / "made.dcm"))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(uids.JPEGLosslessSV1)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(where / "packed.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return (where / "packed.dcm").read_bytes()


def contours(where):
    square = [(10, 10), (20, 10.5), (20, 20), (10, 20)]
    name = virtual.write_inbreast_xml(where, "20586908", [virtual.roi("Mass", square), virtual.roi("Calcification", [(5.5, 6.25)], 1), virtual.roi("Cluster", square[:3], 2)])
    return (where / name).read_bytes()


def inbreast_csv(where):
    virtual.write_inbreast_table(where, [dict(laterality="LRL"[n % 3], view="CC", date="201001", image_id=str(20586908 + n), density="2", birads="4a") for n in range(4)])
    return (where / "INbreast.csv").read_bytes()


def inbreast_xls(where):
    book = xlwt.Workbook()
    for name in ("Folha1", "Folha2"):
        sheet = book.add_sheet(name)
        for row, cells in enumerate([["File Name", "Laterality", "View", "ACR", "Bi-Rads", "Mass ", "Micros"], [20586908, "R", "CC", 2, "4a", "X", ""], [20586909, "R", "MLO", 3, 2, "", "X"], [], ["", "", "", "", 2]]):
            for col, cell in enumerate(cells):
                sheet.write(row, col, cell)
    book.save(str(where / "made.xls"))
    return (where / "made.xls").read_bytes()


def cbis_csv(where, kind="calcification"):
    own = ("PUNCTATE", "CLUSTERED") if kind == "calcification" else ("OVAL", "SPICULATED")
    rows = []
    for n in range(4):
        case = f"{dict(calcification='Calc', mass='Mass')[kind]}-Training_P_0003{n}_LEFT_CC"
        cells = [f"P_0003{n}", "2", "LEFT", "CC", "1", kind, *own, "4", "MALIGNANT", "3", f"{case}/1.3.6/1.3.7/000000.dcm", f"{case}_1/1.3.6/1.3.8/000001.dcm", f"{case}_1/1.3.6/1.3.8/000000.dcm"]
        rows.append(dict(zip((name.replace("breast_density", "breast density") for name in virtual.COLUMNS[kind]), cells)))
    virtual.write_cbis_table(where, kind, "train", rows)
    return (where / f"{virtual.FAMILY[kind].lower()}_case_description_train_set.csv").read_bytes()


def site_db(where):
    path = where / "made.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE patient (id TEXT, cac_score, sex TEXT, birth TEXT, rx_date TEXT)")
        db.executemany("INSERT INTO patient VALUES (?, ?, ?, ?, ?)", [(f"CAC_{n:03}", 30.5 * n, "fm"[n % 2], "1953-07-21", "2019-03-04") for n in range(40)])
    db.close()
    return path.read_bytes()


def image_file(where, form, top=4095):
    out = io.BytesIO()
    Image.fromarray(grey(top=top)).save(out, form)
    return out.getvalue()


def text(*lines, end="\n"):
    return lambda where: end.join([*lines, ""]).encode()


# --- readers, and what must be true of what they give ------------------------------------------------------------------

def whole_dicom(path):
    image = read_dicom(path)
    assert image.pixels.dtype == np.uint16 and image.pixels.shape == image.shape == read_header(path).shape and 1 <= image.bits <= 16
    assert image.pixels.max() < 2**image.bits


def whole_picture(path):
    image = picture.read_picture(path)
    assert image.pixels.dtype == np.uint16 and image.pixels.shape == image.shape


def contour_points(path):
    for roi in inbreast.read_rois(path):
        try:
            assert np.isfinite(inbreast.parse_points(roi, path)).all()
        except BadInput as e: # the other regions of a file are still read
            assert e.name == path.name


MIAS = text("This file lists the films.", "=" * 20, "", "mdb001 G CIRC B 535 425 197", "mdb002 G NORM", "mdb003 D CALC M *NOTE 3*", "mdb226 D CALC B 287 610 7", "mdb226 D CALC B 329 550 25")
KAGGLE = text("file_path,image_path,PatientID,SeriesDescription", *(f"CBIS-DDSM/dicom/1.3.{n}/1-1.dcm,CBIS-DDSM/jpeg/1.3.6.1.4.1.{n}/1-249.jpg,Calc-Training_P_0003{n}_LEFT_CC,cropped images" for n in range(5)), end="\r\n")
IMAGES = text("image_id,patient_id,laterality,view,density,birads,pathology,spacing_mm", "case1_L_CC,p1,L,CC,2,4a,malignant,0.07", "case1_R_CC,p1,R,CC,2,1,normal,0.07", "case2_L_CC,p2,L,CC,,,unknown,")
DEEPMICA = text("File Name;Patient ID;Micros;Laterality;View;ACR;Bi-Rads", "20586000;1;X;L;CC;2;5", "20586001;1;;R;CC;2;2")

SOURCES = [  # what it is, the name of the file, a maker of an undamaged one, a reader
    ("DICOM", "image.dcm", dicom, whole_dicom),
    ("DICOM, implicit VR", "image.dcm", partial(dicom, syntax=uids.ImplicitVRLittleEndian), whole_dicom),
    ("DICOM, big endian", "image.dcm", partial(dicom, syntax=uids.ExplicitVRBigEndian), whole_dicom),
    ("DICOM, deflated", "image.dcm", partial(dicom, syntax=uids.DeflatedExplicitVRLittleEndian), whole_dicom),
    ("DICOM, RLE", "image.dcm", partial(dicom, syntax=uids.RLELossless), whole_dicom),
    ("DICOM, JPEG-LS", "image.dcm", partial(dicom, syntax=uids.JPEGLSLossless), whole_dicom),
    ("DICOM, JPEG 2000", "image.dcm", partial(dicom, syntax=uids.JPEG2000Lossless), whole_dicom),
    ("DICOM, JPEG lossless", "image.dcm", lossless_jpeg, whole_dicom),
    ("DICOM, JPEG", "image.dcm", partial(dicom, syntax=uids.JPEGBaseline8Bit), whole_dicom),
    ("DICOM with tables", "image.dcm", lambda where: dicom(where, ModalityLUTSequence=table_item(np.arange(4096) * 3, 14), VOILUTSequence=table_item(np.arange(4096) // 16, 8), PhotometricInterpretation="MONOCHROME1"), whole_dicom),
    ("INbreast contours", "20586908.xml", contours, contour_points),
    ("INbreast table", "INbreast.csv", inbreast_csv, inbreast.read_table),
    ("INbreast workbook", "INbreast.xls", inbreast_xls, inbreast.read_table),
    ("CBIS-DDSM table", "calc_case_description_train_set.csv", cbis_csv, cbis.read_cases),
    ("CBIS-DDSM table, masses", "mass_case_description_train_set.csv", partial(cbis_csv, kind="mass"), cbis.read_cases),
    ("CBIS-DDSM index", "dicom_info.csv", KAGGLE, cbis.read_dicom_info),
    ("mini-MIAS list", "Info.txt", MIAS, mias.read_info),
    ("PGM", "mdb001.pgm", lambda where: b"P5\n# made\n40 48\n255\n" + grey(top=255).tobytes(), whole_picture),
    ("PNG", "image.png", partial(image_file, form="PNG"), whole_picture),
    ("TIFF", "image.tif", partial(image_file, form="TIFF"), whole_picture),
    ("JPEG", "image.jpg", partial(image_file, form="JPEG", top=255), whole_picture),
    ("chest database", "site.db", site_db, chest.read_site),
    ("table of a folder", "images.csv", IMAGES, folder.read_table),
    ("DeepMiCa table", "INbreast_table.csv", DEEPMICA, folder.read_deepmica_table),
]
NAMES = [row[0] for row in SOURCES]


# --- wounds ------------------------------------------------------------------------------------------------------------

def somewhere(data, rng, early=True):
    """A position; half of them near the start, where headers are."""
    return int(rng.integers(0, max(1, min(len(data), 1200 if early and rng.random() < 0.5 else len(data)))))


def cut(data, rng):
    return data[: somewhere(data, rng, early=False)]


def flip(data, rng):
    data = bytearray(data)
    for _ in range(int(rng.choice([1, 2, 8, 64]))):
        data[somewhere(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def overwrite(data, rng):
    data = bytearray(data)
    for _ in range(int(rng.choice([1, 4, 32]))):
        data[somewhere(data, rng)] = int(rng.choice([0, 255, 127, 128, rng.integers(256)]))
    return bytes(data)


def insert(data, rng):
    at = somewhere(data, rng)
    return data[:at] + rng.integers(0, 256, int(rng.choice([1, 2, 7, 100])), dtype=np.uint8).tobytes() + data[at:]


def delete(data, rng):
    at = somewhere(data, rng)
    return data[:at] + data[at + int(rng.choice([1, 2, 7, 100])) :]


def swap(data, rng):
    a, b, c = sorted(somewhere(data, rng) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def repeat(data, rng):
    a, b = sorted(somewhere(data, rng) for _ in range(2))
    return data[:b] + data[a:b] * int(rng.choice([1, 3, 40])) + data[b:]


def lengths(data, rng):
    """Where a length may stand: 2 or 4 bytes become a very large, a negative or a slightly wrong number."""
    data, at = bytearray(data), somewhere(data, rng) & ~1
    form, number = [("<I", 0xFFFFFFFF), ("<I", 0x7FFFFFFF), ("<I", 0xFFFFFFFE), ("<H", 0xFFFF), (">I", 0x7FFFFFFF), ("<I", int(rng.integers(2**32))), ("<H", int(rng.integers(2**16)))][rng.integers(7)]
    data[at : at + struct.calcsize(form)] = struct.pack(form, number)
    return bytes(data)


def nuls(data, rng):
    at = somewhere(data, rng)
    return data[:at] + bytes(int(rng.choice([1, 16, 512]))) + data[at + int(rng.integers(2)) * 16 :]


def encodings(data, rng):
    words = data.decode("latin-1")
    return words.encode(["utf-16", "utf-16-be", "utf-8", "utf-8-sig", "utf-32"][rng.integers(5)])


def huge_numbers(data, rng):
    """A run of digits becomes a number that nothing can hold."""
    runs = list(re.finditer(rb"\d+", data))
    if not runs:
        return lengths(data, rng)
    run = runs[rng.integers(len(runs))]
    return data[: run.start()] + [b"9" * 400, b"1e999", b"-1", b"nan", b"9" * 5000, b"0x7fffffff", b"1" * 20][rng.integers(7)] + data[run.end() :]


def deep(data, rng):
    """Thousands of levels, in the way of XML, of DICOM's sequences, or of quotes."""
    n, at = int(rng.choice([50, 3000])), somewhere(data, rng)
    if b"<plist" in data:
        levels = b"<dict><key>a</key>" * n if rng.random() < 0.5 else b"<array>" * n + b"</array>" * n
        at = data.find(b"<dict>")
    elif data[128:132] == b"DICM":
        levels, at = (b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * n, max(data.find(b"\x08\x00\x16\x00"), 132)
    else:
        levels = [b'"' * n, b"[" * n, b"," * n, b"\r\n" * n][rng.integers(4)]
    return data[:at] + levels + data[at:]


def elements(data, rng):
    """Words of the format's own where they do not belong."""
    parts = [b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\xff", b"\x28\x00\x10\x00US\x02\x00\xff\xff", b"\x28\x00\x00\x01US\x02\x00\x40\x00", b"\xff\xd9", b"\xff\xda", b"\xff\xc4",
             b"</dict>", b"<integer>99999999999999999999</integer>", b"<data>!!!</data>", b"<date>13</date>", b"<![CDATA[", b"\xef\xbb\xbf", b"\r", b'"', b";", b"\x1a", b"\x00\x00\x00\rIHDR"]
    at = somewhere(data, rng)
    return data[:at] + parts[rng.integers(len(parts))] + data[at:]


def alike(data, rng):
    """Something else under the file's name."""
    return [b"", b"\0", b"this is a letter\n" * 20, bytes(4096), rng.integers(0, 256, 3000, dtype=np.uint8).tobytes(), b"\xff" * 2000, b"<html></html>", data + data, b"\x89PNG\r\n\x1a\n", bytes(128) + b"DICM", b"SQLite format 3\0", b"P5 99999 99999 255\n", b"bplist00"][rng.integers(13)]


WOUNDS = (cut, flip, overwrite, insert, delete, swap, repeat, lengths, nuls, encodings, huge_numbers, deep, elements, alike)


@cache
def undamaged(kind):
    with tempfile.TemporaryDirectory() as where:
        return SOURCES[NAMES.index(kind)][2](Path(where))


def damaged(kind, number):
    """(wound, bytes) of input `number` of a kind; the same in every run."""
    rng = np.random.default_rng([7, NAMES.index(kind), number])
    wound = WOUNDS[number % len(WOUNDS)]
    data = wound(undamaged(kind), rng)
    return (wound.__name__, WOUNDS[rng.integers(len(WOUNDS))](data, rng)) if rng.random() < 0.2 and data else (wound.__name__, data)


def bombs():
    """(kind, what it is, bytes): small files that would fill the memory."""
    with tempfile.TemporaryDirectory() as where:
        plain, deflated = dicom(Path(where)), dicom(Path(where), syntax=uids.DeflatedExplicitVRLittleEndian)
    sizes = plain.replace(b"\x28\x00\x10\x00US\x02\x00\x30\x00", b"\x28\x00\x10\x00US\x02\x00\xff\xff").replace(b"\x28\x00\x11\x00US\x02\x00\x28\x00", b"\x28\x00\x11\x00US\x02\x00\xff\xff")
    assert sizes != plain
    packer, start = zlib.compressobj(9, zlib.DEFLATED, -15), 144 + int.from_bytes(deflated[140:144], "little")
    zeros = b"".join(packer.compress(bytes(2**22)) for _ in range(100)) + packer.flush()
    nested = b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12))
    entities = b'<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa">' + nested + b']><plist version="1.0"><dict><key>Images</key><string>&m;</string></dict></plist>'
    png = undamaged("PNG")
    wide = png[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[24:29] + struct.pack(">I", zlib.crc32(png[12:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[24:29])) + png[33:]
    return [
        ("DICOM", "65,535 × 65,535 pixels in the header", sizes),
        ("DICOM, deflated", "400 MB of zeros", deflated[:start] + zeros),
        ("DICOM", "an element of 4 GB before the pixels", plain.replace(b"\xe0\x7f\x10\x00", b"\x29\x00\x10\x00OB\0\0\xfe\xff\xff\xff\xe0\x7f\x10\x00")),
        ("DICOM, JPEG 2000", "a stream of 4,000 million pixels", re.sub(rb"(\xff\x4f\xff\x51.{4}).{8}", lambda m: m[1] + b"\x00\x00\xff\xff\x00\x00\xff\xff", undamaged("DICOM, JPEG 2000"), count=1, flags=re.S)),
        ("INbreast contours", "entities within entities", entities),
        ("INbreast contours", "300,000 regions, of which none is one", b'<plist version="1.0"><dict><key>Images</key><array><dict><key>ROIs</key><array>' + b"<true/>" * 300_000 + b"</array></dict></array></dict></plist>"),
        ("PGM", "a header of 10,000 million pixels", b"P5\n99999 99999\n65535\n" + bytes(100)),
        ("PNG", "a header of 2³¹ × 2³¹ pixels", wide),
        ("CBIS-DDSM table", "a line of 60 MB", b"patient_id," + b"x" * 60_000_000),
    ]


# --- the reading process -----------------------------------------------------------------------------------------------

def read_one(kind, data, where):
    """What comes of an input: `read`, `refused`, or what is wrong with it."""
    _, name, _, reader = SOURCES[NAMES.index(kind)]
    path = where / name
    path.write_bytes(data)
    try:
        reader(path)
        return "read", ""
    except BadInput as e:
        said = str(e)
        wrong = e.name != name or "\n" in said or len(said) > 500 or str(where) in said or len(e.reason) < 5
        return ("not one sentence about the file" if wrong else "refused"), said[:300]
    except BaseException as e:
        return f"{type(e).__name__} instead of a sentence", " ".join(traceback.format_exc().split()[-40:])


def dataset(where):
    """INbreast and CBIS-DDSM of two patients each, and what their tables are: layout → (catalogue, lesions, problems)."""
    for n, (patient, side) in enumerate([("a" * 16, "L"), ("a" * 16, "R"), ("b" * 16, "L")]):
        virtual.write_inbreast_image(where / "INbreast", str(20586908 + n), patient, side, "CC", grey(), 0.07)
        virtual.write_inbreast_xml(where / "INbreast", str(20586908 + n), [virtual.roi("Mass", [(10, 10), (20, 10), (20, 20 + n)]), virtual.roi("Calcification", [(5, 6)], 1)])
    (where / "INbreast" / "INbreast.csv").write_bytes(inbreast_csv(where))
    (where / "INbreast.csv").unlink()
    rng, rows = np.random.default_rng(1), []
    mask = np.zeros((48, 40), bool)
    mask[10:20, 12:22] = True
    for patient in ("P_00030", "P_00031"):
        _, image = virtual.write_cbis_image(where / "CBIS-DDSM", "calcification", "train", patient, "L", "CC", grey())
        _, (told, crop) = virtual.write_cbis_region(where / "CBIS-DDSM", "calcification", "train", patient, "L", "CC", 1, mask, grey(12, 12), rng)
        rows.append(dict(zip((c for c in virtual.COLUMNS["calcification"]), [patient, "2", "LEFT", "CC", "1", "calcification", "PUNCTATE", "CLUSTERED", "4", "MALIGNANT", "3", image, crop, told])))
    virtual.write_cbis_table(where / "CBIS-DDSM", "calcification", "train", rows)
    return {layout: tables(layout, where) for layout in ("inbreast", "cbis-ddsm")}


def tables(layout, where):
    problems = Problems("explore")
    catalogue = get_layout(layout).catalogue(where, problems, spacing_mm=0.05)
    return catalogue.set_index("image_id"), get_layout(layout).lesions(where, catalogue, problems).set_index("lesion_id"), problems


def same(before, after, ids, columns=None):
    kept = before[~before.index.isin(ids)] if before.index.name == "image_id" else before[~before.image_id.isin(ids)]
    columns = list(columns or kept.columns)
    pd.testing.assert_frame_equal(kept[columns], after.loc[kept.index][columns], check_dtype=False)


FILE_COLUMNS = ["path", "rows", "cols", "spacing_mm", "spacing_source", "photometric", "bits"]
CASE = re.compile(r"P_\d{5}_(LEFT|RIGHT)_(CC|MLO)")


def read_dataset(number, where, clean, out):
    """One file of the dataset is damaged; the rows of all others must stay as they are, and what is written must be whole."""
    rng = np.random.default_rng([11, number])
    files = sorted(path for path in where.rglob("*") if path.is_file())
    path = files[number % len(files)]
    whole = path.read_bytes()
    path.write_bytes(WOUNDS[rng.integers(len(WOUNDS))](whole, rng))
    layout = "inbreast" if "INbreast" in path.parts else "cbis-ddsm"
    try:
        catalogue, lesions, problems = tables(layout, where)
        before = clean[layout]
        reader = {".dcm": whole_dicom, ".xml": contour_points, ".csv": inbreast.read_table if layout == "inbreast" else cbis.read_cases}[path.suffix]
        image_id = path.name[:8] if layout == "inbreast" else found[0] if (found := CASE.search(path.as_posix())) else None
        if path.suffix == ".csv": # rows may be lost or differ with the table, what the files say may not
            same(before[0][before[0].path.notna()], catalogue, [], FILE_COLUMNS)
        else:
            same(before[0], catalogue, [image_id])
            same(before[1], lesions, [image_id])
        new = [row for row in problems if row not in before[2]]
        assert all("\n" not in row["reason"] and str(where) not in row["reason"] + row["file"] and len(row["reason"]) > 5 for row in new)
        try:
            reader(path)
        except BadInput:
            named = [row for row in new if row["file"].endswith(path.name) or image_id and image_id in row["file"]]
            changed = not (catalogue.equals(before[0]) and lesions.equals(before[1]))
            assert named or not changed, f"{path.name} is refused, changes the tables and stands in no problem"
        write_catalogue(catalogue.reset_index(), out / "catalogue.parquet")
        write_lesions(lesions.reset_index(), out / "lesions.parquet")
        problems.write(out / "problems.csv")
        assert len(read_catalogue(out / "catalogue.parquet", on_disk=False)) == len(catalogue) and len(read_lesions(out / "lesions.parquet")) == len(lesions)
        assert len(pd.read_csv(out / "problems.csv")) == len(problems) and sorted(p.name for p in out.iterdir()) == ["catalogue.parquet", "lesions.parquet", "problems.csv"]
        return "read", ""
    except BadInput as e:
        return ("refused" if path.suffix == ".csv" else "a damaged file ends the whole layout"), str(e)[:300] # nothing is left without the only table
    except BaseException as e:
        return f"{type(e).__name__} in the layout {layout} with {path.name}", " ".join(traceback.format_exc().split()[-60:])
    finally:
        path.write_bytes(whole)


def child():
    """Read inputs as they are told, one line each; the answer goes back as one line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    for hang in HANGS:
        signal.signal(hang, signal.SIG_DFL) # a hang ends the process, in whatever code it hangs
    with tempfile.TemporaryDirectory() as where:
        where, bombed, clean = Path(where), None, None
        for line in sys.stdin:
            kind, number = json.loads(line)
            if kind == "bomb":
                bombed = bombed or bombs()
                kind, what, data = bombed[number]
            elif kind == "dataset":
                what, data = "", None
                clean = clean or ((where / "raw").mkdir(), (where / "out").mkdir(), dataset(where / "raw"))[2]
            else:
                what, data = damaged(kind, number)
            signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT), signal.alarm(WAIT_LIMIT)
            start = time.perf_counter()
            outcome, said = read_dataset(number, where / "raw", clean, where / "out") if data is None else read_one(kind, data, where)
            signal.setitimer(signal.ITIMER_PROF, 0), signal.alarm(0)
            print(json.dumps(dict(outcome=outcome, said=said, what=what, seconds=time.perf_counter() - start, resident=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)), flush=True)


class Reader:
    """The reading process, started again after it has ended."""

    def __init__(self):
        self.process = None

    def ask(self, kind, number):
        if self.process is None:
            self.process = subprocess.Popen([sys.executable, __file__, "child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | dict(MALLOC_ARENA_MAX="1"))
        self.process.stdin.write(json.dumps([kind, number]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.end()
        return dict(outcome="a hang" if -code in HANGS else f"the process ended ({code})", said=self.said[-300:], what="", seconds=TIME_LIMIT, resident=0)

    def end(self):
        if self.process is None:
            return 0
        _, self.said = self.process.communicate()
        code, self.process = self.process.returncode, None
        return code


@pytest.fixture(scope="module")
def reader():
    made = Reader()
    yield made
    made.end()


def read_many(reader, inputs):
    """How many were read and refused; all must be either, in time and memory."""
    counts, wrong = {}, []
    for kind, number in inputs:
        answer = reader.ask(kind, number)
        counts[answer["outcome"]] = counts.get(answer["outcome"], 0) + 1
        if answer["outcome"] not in ("read", "refused"):
            wrong.append(f"{kind} {number} ({answer['what']}): {answer['outcome']}: {answer['said']}")
        if answer["resident"] > RESIDENT_LIMIT:
            wrong.append(f"{kind} {number} ({answer['what']}): {answer['resident'] >> 20} MB")
            reader.end()
    assert not wrong, f"{len(wrong)} of {len(inputs)}:\n" + "\n".join(wrong[:25])
    return counts


def test_the_undamaged_files_are_read(tmp_path):
    for kind, name, _, reader in SOURCES:
        (tmp_path / name).write_bytes(undamaged(kind))
        reader(tmp_path / name)


def test_damaged_files_give_values_or_one_sentence(reader):
    counts = read_many(reader, [(kind, number) for kind in NAMES for number in range(len(WOUNDS))])
    assert min(counts["read"], counts["refused"]) > 30, counts


@pytest.mark.slow
def test_two_thousand_damaged_files_give_values_or_one_sentence(reader):
    inputs = [(kind, number) for kind in NAMES for number in range(7 * len(WOUNDS))]
    assert len(inputs) >= 2000
    counts = read_many(reader, inputs)
    assert min(counts["read"], counts["refused"]) > 400, counts


def test_small_files_that_would_fill_the_memory(reader):
    assert "read" not in read_many(reader, [("bomb", number) for number in range(len(bombs()))])


def test_a_damaged_file_in_a_dataset_harms_no_other(reader):
    read_many(reader, [("dataset", number) for number in range(40)])


@pytest.mark.slow
def test_many_damaged_files_in_a_dataset_harm_no_other(reader):
    read_many(reader, [("dataset", number) for number in range(40, 300)])


if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        child()
    else:
        print(Reader().ask(sys.argv[1], int(sys.argv[2])))
