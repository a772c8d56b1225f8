import io
import os
import struct
import sys

import cv2
import numpy as np
import PIL.Image as PIL
import pillow_heif
import pytest

from piapdf_jax import capture, photographs, picture_headers, pictures

RED, GREEN, BLUE, YELLOW = (200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 30)


def corners():
    """Upper left red, upper right blue, lower left yellow, lower right green; 60 wide, 40 high."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30], image[:20, 30:], image[20:, :30], image[20:, 30:] = RED, BLUE, YELLOW, GREEN
    return image


def stored(kind, image=None, **options):
    file = io.BytesIO()
    PIL.fromarray(corners() if image is None else image).save(file, kind, **options)
    return file.getvalue()


def read(tmp_path, data, name="a.jpg"):
    path = tmp_path / name
    path.write_bytes(data)
    return photographs.read_photograph(path)


def shows(image):
    h, w = image.shape[:2]
    return [tuple(image[y, x].tolist()) for y in (5, h - 5) for x in (5, w - 5)]


def near(found, wanted):
    return np.abs(np.array(found, int) - np.array(wanted, int)).max() <= 6


UPRIGHT = (RED, BLUE, YELLOW, GREEN)
#: What a person sees at each mark, from the meaning of rows and columns in the standard.
SEEN = {
    1: UPRIGHT,
    2: (BLUE, RED, GREEN, YELLOW),
    3: (GREEN, YELLOW, BLUE, RED),
    4: (YELLOW, GREEN, RED, BLUE),
    5: (RED, YELLOW, BLUE, GREEN),
    6: (YELLOW, RED, GREEN, BLUE),
    7: (GREEN, BLUE, YELLOW, RED),
    8: (BLUE, GREEN, RED, YELLOW),
}


@pytest.mark.parametrize("mark", SEEN)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_marks_of_cameras_turn_pictures_upright_once(tmp_path, kind, mark):
    exif = PIL.Exif()
    exif[0x0112] = mark
    quality = {"quality": 95} if kind not in ("PNG", "TIFF") else {}
    image = read(tmp_path, stored(kind, exif=exif, **quality))
    assert image.shape == ((40, 60, 3) if mark <= 4 else (60, 40, 3))
    assert near(shows(image), SEEN[mark])


def test_a_mark_behind_a_part_of_odd_length(tmp_path):
    exif = PIL.Exif()
    exif[0x0112] = 6
    data = stored("WEBP", exif=exif, quality=95)
    place = data.index(b"EXIF")
    data = data[:place] + b"NOTE\x03\0\0\0abc\0" + data[place:]
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    assert near(shows(read(tmp_path, data)), SEEN[6])


@pytest.mark.parametrize("mark", [0, 9, 200])
def test_marks_that_mean_nothing_turn_nothing(tmp_path, mark):
    exif = PIL.Exif()
    exif[0x0112] = mark
    whole = stored("JPEG", exif=exif, quality=95)
    assert near(shows(read(tmp_path, whole)), UPRIGHT)
    # A directory that says to have more entries than there is room for.
    place = whole.index(b"\x01\x12\x00\x03") - 2
    damaged = whole[:place] + b"\xff\xff" + whole[place + 2 :]
    assert near(shows(read(tmp_path, damaged)), UPRIGHT)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparent_pictures_are_turned_as_well(tmp_path, kind):
    exif = PIL.Exif()
    exif[0x0112] = 6
    image = np.dstack([corners(), np.full((40, 60), 255, np.uint8)])
    image[:20, :30, 3] = 0
    lossless = {"lossless": True} if kind == "WEBP" else {}
    found = read(tmp_path, stored(kind, image, exif=exif, **lossless))
    assert found.shape == (60, 40, 3)
    assert near(shows(found), (YELLOW, (255, 255, 255), GREEN, BLUE))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_is_taken(tmp_path, kind):
    first, second = PIL.fromarray(corners()), PIL.fromarray(255 - corners())
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=[second])
    assert near(shows(read(tmp_path, file.getvalue())), UPRIGHT)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_transparent_parts_are_white(tmp_path, kind):
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:20, :30] = 0
    image = np.dstack([corners(), alpha])
    lossless = {"lossless": True} if kind == "WEBP" else {}
    found = read(tmp_path, stored(kind, image, **lossless))
    assert near(shows(found), ((255, 255, 255), BLUE, YELLOW, GREEN))
    if kind == "PNG":
        # Half of what is there: 0.5 * 200 + 0.5 * 255.
        image[..., 3] = 128
        assert near(shows(read(tmp_path, stored(kind, image)))[:1], ((227, 142, 142),))


def test_a_palette_with_a_transparent_color(tmp_path):
    flat = PIL.fromarray(corners()).quantize(4)
    file = io.BytesIO()
    flat.save(file, "PNG", transparency=flat.getpixel((5, 5)))
    assert near(shows(read(tmp_path, file.getvalue())), ((255, 255, 255), BLUE, YELLOW, GREEN))


def test_cmyk_and_gray_and_16_bits(tmp_path):
    file = io.BytesIO()
    PIL.fromarray(corners()).convert("CMYK").save(file, "JPEG", quality=95)
    assert near(shows(read(tmp_path, file.getvalue())), UPRIGHT)
    gray = np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))
    found = read(tmp_path, stored("PNG", gray))
    assert found.shape == (40, 60, 3) and (found == gray[..., None]).all()
    deep = (gray.astype(np.uint16) << 8) + 77
    for kind in ("PNG", "TIFF"):
        assert (read(tmp_path, stored(kind, deep)) == gray[..., None]).all()
    with pytest.raises(ValueError, match=r"a.jpg cannot be read.* 16 bits"):
        read(tmp_path, stored("TIFF", deep >> 4))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_what_is_cut_off_is_refused_in_one_line(tmp_path, kind):
    rng = np.random.default_rng(0)
    data = stored(kind, rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    assert read(tmp_path, data).shape == (40, 60, 3)
    for kept in (0, 1, 13, len(data) // 2):
        with pytest.raises(ValueError, match=r"a\.jpg cannot be read") as error:
            read(tmp_path, data[:kept])
        assert "\n" not in str(error.value)


def test_one_pixel_and_a_very_wide_picture(tmp_path):
    assert read(tmp_path, stored("PNG", np.zeros((1, 1, 3), np.uint8))).shape == (1, 1, 3)
    wide = np.zeros((50, 20_000, 3), np.uint8)
    assert read(tmp_path, stored("JPEG", wide)).shape == wide.shape


HUGE = 60_000
BOMBS = {
    "gif": b"GIF89a" + struct.pack("<HH", HUGE, HUGE) + bytes(9),
    "webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + 2 * (HUGE - 1).to_bytes(3, "little"),
    "tiff": b"II*\0\x08\0\0\0" + struct.pack("<HHHIIHHII", 2, 256, 4, 1, HUGE, 257, 4, 1, HUGE),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x16ihdr" + struct.pack(">II", HUGE, HUGE),
    "avif": b"\0\0\0\x0cftypavif\0\0\0\x14ispe\0\0\0\0" + struct.pack(">II", HUGE, HUGE),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_pictures_larger_than_memory_are_refused_by_their_header(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("cv2.imdecode", None)  # is not asked
    with pytest.raises(ValueError, match="its header says 60,000 x 60,000 pixels"):
        read(tmp_path, BOMBS[kind])


SMALL = {"GIF": {}, "WEBP": {"lossless": True}, "TIFF": {}, "JPEG2000": {}, "AVIF": {}}


@pytest.mark.parametrize("kind", SMALL)
def test_headers_say_the_size_of_a_picture(kind):
    assert picture_headers.size(stored(kind, **SMALL[kind])) == (40, 60)
    if kind == "WEBP":  # the other two kinds of header
        assert picture_headers.size(stored(kind)) == (40, 60)
        alpha = np.dstack([corners(), np.full((40, 60), 9, np.uint8)])
        assert picture_headers.size(stored(kind, alpha)) == (40, 60)


def test_an_avif_of_10_bits(tmp_path):
    image = np.full((40, 60, 3), (100, 500, 900), np.uint16)  # blue, green, red of up to 1,023
    options = [cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 95]
    found = read(tmp_path, cv2.imencode(".avif", image, options)[1].tobytes())
    assert near(found[20, 30], (900 / 4, 500 / 4, 100 / 4))


def test_values_that_are_not_whole_numbers_and_other_files(tmp_path):
    floats = cv2.imencode(".tiff", np.zeros((9, 9, 3), np.float32))[1].tobytes()
    with pytest.raises(ValueError, match=r"a\.jpg cannot be read as a picture: .* float32"):
        read(tmp_path, floats)
    for data in (b"P6 1 1 255\nabc", b"%PDF-1.7\n", b"\0\0\0\x14ftypqt  "):
        with pytest.raises(ValueError, match=r"a\.jpg cannot be read.*begins with"):
            read(tmp_path, data)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    for name, said in {
        "pipe.jpg": "is not a file",
        "": "is not a file",
        "none.png": "does not exist",
    }.items():
        with pytest.raises(ValueError, match=said):
            photographs.read_photograph(tmp_path / name)
    assert photographs.is_photograph(tmp_path / "pipe.jpg")
    with pytest.raises(capture.CaptureError, match="pipe.jpg is not a file"):
        capture.Film(tmp_path / "pipe.jpg")


def test_a_heic_picture_is_turned_once(tmp_path):
    image = pillow_heif.from_pillow(PIL.fromarray(corners()).resize((120, 80)))
    exif = PIL.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    found = photographs.read_photograph(tmp_path / "a.heic")
    assert found.shape == (120, 80, 3)
    assert np.abs(np.array(shows(found)) - np.array(SEEN[6])).max() <= 30
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:200])
    with pytest.raises(ValueError, match="b.heic cannot be read"):
        photographs.read_photograph(tmp_path / "b.heic")


def test_a_heic_picture_that_is_too_large_or_damaged_inside(tmp_path, monkeypatch):
    pillow_heif.from_pillow(PIL.fromarray(corners())).save(tmp_path / "a.heic")
    monkeypatch.setattr(pictures, "MAX_SIDE", 59)
    with pytest.raises(ValueError, match=r"a\.heic .* header says 60 x 40 pixels"):
        photographs.read_photograph(tmp_path / "a.heic")

    def fail(*arguments, **options):
        raise IndexError("list\nindex")

    monkeypatch.setattr(pillow_heif, "open_heif", fail)
    with pytest.raises(ValueError, match=r"a\.heic cannot be read as a picture: list index$"):
        photographs.read_photograph(tmp_path / "a.heic")


def test_a_heic_picture_without_pillow_heif_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    with pytest.raises(
        ValueError, match=r"a.heic cannot be read.* HEIC.*pip install .*pillow-heif"
    ):
        photographs.read_photograph(tmp_path / "a.heic")


def test_pictures_are_known_by_their_content_first(tmp_path):
    cases = {
        "picture.mp4": (stored("JPEG"), True),
        "webp": (stored("WEBP"), True),
        "film.avi": (b"RIFF\0\0\0\0AVI LIST", False),
        "film.mov": (b"\0\0\0\x14ftypqt  ", False),
        "film.jpg": (b"\0\0\0\x14ftypisom", False),
        "phone": (b"\0\0\0\x18ftypheic", True),
        "empty.png": (b"", True),
        "empty": (b"", False),
    }
    for name, (data, _) in cases.items():
        (tmp_path / name).write_bytes(data)
    found = {name: photographs.is_photograph(tmp_path / name) for name in cases}
    assert found == {name: told for name, (_, told) in cases.items()}


def test_folders_are_listed_in_order_without_hidden_files(tmp_path):
    names = ["b.JPG", "a.png", "c.mp4", ".hidden.jpg", "._a.png", "notes.txt", 'x,"y"\nz.jpg']
    for folder in (tmp_path, tmp_path / "below", tmp_path / ".cache"):
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).touch()
    (tmp_path / "below" / "loop").symlink_to(tmp_path)
    flat = photographs.pictures_and_films(tmp_path, recursive=False)
    assert [path.name for path in flat.pictures] == ["a.png", "b.JPG", 'x,"y"\nz.jpg']
    assert [path.name for path in flat.films] == ["c.mp4"] and not flat.faults
    deep = photographs.pictures_and_films(tmp_path, recursive=True)
    assert len(deep.pictures) == 6 and len(deep.films) == 2
    assert {path.parent.name for path in deep.pictures} == {tmp_path.name, "below"}


def test_folders_name_what_cannot_be_looked_into_and_keep_strange_names(tmp_path, monkeypatch):
    strange = os.fsdecode(b"caf\xe9.png")  # not UTF-8
    (tmp_path / strange).write_bytes(stored("PNG"))
    (tmp_path / "closed").mkdir()
    looked = os.scandir

    def scandir(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return looked(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listed = photographs.pictures_and_films(tmp_path, recursive=True)
    assert listed.pictures == [tmp_path / strange]
    assert listed.faults == [f"{tmp_path}/closed cannot be opened (Permission denied)"]
    assert near(shows(photographs.read_photograph(tmp_path / strange)), UPRIGHT)
