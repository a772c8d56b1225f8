"""What is read as a picture, what is refused, and that OpenCV by itself would not have told."""

import contextlib
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg

from data_builders import work_units
from piapdf_jax import faces, pictures

RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
JPEGS = {
    "sequential": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 5],
    "4:4:4": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "4:2:2": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422],
    "4:4:0": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440],
    "4:1:1": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411],
}


def drawn(height=303, width=251):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def encoded(suffix, image, options=()):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def by_opencv(data, flags=RGB):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def read(tmp_path, data, name="picture.jpg"):
    (tmp_path / name).write_bytes(data)
    return faces.read_image(tmp_path / name)


def refused(tmp_path, data, said="cannot be read", name="picture.jpg"):
    with pytest.raises(ValueError, match=said) as error:
        read(tmp_path, data, name)
    assert str(tmp_path / name) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    return error.value


def zeroed(data, count, place=0.5):
    start = int(place * len(data))
    return data[:start] + bytes(count) + data[start + count :]


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_damaged_in_the_middle_is_refused(kind, tmp_path):
    image = drawn(600, 800)
    whole = encoded(".jpg", image, [*JPEGS[kind], cv2.IMWRITE_JPEG_QUALITY, 75])
    damaged = zeroed(whole, 1500)
    # OpenCV decodes it without a word, and far from what was there.
    assert np.abs(by_opencv(damaged).astype(int) - by_opencv(whole)).max() > 50
    refused(tmp_path, damaged, "Corrupt JPEG data")
    refused(tmp_path, whole[: len(whole) // 2] + b"\xff\xd9", "Corrupt JPEG data")
    refused(tmp_path, whole[:-2], "Premature end")
    # Zeros behind it are not the end either.
    refused(tmp_path, whole[: len(whole) // 2] + bytes(5000))
    np.testing.assert_array_equal(read(tmp_path, whole), by_opencv(whole))


@pytest.mark.parametrize("kind", ["sequential", "4:1:1"])
def test_a_hole_that_libjpeg_does_not_tell_is_refused(kind, tmp_path):
    """Where zeros hold as many blocks as what they replace, the picture ends where it should."""
    whole = encoded(".jpg", drawn(600, 800), JPEGS[kind])
    untold = 0
    for place in np.linspace(0.1, 0.8, 20):
        for count in (70, 1500):
            holed = zeroed(whole, count, place)
            with contextlib.suppress(ValueError):
                untold += simplejpeg.decode_jpeg(holed, strict=True) is not None
            refused(tmp_path, holed)
    assert untold >= 10


def test_zeros_that_belong_to_a_jpeg_are_no_hole(tmp_path):
    even = np.full((900, 900, 3), 128, np.uint8)
    even[:100, :300] = drawn(100, 300)
    optimal = encoded(".jpg", even, [cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    padded = optimal[:2] + segment(0xE5, bytes(3000)) + encoded(".jpg", drawn())[2:]
    # A pattern that repeats: progressive scans hold the lower bits of its coefficients, here zeros, in a row.
    waves = 128 + 100 * np.cos(np.pi * (np.arange(8)[:, None] + 0.5) / 8) * np.ones(8)
    pattern = np.tile(waves.astype(np.uint8), (80, 80))
    progressive = encoded(".jpg", pattern, JPEGS["progressive"])
    for data in (optimal, padded, progressive):
        assert bytes(64) in data
        np.testing.assert_array_equal(read(tmp_path, data), by_opencv(data))


def test_other_kinds_of_jpeg_have_the_pixels_of_opencv(tmp_path):
    image = drawn()
    kinds = {
        "gray": encoded(".jpg", image[..., 0]),
        "cmyk": simplejpeg.encode_jpeg(np.dstack([image, image[..., :1]]), colorspace="CMYK"),
        "small": encoded(".jpg", image[:1, :1]),
    }
    for data in kinds.values():
        found = read(tmp_path, data)
        assert found.dtype == np.uint8 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, by_opencv(data))
    refused(tmp_path, zeroed(kinds["cmyk"], 1500))


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def test_orientation_and_thumbnails_leave_the_picture_as_stored(tmp_path):
    whole, thumbnail = encoded(".jpg", drawn()), encoded(".jpg", drawn(30, 40))
    turned = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    marked = whole[:2] + segment(0xE1, turned) + segment(0xE2, thumbnail) + whole[2:]
    assert by_opencv(marked, cv2.IMREAD_COLOR_RGB).shape == (251, 303, 3)
    np.testing.assert_array_equal(read(tmp_path, marked), by_opencv(whole))
    filled = whole[:2] + b"\xff\xff" + whole[2:]  # bytes that fill up before a marker
    np.testing.assert_array_equal(read(tmp_path, filled), by_opencv(whole))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize(
    "behind",
    [bytes(1025), bytes(100_000), b"\xff" * 3000, b"\xff\xd9" + os.urandom(5000), "picture"],
    ids=["zeros", "many zeros", "ones", "random", "picture"],
)
def test_bytes_behind_the_end_are_harmless(suffix, behind, tmp_path):
    whole = encoded(suffix, drawn())
    behind = encoded(".jpg", drawn(90, 60)) if behind == "picture" else behind
    np.testing.assert_array_equal(read(tmp_path, whole + behind), by_opencv(whole))


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def claiming(suffix, width, height):
    """A picture whose header says another size."""
    data = encoded(suffix, drawn())
    if suffix == ".png":
        header = struct.pack(">II", width, height) + data[24:29]
        return data[:8] + chunk(b"IHDR", header) + data[33:]
    if suffix == ".bmp":
        return data[:18] + struct.pack("<ii", width, height) + data[26:]
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("side", [(65_500, 65_500), (20_000, 20_000), (32_767, 1), (0, 251)])
def test_sizes_beyond_reason_are_refused_by_the_header(suffix, side, tmp_path, monkeypatch):
    def decoded(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", decoded)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", decoded)
    refused(tmp_path, claiming(suffix, *side), f"{side[0]:,} x {side[1]:,} pixels")
    # The largest sides that are read get as far as a decoder.
    with pytest.raises(AssertionError, match="decoded"):
        read(tmp_path, claiming(suffix, 32_766, 4_096))


def test_a_size_that_the_content_does_not_fill_is_refused(tmp_path):
    for suffix in (".jpg", ".png", ".bmp"):
        refused(tmp_path, claiming(suffix, 251, 900))
    upright = drawn()
    data = encoded(".bmp", upright[::-1])
    # A negative height says that the rows go from top to bottom.
    downward = data[:22] + struct.pack("<i", -303) + data[26:]
    np.testing.assert_array_equal(read(tmp_path, downward), upright[..., ::-1])


def chunks(data):
    place = 8
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place, place + 12 + length
        place += 12 + length


def test_every_damaged_chunk_of_a_png_is_told_but_those_of_text(tmp_path):
    whole = encoded(".png", drawn())
    whole = whole[:33] + chunk(b"tEXt", b"Comment\0of no matter") + whole[33:]
    assert [kind for kind, *_ in chunks(whole)][:2] == [b"IHDR", b"tEXt"]
    for kind, start, end in chunks(whole):
        for place in {start + 8, (start + end) // 2, end - 1}:
            broken = bytearray(whole)
            broken[place] ^= 1
            if kind == b"tEXt":
                np.testing.assert_array_equal(read(tmp_path, bytes(broken)), by_opencv(whole))
            else:
                refused(tmp_path, bytes(broken), "its chunk .* is damaged")
        refused(tmp_path, whole[: end - 1], "cut off", "0001.png")
    refused(tmp_path, zeroed(whole, 1500), "IDAT")


def test_a_chunk_that_claims_gigabytes_gets_no_room(tmp_path, monkeypatch):
    whole = encoded(".png", drawn())
    monkeypatch.setattr(cv2, "imdecode", None)
    refused(tmp_path, whole[:33] + struct.pack(">I", 0xF000_0000) + whole[37:], "cut off")


@pytest.mark.parametrize("bits", [10, 12, 14, 15])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_of_which_only_some_are_used_are_refused(bits, channels, tmp_path):
    image = np.random.default_rng(0).integers(0, 2**bits, (40, 30, channels), dtype=np.uint16)
    image[0, 0] = 2**bits - 1
    image[..., 3:] = 65_535  # transparency says nothing of the range
    data = encoded(".png", image)
    assert by_opencv(data).max() == 2 ** (bits - 8) - 1  # 15 of 255 for 12 bits
    error = refused(tmp_path, data, f"16 bits a value but hardly one above {2**bits - 1:,}")
    assert isinstance(error, pictures.UnknownRangeError)


def test_a_broken_pixel_does_not_stand_for_the_range(tmp_path):
    image = np.random.default_rng(0).integers(0, 4096, (100, 100, 3), dtype=np.uint16)
    image[7, 8] = 65_535
    refused(tmp_path, encoded(".png", image), "16 bits a value but hardly one above 4,09")
    image[:20, :20] = 65_535
    assert read(tmp_path, encoded(".png", image)).max() == 255


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_of_the_whole_range_lose_their_lower_half(channels, tmp_path):
    image = np.random.default_rng(0).integers(0, 65_536, (40, 30, channels), dtype=np.uint16)
    expected = np.broadcast_to(image[..., ::-1][..., -3:] // 256, (40, 30, 3))
    if channels == 4:
        expected = image[..., 2::-1] // 256
    np.testing.assert_array_equal(read(tmp_path, encoded(".png", image)), expected)
    dark = np.full((40, 30, channels), 300, np.uint16)
    dark[5, 5, 0] = 32_768
    found = read(tmp_path, encoded(".png", dark))
    assert found[0, 0].tolist() == [1, 1, 1] and 128 in found[5, 5]


def test_palettes_and_transparency_are_read_as_colors(tmp_path):
    image = np.dstack([drawn(), np.zeros((303, 251), np.uint8)])
    np.testing.assert_array_equal(read(tmp_path, encoded(".png", image)), image[..., 2::-1])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(b"\0\1\0"))
    palette = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    data = b"\x89PNG\r\n\x1a\n" + header + palette + content + chunk(b"IEND", b"")
    assert read(tmp_path, data).tolist() == [[[40, 50, 60], [10, 20, 30]]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + bytes(100),
        b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        b"\0\0\0\x18ftypheic" + bytes(50),
        b"II*\0" + bytes(50),
        b"<html>Not Found</html>",
        b"\0\0" + encoded(".jpg", drawn()),
    ],
)
def test_files_that_are_no_jpeg_png_or_bmp(data, tmp_path):
    refused(tmp_path, data, "empty" if not data else "no JPEG, PNG or BMP", "HEIC named.jpg")


def test_what_is_no_file_or_far_too_long_is_not_opened(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ValueError, match=r"folder\.jpg .*not a file"):
        faces.read_image(tmp_path / "folder.jpg")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for somebody to write
        with pytest.raises(ValueError, match=r"pipe\.jpg .*not a file"):
            faces.read_image(tmp_path / "pipe.jpg")
    with (tmp_path / "long.jpg").open("wb") as file:
        file.truncate(2**30 + 1)  # takes no room on the disk
    with pytest.raises(ValueError, match=r"long\.jpg .*1,073,741,825 bytes"):
        faces.read_image(tmp_path / "long.jpg")


def test_errors_of_the_decoders_name_the_file(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(".png", drawn()))

    def fails(error):
        def decode(*_):
            raise error

        monkeypatch.setattr(cv2, "imdecode", decode)

    broken = cv2.error("two\nlines")
    for error, kind in ((broken, ValueError), (MemoryError(), MemoryError)):
        fails(error)
        with pytest.raises(kind, match=r"a\.png"):
            faces.read_image(tmp_path / "a.png")
    broken.code = cv2.Error.StsNoMem
    fails(broken)
    with pytest.raises(MemoryError, match=r"a\.png"):
        faces.read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_whatever_is_damaged_no_other_error_leaves_the_reader(suffix, tmp_path):
    rng, whole = np.random.default_rng(0), encoded(suffix, drawn(40, 50))
    seen = set()
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, min(700, len(data)), 2):
            data[place] = rng.integers(256)
        try:
            image = pictures.decode(bytes(data[: rng.integers(1, 2 * len(data))]), "0001")
            seen.add(image.dtype == np.uint8 and image.ndim == 3)
        except ValueError as error:
            seen.add(str(error).startswith("0001 cannot be read as a picture: "))
    assert seen == {True}


def test_another_decoder_is_another_recipe(monkeypatch):
    def told():
        pictures.digest.cache_clear()
        work_units.recipe.cache_clear()
        return pictures.digest(), work_units.recipe()

    before = told()
    assert told() == before
    monkeypatch.setattr(simplejpeg, "__version__", "0.0.1")
    other = told()
    monkeypatch.undo()
    assert other[0] != before[0] and other[1] != before[1] and told() == before
