"""DICOM files, through pydicom. A changed picture is another object: it gets a UID of its own and says what it is from.

References:
    DICOM PS3.3, C.7.6.1.1.2 (image type) and C.7.6.1.1.4 (derivation description), https://www.dicomstandard.org
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from isthmus import __version__
from isthmus.data.images import Change, ImageFile, check_size, in_dtype
from isthmus.errors import FileError
from isthmus.files import write_atomic

# what it frowns at is nobody's business, and what is damaged raises
logging.getLogger("pydicom").addHandler(logging.NullHandler())

_READABLE = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422")
#: What is said of each derived object.
DERIVATION = f"noise removed by isthmus {__version__}"


class Dicom(ImageFile):
    """One DICOM object with pixels, of one frame or many. Everything but the pixels and its identity stays."""

    def __init__(self, path: Path):
        self.path = path
        found = self._dataset(pixels=False)
        if "Rows" not in found or "Columns" not in found:
            raise FileError("a DICOM object without pixels")
        kind = found.PhotometricInterpretation
        if kind not in _READABLE:
            raise FileError(f"a DICOM picture of {kind}, where isthmus reads {', '.join(_READABLE)}")
        check_size(found.Rows, found.Columns)
        channels = int(found.get("SamplesPerPixel", 1))
        frames = int(found.get("NumberOfFrames", 1) or 1)
        self.shapes = [(int(found.Rows), int(found.Columns), channels)] * frames
        signed = int(found.get("PixelRepresentation", 0)) == 1
        bits = int(found.BitsAllocated)
        if bits not in (8, 16, 32):
            raise FileError(f"a DICOM picture of {bits} bits, where isthmus reads 8, 16 and 32")
        self.dtype = np.dtype(f"{'int' if signed else 'uint'}{bits}")

    def _read(self, index: int) -> np.ndarray:
        return self._pixels(self._dataset())[index]

    def _copy(self, path: Path, change: Change) -> None:
        found = self._dataset()
        pixels = self._pixels(found)
        bits = int(found.get("BitsStored", found.BitsAllocated))
        low = -(1 << bits - 1) if self.dtype.kind == "i" else 0
        high = low + (1 << bits) - 1
        outside = found.get("PixelPaddingValue")
        new = np.empty_like(pixels)
        for i, page in enumerate(pixels):
            new[i] = in_dtype(change(i, page).clip(low, high), self.dtype)
            if outside is not None:
                new[i][page == outside] = outside
        self._derive(found)
        found.PixelData = new.astype(self.dtype.newbyteorder("<")).tobytes()
        if found.SamplesPerPixel > 1:
            found.PlanarConfiguration = 0
            found.PhotometricInterpretation = "RGB"
        found["PixelData"].VR = "OB" if self.dtype.itemsize == 1 else "OW"
        found["PixelData"].is_undefined_length = False
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for name, value in (("SmallestImagePixelValue", new.min()), ("LargestImagePixelValue", new.max())):
            if name in found:
                setattr(found, name, int(value))
        write_atomic(path, lambda file: found.save_as(file, enforce_file_format=True))

    def _derive(self, found: Any) -> None:
        """Another identity, in another series, with a word about where it is from."""
        source = pydicom.Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = found.SOPClassUID, found.SOPInstanceUID
        found.SourceImageSequence = pydicom.Sequence([source])
        found.SOPInstanceUID = generate_uid()
        found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
        if "SeriesInstanceUID" in found:  # one for all pictures of one series
            found.SeriesInstanceUID = generate_uid(entropy_srcs=[str(found.SeriesInstanceUID), DERIVATION])
        said = str(found.get("DerivationDescription", ""))
        found.DerivationDescription = f"{said}; {DERIVATION}" if said else DERIVATION
        kind = list(found.get("ImageType", ["ORIGINAL", "PRIMARY"]))
        found.ImageType = ["DERIVED", *kind[1:]]

    def _dataset(self, pixels: bool = True) -> Any:
        try:
            return pydicom.dcmread(self.path, stop_before_pixels=not pixels)
        except pydicom.errors.InvalidDicomError as error:
            raise FileError("not a DICOM file") from error

    def _pixels(self, found: Any) -> np.ndarray:
        """All frames (n, h, w, c)."""
        try:
            array = found.pixel_array
        except (RuntimeError, NotImplementedError) as error:
            why = str(error).splitlines()[0][:160]
            raise FileError(f"a DICOM picture that pydicom cannot decode: {why}") from error
        return array.reshape(len(self.shapes), *self.shapes[0]).astype(self.dtype, copy=False)
