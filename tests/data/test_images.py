"""What is not pixels comes back as it was, and pixels in their own type."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from isthmus.data.images import Page, in_dtype, open_image, open_pages
from isthmus.data.source import open_rows
from isthmus.errors import DataError, FileError

tifffile = pytest.importorskip("tifffile")
pydicom = pytest.importorskip("pydicom")

G = np.random.default_rng(0)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def u8(*shape):
    return G.integers(0, 256, shape, dtype=np.uint8)


def u16(*shape):
    return G.integers(0, 65536, shape, dtype=np.uint16)


def same(_, page):
    """No change, but as floats, as a network gives them."""
    return page.astype(np.float64)


def copied(path, change=same):
    there = path.with_name(f"copy_{path.name}")
    open_image(path).copy(there, change)
    return there


def exif():
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x9003] = 6, "Maker", "2026:01:01 10:00:00"
    tags.get_ifd(0x8825)[1] = "N"
    return tags.tobytes()


def test_a_jpeg_keeps_exif_profile_resolution_and_its_orientation(tmp_path):
    path = tmp_path / "a.jpg"
    smooth = np.add.outer(np.arange(40), np.arange(30)).astype(np.uint8) * 3
    Image.fromarray(np.dstack([smooth, smooth, 255 - smooth])).save(
        path, exif=exif(), icc_profile=ICC, dpi=(300, 300), comment=b"a word", quality=80
    )
    with Image.open(path) as before, Image.open(copied(path)) as after:
        assert after.format == "JPEG"
        assert after.info["exif"] == before.info["exif"]
        assert after.info["icc_profile"] == ICC
        assert after.info["dpi"] == (300, 300)
        assert after.info["comment"] == b"a word"
        assert after.size == before.size == (30, 40)  # as it is stored, whatever it says of how it is looked at
        assert np.abs(np.asarray(after).astype(int) - np.asarray(before)).max() <= 6


@pytest.mark.parametrize(
    ("mode", "array"),
    [("L", u8(9, 7)), ("RGB", u8(9, 7, 3)), ("RGBA", u8(9, 7, 4)), ("LA", u8(9, 7, 2)), ("I;16", u16(9, 7))],
)
def test_a_png_keeps_type_text_profile_and_transparency(tmp_path, mode, array):
    path, texts = tmp_path / "a.png", PngImagePlugin.PngInfo()
    texts.add_text("Title", "a word")
    texts.add_itxt("Note", "größer")
    Image.fromarray(array).save(path, pnginfo=texts, icc_profile=ICC, exif=exif(), dpi=(200, 200))
    with Image.open(path) as before, Image.open(copied(path)) as after:
        assert after.mode == before.mode == mode
        assert np.array_equal(np.asarray(after), array)
        assert after.text == {"Title": "a word", "Note": "größer"}
        assert after.info["icc_profile"] == ICC
        assert after.getexif()[0x0112] == 6
        assert after.info["dpi"] == before.info["dpi"]


def test_alpha_is_no_channel_and_is_left_alone(tmp_path):
    path, array = tmp_path / "a.png", u8(9, 7, 4)
    Image.fromarray(array).save(path)
    assert open_image(path).shapes == [(9, 7, 3)]
    with Image.open(copied(path, lambda _, page: 255.0 - page)) as after:
        found = np.asarray(after)
    assert np.array_equal(found[..., 3], array[..., 3])
    assert np.array_equal(found[..., :3], 255 - array[..., :3])


def test_black_and_white_stays_so_and_a_grey_palette_is_grey(tmp_path):
    bits = G.random((9, 7)) < 0.5
    Image.fromarray(bits).save(tmp_path / "a.png")
    with Image.open(copied(tmp_path / "a.png")) as after:
        assert after.mode == "1"
        assert np.array_equal(np.asarray(after), bits)
    grey = Image.fromarray(u8(9, 7))
    grey.quantize(256).save(tmp_path / "b.png")
    assert open_image(tmp_path / "b.png").shapes == [(9, 7, 1)]
    assert open_image(tmp_path / "b.png").remarks == ("its palette is made anew",)


@pytest.mark.parametrize("lossless", [True, False])
def test_webp(tmp_path, lossless):
    path, smooth = tmp_path / "a.webp", np.tile(np.arange(60, dtype=np.uint8), (40, 1))
    Image.fromarray(np.dstack([smooth] * 3)).save(path, lossless=lossless, exif=exif(), icc_profile=ICC)
    with Image.open(path) as before, Image.open(copied(path)) as after:
        assert after.info["icc_profile"] == ICC
        assert after.getexif()[0x0112] == 6
        apart = np.abs(np.asarray(after).astype(int) - np.asarray(before)).max()
        assert apart == 0 if lossless else apart <= 6


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("array", "options"),
    [
        (u16(9, 7), {}),
        (G.normal(size=(9, 7)).astype(np.float32), {"description": "of floats"}),
        (G.integers(-900, 900, (9, 7)).astype(np.int16), {}),
        (u16(9, 7, 3), {"photometric": "rgb", "iccprofile": ICC, "resolution": (300, 300), "resolutionunit": "INCH"}),
        (u8(3, 9, 7), {"photometric": "rgb", "planarconfig": "separate"}),
        (u8(9, 7, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (u16(6, 9, 7), {"datetime": "2026:01:01 10:00:00", "software": "a microscope"}),
        (u16(5, 9, 7, 3), {"photometric": "rgb", "bigtiff": True}),
        (u16(2, 3, 4, 9, 7), {"ome": True, "metadata": {"axes": "CZTYX", "PhysicalSizeX": 0.3}}),
    ],
)
def test_a_tiff_keeps_every_tag(tmp_path, array, options, compression):
    path = tmp_path / ("a.ome.tif" if options.get("ome") else "a.tif")
    tifffile.imwrite(path, array, compression=compression, **options)
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(copied(path)) as after:
        assert np.array_equal(after.asarray(), array)
        assert after.asarray().dtype == array.dtype
        assert [s.axes for s in after.series] == [s.axes for s in before.series]
        assert after.is_bigtiff == before.is_bigtiff
        ours, theirs = ({t.name: t.value for t in tif.pages[0].tags} for tif in (after, before))
        own = ("StripOffsets", "StripByteCounts", "RowsPerStrip", "ImageDescription")
        assert {k: v for k, v in ours.items() if k not in own} == {k: v for k, v in theirs.items() if k not in own}
        assert after.pages[0].description == before.pages[0].description


def test_an_imagej_hyperstack_keeps_its_axes_units_and_labels(tmp_path):
    path, stack = tmp_path / "a.tif", u16(2, 3, 4, 9, 7)
    about = {"axes": "TZCYX", "spacing": 2.0, "unit": "um", "finterval": 0.5, "Labels": [f"p{i}" for i in range(24)]}
    tifffile.imwrite(path, stack, imagej=True, resolution=(3.2, 3.2), metadata=about)
    assert open_image(path).shapes == [(9, 7, 4)] * 6  # four channels, six pictures
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(copied(path)) as after:
        assert after.is_imagej
        assert after.series[0].axes == "TZCYX"
        assert np.array_equal(after.asarray(), stack)
        assert after.imagej_metadata == before.imagej_metadata
        assert after.pages[0].resolution == before.pages[0].resolution


def test_channels_may_stand_anywhere_among_the_axes(tmp_path):
    path, stack = tmp_path / "a.ome.tif", u16(2, 3, 9, 7)
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": "CZYX"})
    file = open_image(path)
    assert np.array_equal(file.read(1), np.moveaxis(stack[:, 1], 0, 2))
    there = copied(path, lambda i, page: page * 0.0 + 10 * i + np.arange(2))
    assert np.array_equal(tifffile.imread(there)[..., 0, 0], [[0, 10, 20], [1, 11, 21]])


def test_a_coding_that_tifffile_lacks_is_read_through_pillow(tmp_path):
    path, array = tmp_path / "a.tif", u8(9, 7)
    Image.fromarray(array).save(path, compression="tiff_lzw", dpi=(200, 200))
    with Image.open(copied(path)) as after:
        assert np.array_equal(np.asarray(after), array)
        assert after.info["dpi"] == (200, 200)


def test_a_stack_streams(tmp_path):
    """Memory holds a few pages, however many there are."""
    path, pages = tmp_path / "a.tif", 120
    tifffile.imwrite(path, (u16(128, 128) for _ in range(pages)), shape=(pages, 128, 128), dtype=np.uint16)
    file = open_image(path)
    tracemalloc.start()
    file.copy(tmp_path / "b.tif", same)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(file.shapes) == pages
    assert peak < 0.5 * pages * 128 * 128 * 2


def dicom(path, array, **tags):
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    found.SeriesInstanceUID, found.StudyInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    found.PatientName, found.Modality, found.ImageType = "Nobody", "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.Rows, found.Columns = array.shape[-2:]
    if array.ndim == 3:
        found.NumberOfFrames = len(array)
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 12, 11
    found.PixelRepresentation = int(array.dtype.kind == "i")
    found.RescaleIntercept, found.RescaleSlope, found.PixelSpacing = -1024, 1, [0.5, 0.5]
    for name, value in tags.items():
        setattr(found, name, value)
    found.PixelData = array.tobytes()
    found.save_as(path, enforce_file_format=True)
    return found


def test_a_dicom_copy_is_another_object_that_says_where_it_is_from(tmp_path):
    path, array = tmp_path / "a.dcm", G.integers(0, 4096, (9, 7)).astype(np.uint16)
    before = dicom(path, array)
    after = pydicom.dcmread(copied(path))
    assert np.array_equal(after.pixel_array, array)
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    assert after.StudyInstanceUID == before.StudyInstanceUID
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert "isthmus" in after.DerivationDescription
    assert list(after.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert (after.PatientName, after.RescaleIntercept, after.PixelSpacing) == ("Nobody", -1024, [0.5, 0.5])
    again = pydicom.dcmread(copied(path))
    assert again.SOPInstanceUID != after.SOPInstanceUID
    assert again.SeriesInstanceUID == after.SeriesInstanceUID  # pictures of one series stay together


def test_dicom_frames_and_signs_and_what_is_outside(tmp_path):
    path, array = tmp_path / "a.dcm", G.integers(-2000, 2000, (3, 9, 7)).astype(np.int16)
    array[:, 0] = -2048
    dicom(path, array, PixelPaddingValue=-2048)
    file = open_image(path)
    assert (file.shapes, file.dtype) == ([(9, 7, 1)] * 3, np.dtype("int16"))
    after = pydicom.dcmread(copied(path, lambda i, page: page + 9000.0)).pixel_array
    assert (after[:, 0] == -2048).all()  # padding is no tissue
    assert (after[:, 1:] == 2047).all()  # twelve bits hold no more


def test_numbers_are_rounded_and_stay_in_range():
    assert in_dtype(np.array([-1.2, 0.6, 70000.0]), np.dtype("uint16")).tolist() == [0, 1, 65535]
    assert in_dtype(np.array([-1.25]), np.dtype("float32")).tolist() == [-1.25]


def test_rows_of_files_of_many_kinds(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(u8(9, 7, 3)).save(tmp_path / "in" / "b.png")
    tifffile.imwrite(tmp_path / "a.tif", u16(3, 9, 7), photometric="minisblack")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    (tmp_path / "note.txt").write_text("hello")
    rows = open_rows(str(tmp_path), kind="pixels")
    assert rows.names == ("a.tif[0]", "a.tif[1]", "a.tif[2]", "in/b.png")
    assert [s.name for s in rows.skipped] == ["bad.png", "note.txt"]
    page = rows.data[1]
    assert np.array_equal(page.cut(2, 1, 4, 3).cut(1, 0, 2, 2).read(), page.read()[3:5, 1:3])
    with pytest.raises(FileError, match=r"bad\.png"):
        open_rows(str(tmp_path), kind="pixels", strict=True)
    with pytest.raises(FileError, match="There is no file"):
        open_rows(str(tmp_path / "nothing"), kind="pixels")


def test_what_cannot_be_read_says_why(tmp_path):
    deep = tmp_path / "a.png"
    # a PNG of 16 bits a colour: the header alone is asked
    buffer = io.BytesIO()
    Image.fromarray(u8(4, 4, 3)).save(buffer, "PNG")
    raw = bytearray(buffer.getvalue())
    raw[24] = 16
    raw[29:33] = zlib.crc32(bytes(raw[12:29])).to_bytes(4, "big")
    deep.write_bytes(bytes(raw))
    with pytest.raises(FileError, match="save it as TIFF"):
        open_image(deep)
    moving = tmp_path / "b.gif"
    Image.fromarray(u8(4, 4)).save(moving, save_all=True, append_images=[Image.fromarray(u8(4, 4))])
    with pytest.raises(FileError, match="animation"):
        open_image(moving)
    (tmp_path / "c.tif").write_bytes(b"II*\x00" + b"\x00" * 40)
    with pytest.raises(FileError):
        open_image(tmp_path / "c.tif")
    with pytest.raises(DataError, match="A picture is an array"):
        open_pages(np.zeros((3, 4)))
    assert isinstance(open_pages(np.zeros((2, 4, 4))).data[0], Page)


@pytest.mark.parametrize("kind", ["tif", "png", "jpg", "dcm"])
def test_damaged_bytes_are_file_errors_and_nothing_else(tmp_path, kind):
    path, g = tmp_path / f"a.{kind}", np.random.default_rng(0)
    if kind == "tif":
        tifffile.imwrite(path, u16(3, 20, 30), photometric="minisblack", compression="zlib")
    elif kind == "dcm":
        dicom(path, G.integers(0, 4096, (20, 30)).astype(np.uint16))
    else:
        Image.fromarray(u8(20, 30, 3)).save(path)
    whole, refused = path.read_bytes(), 0
    for k in range(60):
        raw = bytearray(whole[: int(g.integers(len(whole)))] if k % 4 == 0 else whole)
        for _ in range(int(g.integers(1, 6)) if raw else 0):
            raw[int(g.integers(min(len(raw), 600)))] = int(g.integers(256))
        path.write_bytes(bytes(raw))
        try:
            open_image(path).copy(tmp_path / f"b.{kind}", same)
        except FileError:
            refused += 1
    assert refused > 5


def test_what_goes_wrong_while_changing_is_not_the_files_fault(tmp_path):
    Image.fromarray(u8(4, 4)).save(tmp_path / "a.png")

    def wrong(_, page):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        open_image(tmp_path / "a.png").copy(tmp_path / "b.png", wrong)
    assert not (tmp_path / "b.png").exists()


def test_arrays_in_files_are_pictures_too(tmp_path):
    np.save(tmp_path / "a.npy", u16(3, 9, 7))
    rows = open_rows(tmp_path / "a.npy", kind="pixels")
    assert (rows.origin, [page.shape for page in rows.data]) == ("a.npy", [(9, 7, 1)] * 3)
    assert open_rows("example:digits", kind="pixels").data[0].shape == (8, 8, 1)
