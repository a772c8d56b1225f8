"""onnxruntime-web is known by its checksum before anything looks into it. No test here needs npm or a network."""

import base64
import gzip
import hashlib
import io
import pathlib
import tarfile

import pytest

from piapdf_jax.detector_runtimes import sealed
from piapdf_jax.export import web_runtime
from piapdf_jax.export.web_file import write_web
from piapdf_jax.export.web_runtime import WebRuntimeError
from piapdf_jax.model_json import Data, Model, ModelError

SCRIPT, WASM = web_runtime._SCRIPT, web_runtime._WASM


def npm(folder: pathlib.Path, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program of a few lines of shell in npm's place; $into is the folder that the archive is to be put in."""
    program = folder / "bin" / "npm"
    program.parent.mkdir()
    find = 'for a in "$@"; do case $a in --pack-destination=*) into=${a#*=};; esac; done\n'
    program.write_text(f"#!/bin/sh\n{find}{lines}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def archive(files: dict[str, bytes]) -> bytes:
    """A .tgz, by Python's own writer."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def pinned(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    found = base64.b64encode(hashlib.sha512(data).digest()).decode()
    monkeypatch.setattr(web_runtime, "INTEGRITY", found)


def test_without_npm_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WebRuntimeError, match="install npm, or put onnxruntime-web-") as found:
        web_runtime.web_runtime(tmp_path / "cache")
    assert str(tmp_path / "cache") in str(found.value) and "\n" not in str(found.value)


def test_without_a_network_one_line_says_why(tmp_path, monkeypatch):
    npm(tmp_path, "printf 'npm error code ENOTFOUND\\nnpm error no route' >&2; exit 1", monkeypatch)
    with pytest.raises(WebRuntimeError, match="ENOTFOUND npm error no route.*connect to the net"):
        web_runtime.web_runtime(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_another_archive_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    npm(tmp_path, f"echo junk > $into/{web_runtime.ARCHIVE}", monkeypatch)
    monkeypatch.setattr(gzip, "decompress", lambda data: pytest.fail("it was unpacked"))
    for _ in range(2):  # fetched, and out of the cache
        with pytest.raises(WebRuntimeError, match="is not onnxruntime-web@.*SHA-512 is .*delete"):
            web_runtime.web_runtime(tmp_path / "cache")


def test_one_changed_byte_is_another_archive(tmp_path, monkeypatch):
    data = bytearray(archive({SCRIPT: b"s", WASM: b"w"}))
    pinned(bytes(data), monkeypatch)
    path = tmp_path / web_runtime.ARCHIVE
    path.write_bytes(data)
    assert web_runtime.web_runtime(tmp_path) == ("s", b"w")
    data[4] ^= 1  # the time in the header of gzip, which changes nothing of the content
    path.write_bytes(data)
    with pytest.raises(WebRuntimeError, match="is not onnxruntime-web@"):
        web_runtime.web_runtime(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 5000])
def test_members_are_found_wherever_they_stand(size, tmp_path, monkeypatch):
    files = {"package/a": b"x" * size, "../up": b"no", SCRIPT: b"s" * size, WASM: b"\0" * size}
    data = archive(files)
    pinned(data, monkeypatch)
    npm(tmp_path, f"cp {tmp_path}/made.tgz $into/{web_runtime.ARCHIVE}", monkeypatch)
    (tmp_path / "made.tgz").write_bytes(data)
    found = web_runtime.web_runtime(tmp_path / "cache")
    assert found == ("s" * size, b"\0" * size)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [web_runtime.ARCHIVE]
    assert not (tmp_path / "up").exists()


def test_an_archive_without_the_file_says_which(tmp_path, monkeypatch):
    data = archive({SCRIPT: b"s"})
    pinned(data, monkeypatch)
    (tmp_path / web_runtime.ARCHIVE).write_bytes(data)
    with pytest.raises(WebRuntimeError, match=f"holds no {WASM}"):
        web_runtime.web_runtime(tmp_path)


DIGEST = "0123456789abcdef"
MODEL = Model(
    *("piap", "PIAP", DIGEST, (1,), 64, None, None, ("encoder", "head"), None),
    {"size": 256, "box_scale": 3.1, "box_lift": 0.08},
    *({1: 0.5}, {1: 0.5}, {}, {"labeled": 1, "scored": 1}),
    (Data("piap", "d", "1.0.0", "train", 1, True),),
    *({}, ()),
    files={},
)


def of_export(digest: str) -> bytes:
    """As much of an .onnx file as names its export."""
    return sealed(b"\n\x06digest\x12" + bytes([len(digest)]) + digest.encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is another file, or it is damaged"),
        (of_export(DIGEST)[:-1], "is another file, or it is damaged"),
        (of_export("f" * 16), f"belongs to export {'f' * 16}, the model to {DIGEST}"),
    ],
)
def test_a_file_that_is_not_of_the_model_becomes_no_page(data, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        write_web(tmp_path / "model.html", data, MODEL, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
