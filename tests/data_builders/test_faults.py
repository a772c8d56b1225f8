"""Faults of the original files that are alike in several builders, and that docs/faults.md tells of all of them.

Trees are copies of the builders' dummy data with one thing made wrong.
"""

import importlib
import json
import pathlib
import shutil

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders import prepare
from data_builders.synthetic_faces.raw_layouts import write_raw

ROOT = pathlib.Path(prepare.__file__).parents[1]
NAMES = ("bp4d", "disfa", "afew_va", "casia_webface", "own", "lfw_pairs")
ONE, OTHER = "Dofannor_Kidelma", "Sareda_Selvatin"  # of LFW's dummy data
#: A picture of each tree; of LFW one that pairs name.
PICTURE = {
    "bp4d": "2D+3D/F001/T1/0113.jpg",
    "disfa": "Images/SN001/1.jpg",
    "afew_va": "001/00001.png",
    "casia_webface": "0000017/002.jpg",
    "own": "pictures/F001/0113.jpg",
    "lfw_pairs": f"lfw/{ONE}/{ONE}_0002.jpg",
}
#: A label file of each tree.
LABELS = {
    "bp4d": "AUCoding/AU_OCC/F003_T1.csv",
    "disfa": "ActionUnit_Labels/SN006/SN006_au12.txt",
    "afew_va": "002/002.json",
    "own": "labels.csv",
    "lfw_pairs": "pairs.txt",
}


def dummy(name, root):
    return shutil.copytree(ROOT / "data_builders" / name / "dummy_data", root)


def build(name, manual, data):
    return tfds.builder_from_directory(
        prepare.prepare(name, data_dir=data, manual_dir=manual, workers=1)
    )


def total(built):
    return built.info.splits.total_num_examples


def skipped(built):
    return {reason: case["examples"] for reason, case in built.info.metadata["skipped"].items()}


