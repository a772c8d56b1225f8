import io
import sys

import numpy as np
import pytest

from piapdf_jax import photographs

PIL = pytest.importorskip("PIL.Image")
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
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_marks_of_cameras_turn_pictures_upright_once(tmp_path, kind, mark):
    exif = PIL.Exif()
    exif[0x0112] = mark
    quality = {"quality": 95} if kind == "JPEG" else {}
    image = read(tmp_path, stored(kind, exif=exif, **quality))
    assert image.shape == ((40, 60, 3) if mark <= 4 else (60, 40, 3))
    assert near(shows(image), SEEN[mark])


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


def test_a_heic_picture_is_turned_once(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    image = heif.from_pillow(PIL.fromarray(corners()).resize((120, 80)))
    exif = PIL.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    found = photographs.read_photograph(tmp_path / "a.heic")
    assert found.shape == (120, 80, 3)
    assert np.abs(np.array(shows(found)) - np.array(SEEN[6])).max() <= 30
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:200])
    with pytest.raises(ValueError, match="b.heic cannot be read"):
        photographs.read_photograph(tmp_path / "b.heic")


def test_a_heic_picture_without_pillow_heif_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    with pytest.raises(ValueError, match=r"a.heic is a HEIC picture: .*pillow-heif"):
        photographs.read_photograph(tmp_path / "a.heic")


def test_pictures_are_known_by_their_content_first(tmp_path):
    cases = {
        "picture.mp4": (stored("JPEG"), True),
        "webp": (stored("WEBP"), True),
        "film.avi": (b"RIFF\0\0\0\0AVI LIST", False),
        "film.mov": (b"\0\0\0\x14ftypqt  ", False),
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
