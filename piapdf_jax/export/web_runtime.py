"""onnxruntime-web, which runs .onnx files in a browser: fetched by npm at one version, known by its checksum."""

import base64
import gzip
import hashlib
import pathlib
import shutil
import subprocess
import tempfile
from typing import NamedTuple

from piapdf_jax import paths

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
#: As the registry gives it: SHA-512 of the archive.
INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"
_SCRIPT = "package/dist/ort.wasm.bundle.min.mjs"
_WASM = "package/dist/ort-wasm-simd-threaded.wasm"
_SECONDS = 600
_BLOCK = 512


class WebRuntimeError(ValueError):
    """onnxruntime-web is unavailable or not the expected file; one line that says what to do."""


class WebRuntime(NamedTuple):
    """An ECMAScript module, and the WebAssembly that it runs."""

    script: str
    wasm: bytes


def web_runtime(cache: pathlib.Path | None = None) -> WebRuntime:
    """Returns onnxruntime-web, downloaded by npm where the cache does not have it.

    Args:
        cache: folder that keeps the archive of 33 MB; None takes ``web`` among our caches.

    Raises:
        WebRuntimeError: where there is no npm or no network, or the archive has another checksum.
    """
    try:
        folder = cache or paths.cache_folder("web")
    except paths.NoHome as error:
        raise WebRuntimeError(f"{error}: name a folder for {ARCHIVE}") from error
    archive = folder / ARCHIVE
    if not archive.is_file():
        _download(folder)
    data = archive.read_bytes()
    found = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != INTEGRITY:
        raise WebRuntimeError(
            f"{archive} is not {PACKAGE}: its SHA-512 is {found}, not {INTEGRITY}; delete it, and it is"
            " downloaded again"
        )
    unpacked = gzip.decompress(data)
    return WebRuntime(_member(unpacked, _SCRIPT).decode(), _member(unpacked, _WASM))


def _download(folder: pathlib.Path) -> None:
    """Has npm put the archive into a folder; nothing of it is unpacked or run."""
    npm = shutil.which("npm")
    by_hand = f"or put {ARCHIVE} of {PACKAGE} into {folder}"
    if npm is None:
        raise WebRuntimeError(
            f"a web page needs onnxruntime-web, which npm fetches: install npm, {by_hand}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        command = [npm, "pack", PACKAGE, "--ignore-scripts", "--silent", "--fetch-retries=1"]
        command += ["--fetch-retry-mintimeout=1000", f"--pack-destination={beside}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=beside
            )
            reason = " ".join((done.stderr or done.stdout).split())[:200]
        except subprocess.TimeoutExpired:
            reason = f"no answer in {_SECONDS} s"
        made = pathlib.Path(beside, ARCHIVE)
        if not made.is_file():
            raise WebRuntimeError(
                f"npm cannot fetch {PACKAGE} ({reason or 'it does not say why'}): connect to the network,"
                f" {by_hand}"
            )
        made.replace(folder / ARCHIVE)


def _member(archive: bytes, name: str) -> bytes:
    """Finds a file of a tar archive in memory, by its headers alone: nothing is written."""
    place = 0
    while (header := archive[place : place + _BLOCK]).strip(b"\0"):
        size = int(header[124:136].strip(b" \0") or b"0", 8)
        start = place + _BLOCK
        if header[:100].rstrip(b"\0") == name.encode():
            return archive[start : start + size]
        place = start + -(-size // _BLOCK) * _BLOCK
    raise WebRuntimeError(f"{PACKAGE} holds no {name}")