def fails(name, manual, data, *said):
    """The build ends with an error that says these words, and leaves nothing that reads as whole."""
    with pytest.raises((ValueError, OSError)) as error:
        build(name, manual, data)
    text = " ".join(str(error.value).split())
    for words in said:
        assert words in text
    assert len(str(error.value).strip().splitlines()) == 1
    assert not list(pathlib.Path(data).glob(f"{name}/*.*.*/dataset_info.json"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """How many records the untouched dummy data make."""
    return {
        name: total(build(name, ROOT / "data_builders" / name / "dummy_data", tmp_path_factory.mktemp(name)))
        for name in NAMES
    }  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
@pytest.mark.parametrize("name", NAMES[:-1])
def test_truncated_picture_is_counted(name, share, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    picture = manual / PICTURE[name]
    content = picture.read_bytes()
    picture.write_bytes(content[: int(share * len(content))])
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name] - 1
    (case,) = skipped(built)["picture that cannot be read"]
    assert skipped(built).keys() == {"picture that cannot be read"}
    assert PICTURE[name].endswith(case)


def test_truncated_picture_of_a_pair_ends_the_build(tmp_path):
    manual = dummy("lfw_pairs", tmp_path / "manual")
    picture = manual / PICTURE["lfw_pairs"]
    picture.write_bytes(picture.read_bytes()[:900])
    fails("lfw_pairs", manual, tmp_path / "data", f"picture 2 of {ONE}", "cannot be read")


def write_pairs(manual, *lines, header="1\t1"):
    (manual / "pairs.txt").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def test_pictures_in_no_pair_are_kept_or_counted(whole, tmp_path):
    manual = dummy("lfw_pairs", tmp_path / "manual")
    write_pairs(manual, f"{ONE}\t1\t3", f"{ONE}\t1\t{OTHER}\t1")
    picture = manual / PICTURE["lfw_pairs"]
    picture.write_bytes(picture.read_bytes()[:900])
    built = build("lfw_pairs", manual, tmp_path / "data")
    assert total(built) == whole["lfw_pairs"] - 1
    assert skipped(built) == {"picture that cannot be read": [f"{ONE}/{ONE}_0002.jpg"]}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("content", ["", "\n \n"])
def test_empty_label_file_ends_the_build(name, content, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    (manual / LABELS[name]).write_text(content)
    fails(name, manual, tmp_path / "data", LABELS[name].rsplit("/", 1)[-1])


def test_empty_list_of_people_to_leave_out_leaves_out_nobody(whole, tmp_path):
    manual = dummy("casia_webface", tmp_path / "manual")
    (manual / "exclude.txt").write_text("\n\n")
    built = build("casia_webface", manual, tmp_path / "data")
    assert total(built) == whole["casia_webface"] and not skipped(built)


def rewrite(manual, change):
    path = manual / LABELS["afew_va"]
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_landmarks_that_are_no_numbers_are_counted(whole, tmp_path):
    manual = dummy("afew_va", tmp_path / "manual")

    def change(content):
        content["frames"]["00000"]["landmarks"][7] = ["left", 3.0]
        content["frames"]["00001"]["landmarks"][7] = [float("nan"), 3.0]

    rewrite(manual, change)
    built = build("afew_va", manual, tmp_path / "data")
    assert total(built) == whole["afew_va"] - 2
    assert skipped(built) == {"landmark list that is not 68 points": ["002/00000", "002/00001"]}


@pytest.mark.parametrize("name", ["bp4d", "disfa", "afew_va", "lfw_pairs"])
def test_second_picture_of_a_frame_is_counted(name, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    picture = manual / PICTURE[name]
    copy = picture.with_suffix(".jpg" if picture.suffix == ".png" else ".png")
    copy.write_bytes(cv2.imencode(copy.suffix, np.zeros((128, 128, 3), np.uint8))[1].tobytes())
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name]
    assert sum(len(cases) for cases in skipped(built).values()) == 1
    (reason,) = skipped(built)
    assert reason.startswith("second picture of a ")


def test_frame_that_is_named_twice_in_a_json_file(whole, tmp_path):
    manual = dummy("afew_va", tmp_path / "manual")
    path = manual / LABELS["afew_va"]
    text = path.read_text()
    path.write_text(text.replace('"00001": {', '"00002": {', 1))
    fails("afew_va", manual, tmp_path / "data", "002.json", "'00002' appears twice")
    path.write_text(text.replace('"00001": {', '"02": {', 1))
    shutil.copy(path.with_name("00001.png"), path.with_name("02.png"))
    built = build("afew_va", manual, tmp_path / "data")
    assert skipped(built) == {
        "picture without landmarks": ["002/00001"],
        "second picture of a frame": ["002/00002"],
    }
    assert total(built) == whole["afew_va"] - 1


def test_pair_of_an_unknown_person_ends_the_build(tmp_path):
    manual = dummy("lfw_pairs", tmp_path / "manual")
    write_pairs(manual, f"{ONE}\t1\t3", f"{ONE}\t1\tNobody_Known\t1")
    fails("lfw_pairs", manual, tmp_path / "data", "picture 1 of Nobody_Known", "does not exist")


def test_picture_with_another_name_ends_the_build(tmp_path):
    manual = dummy("lfw_pairs", tmp_path / "manual")
    shutil.copy(manual / PICTURE["lfw_pairs"], manual / "lfw" / ONE / "portrait.jpg")
    fails("lfw_pairs", manual, tmp_path / "data", "portrait.jpg is not named NAME_0001.jpg")


@pytest.mark.parametrize("name", NAMES)
def test_letters_beyond_ascii_in_folders(name, whole, tmp_path):
    manual = dummy(name, tmp_path / "Gesichter äöü ß" / "表情 データ")
    built = build(name, manual, tmp_path / "Scherben é 数据")
    assert total(built) == whole[name] and not skipped(built)
    for split in built.info.splits:
        assert len(built.as_data_source(split)) == built.info.splits[split].num_examples
        assert built.as_data_source(split)[0]["image"].shape == (256, 256, 3)


def test_film_whose_path_has_letters_beyond_ascii(tmp_path):
    """OpenCV opens films by their path, and not by bytes as pictures are."""
    manual = tmp_path / "Gesichter äöü 表情"
    write_raw("disfa", manual, people=("SN001",), size=128, video=True)
    shutil.rmtree(manual / "Images")
    built = build("disfa", manual, tmp_path / "Scherben 数据")
    assert built.info.metadata["read"]["of them from films"] == 1
    assert total(built) == 20 and not skipped(built)


def test_actor_and_clip_with_letters_beyond_ascii(whole, tmp_path):
    manual = dummy("afew_va", tmp_path / "manual")
    rewrite(manual, lambda content: content.update(actor="Zoë Ünal 张"))
    (manual / "002" / "002.json").rename(manual / "002" / "clip ö.json")
    (manual / "002").rename(manual / "clip ö")
    built = build("afew_va", manual, tmp_path / "data")
    assert total(built) == whole["afew_va"] and not skipped(built)
    records = [r for split in built.info.splits for r in built.as_data_source(split)]
    people = {(r["subject"].decode(), r["task"].decode()) for r in records}
    assert ("Zoë Ünal 张", "clip ö") in people


@pytest.mark.parametrize("name", ["casia_webface", "lfw_pairs"])
def test_person_with_letters_beyond_ascii(name, whole, tmp_path):
    manual, person = dummy(name, tmp_path / "manual"), "Jörg_Müller 张伟"
    if name == "casia_webface":
        (manual / "0000017").rename(manual / person)
        (manual / "exclude.txt").write_text("0000054\n", encoding="utf-8-sig")
        expected = 3
    else:
        for picture in (manual / "lfw" / ONE).iterdir():
            picture.rename(picture.with_name(picture.name.replace(ONE, person)))
        (manual / "lfw" / ONE).rename(manual / "lfw" / person)
        text = (manual / "pairs.txt").read_text().replace(ONE, person)
        (manual / "pairs.txt").write_text(text, encoding="utf-8-sig")
        expected = whole[name]
    built = build(name, manual, tmp_path / "data")
    assert total(built) == expected and not skipped(built)
    (split,) = built.info.splits
    assert person in {record["name"].decode() for record in built.as_data_source(split)}


def test_film_that_is_cut_off_loses_the_rest_of_its_frames(tmp_path):
    manual = tmp_path / "manual"
    write_raw("disfa", manual, people=("SN001",), size=128, video=True)
    shutil.rmtree(manual / "Images")
    film = manual / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi"
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    built = build("disfa", manual, tmp_path / "data")
    lost = built.info.metadata["skipped"]["label row without its picture"]["count"]
    assert 5 < lost < 15 and total(built) == 20 - lost


def test_tree_whose_only_film_cannot_be_read_ends_the_build(tmp_path):
    manual = dummy("disfa", tmp_path / "manual")
    shutil.rmtree(manual / "Images")
    film = manual / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi"
    film.parent.mkdir()
    film.write_bytes(b"no film")
    fails("disfa", manual, tmp_path / "data", "no frame of disfa can be used", film.name)


#: Whose tree is taken for each builder's. CASIA's layout says no more than a folder a person, which AFEW-VA's
#: clips have as well, so that no builder could tell.
WRONG = {
    "bp4d": "disfa",
    "disfa": "bp4d",
    "afew_va": "lfw_pairs",
    "casia_webface": "lfw_pairs",
    "lfw_pairs": "casia_webface",
    "own": "bp4d",
}


@pytest.mark.parametrize("name", NAMES)
def test_wrong_or_empty_manual_dir(name, tmp_path):
    data = tmp_path / "data"
    where = importlib.import_module(prepare.BUILDERS[name]).Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    where = " ".join(where.split())
    fails(name, None, data, f"{name} needs --manual_dir", where)
    fails(name, tmp_path / "nowhere", data, "nowhere does not exist", where)
    (tmp_path / "empty").mkdir()
    fails(name, tmp_path / "empty", data, "empty is empty", where)
    stray = tmp_path / "stray"
    stray.mkdir()
    (stray / "readme.txt").write_text("nothing")
    fails(name, stray, data, str(stray))
    wrong = dummy(WRONG[name], tmp_path / "wrong")
    fails(name, wrong, data, str(wrong))


def empty_folder(name, manual):
    """Takes all pictures out of a folder; how many records that costs, and what is reported."""
    folder = (manual / PICTURE[name]).parent
    for path in [path for path in folder.iterdir() if path.suffix in (".jpg", ".png")]:
        path.unlink()
    return {
        "bp4d": (4, {"video folder without pictures": ["F001/T1"],
                     "label row without its picture": ["F001/T1 row 113"]}),
        "disfa": (3, {"participant without film or pictures": ["SN001"]}),
        "afew_va": (3, {"landmarks without their picture": ["001/00000", "001/00001", "001/00002"]}),
        "casia_webface": (3, {"folder without pictures": ["0000017"]}),
        "own": (4, {"label row without its picture": [f"pictures/F001/0{k}.jpg" for k in range(111, 115)]}),
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_folder_without_pictures_is_counted(name, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    if name == "afew_va":  # one clip of one actor could not be split
        shutil.copytree(manual / "002", manual / "003")
        (manual / "003" / "002.json").rename(manual / "003" / "003.json")
        path = manual / "003" / "003.json"
        path.write_text(path.read_text().replace("actor001", "actor002"))
        whole = whole | {name: whole[name] + 3}
    if name == "lfw_pairs":
        (manual / "lfw" / "Nobody").mkdir()
        lost, reported = 0, {"folder without pictures": ["Nobody"]}
    else:
        lost, reported = empty_folder(name, manual)
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name] - lost
    assert skipped(built) == reported


def test_clip_without_its_json_file_is_counted(whole, tmp_path):
    manual = dummy("afew_va", tmp_path / "manual")
    shutil.copytree(manual / "002", manual / "disk" / "003")
    built = build("afew_va", manual, tmp_path / "data")
    assert total(built) == whole["afew_va"]
    assert skipped(built) == {"clip without its JSON file": ["disk/003"]}


def test_second_label_file_of_a_video_is_counted(whole, tmp_path):
    manual = dummy("bp4d", tmp_path / "manual")
    shutil.copy(manual / LABELS["bp4d"], manual / "F003_T1.csv")
    built = build("bp4d", manual, tmp_path / "data")
    assert total(built) == whole["bp4d"]
    assert skipped(built) == {"second label file of a video": ["F003_T1.csv"]}


@pytest.mark.parametrize("name", NAMES)
def test_hidden_files_are_no_pictures(name, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    picture = manual / PICTURE[name]
    for stray in (f"._{picture.name}", "Thumbs.db"):
        picture.with_name(stray).write_bytes(b"Mac OS X")
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name]
    # Where pictures are numbered, whatever else lies there is counted.
    counted = {"file that is no numbered picture"} if name in ("bp4d", "disfa") else set()
    assert skipped(built).keys() == counted
