"""Speed of reading a mammogram of 13.6 megapixels as it is written in DICOM, every installed library beside calcnb.

    python benchmarks/decoders.py [--rows N] [--repeats N]

Prints milliseconds, the median of the repeats, taken in turns so that a busy machine slows all alike. Each result is compared
with the image that was written, value by value; one that differs is an error. `calcnb` is `read_dicom`, from the file to pixels with
high = dense; the others stop at the stored values: `pydicom` with each of its plugins, and dicomsdl and gdcm on their own.
"""
import argparse
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import dicomsdl
import gdcm
import numpy as np
import pandas as pd
import pydicom
from pydicom import uid as uids
from pydicom.pixels import get_decoder, pixel_array

from calcnb.formats.dicom import read_dicom, write_dicom

WAYS = {"uncompressed": uids.ExplicitVRLittleEndian, "RLE": uids.RLELossless, "JPEG-LS": uids.JPEGLSLossless, "JPEG lossless": uids.JPEGLossless,
        "JPEG lossless SV1": uids.JPEGLosslessSV1, "JPEG 2000": uids.JPEG2000Lossless}


def mammogram(rows, cols, seed=1):
    """A smooth breast with texture of many scales and noise, 14 bits, half of it air."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols].astype(np.float32)
    breast = np.clip((1 - np.hypot((y - rows / 2) / (rows * 0.42), x / (cols * 0.62))) * 8, 0, 1)
    texture = np.zeros((rows, cols), np.float32)
    for size in (8, 16, 32, 64, 128, 256, 512):
        grid = rng.standard_normal((rows // size + 2, cols // size + 2)).astype(np.float32)
        texture += cv2.resize(grid, (cols, rows), interpolation=cv2.INTER_CUBIC) * size**0.55
    image = np.clip(5000 + 1800 * texture / texture.std(), 600, 15500)
    image += rng.standard_normal((rows, cols), dtype=np.float32) * np.sqrt(image) * 1.2
    return np.clip(image * breast, 0, 2**14 - 1).astype(np.uint16)


def rewrite(path, syntax, out):
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(out))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return out


def by_gdcm(path):
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    image = reader.GetImage()
    return np.frombuffer(image.GetBuffer().encode("utf-8", errors="surrogateescape"), np.uint16).reshape(image.GetDimension(1), image.GetDimension(0))


def readers(path, syntax):
    """name → a function of nothing that gives the pixels"""
    found = {"calcnb": lambda: read_dicom(path).pixels}
    for plugin in get_decoder(syntax).available_plugins or ("",):
        name = "pydicom" if plugin in ("", "pydicom") else f"pydicom+{plugin}"
        found[name] = lambda plugin=plugin: pixel_array(pydicom.dcmread(path), raw=True, decoding_plugin=plugin)
    return found | {"dicomsdl": lambda: dicomsdl.open(str(path)).pixelData(storedvalue=True), "gdcm": lambda: by_gdcm(path)}


def medians_ms(works, image, repeats):
    times = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            pixels = work()
            if turn:
                times[name].append(time.perf_counter() - start)
            assert np.array_equal(pixels, image), f"{name} gives other values"
    return {name: 1000 * float(np.median(found)) for name, found in times.items()}


def main():
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--rows", type=int, default=4084)
    given.add_argument("--repeats", type=int, default=5)
    given = given.parse_args()
    image = mammogram(given.rows, given.rows * 3328 // 4084)
    rows, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = write_dicom(Path(folder) / "plain.dcm", image, BitsStored=14, HighBit=13)
        for name, syntax in WAYS.items():
            path = plain if syntax == uids.ExplicitVRLittleEndian else rewrite(plain, syntax, Path(folder) / "packed.dcm")
            sizes[name] = path.stat().st_size / 1e6
            rows[name] = medians_ms(readers(path, syntax), image, given.repeats)
    table = pd.DataFrame(rows).T
    table.insert(0, "MB", pd.Series(sizes))
    print(f"{image.shape[0]} × {image.shape[1]}, 14 bits: milliseconds, median of {given.repeats}; every result equal to the image")
    print(table.to_string(float_format=lambda v: f"{v:.1f}", na_rep="–"))


if __name__ == "__main__":
    main()
