"""Writes a light detector as one web page: network, runtime and interface in a file that loads nothing else."""

import base64
import functools
import gzip
import hashlib
import json
import pathlib
import re

from piapdf_jax.action_units import ACTION_UNITS
from piapdf_jax.detector_runtimes import is_whole, property_of
from piapdf_jax.export.web_runtime import PACKAGE, web_runtime
from piapdf_jax.model_json import Model, ModelError, to_json
from piapdf_jax.types import JsonObject

_PARTS = pathlib.Path(__file__).with_name("web")
#: In the order in which they build on one another.
_SCRIPTS = ("crop.js", "network.js", "results.js", "page.js")
_EXPORTS = re.compile(r"export\s*\{([^{}]*)\};?(?=\s*(//[^\n]*\s*)?$)")


def write_web(
    path: pathlib.Path, onnx_file: bytes, model: Model, *, cache: pathlib.Path | None = None
) -> None:
    """Writes the page.

    Args:
        path: of the .html file.
        onnx_file: content of an .onnx file as ``onnx_file.write_onnx`` makes it, of either type of input.
        model: what ``model.json`` says of the export that the file was made of.
        cache: folder that keeps onnxruntime-web; None takes that of the user.

    Raises:
        ModelError: for a file that is not ours, is damaged, or is of another export.
        WebRuntimeError: where onnxruntime-web cannot be had.
    """
    facts = _facts(onnx_file, model)
    code, wasm = _packed_runtime(cache)
    style = _part("page.css")
    page_script = "\n".join(map(_part, _SCRIPTS))
    blocks = {
        "policy": _policy(style, page_script),
        "style": style,
        "script": page_script,
        # No tag can begin or end in it: these three stand within texts alone in JSON.
        "facts": re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", json.dumps(facts)),
        "runtime": PACKAGE,
        "license": _part("onnxruntime.txt"),
        "code": code,
        "wasm": wasm,
        "network": _packed(onnx_file),
    }
    # In one pass, so that nothing that is put in is taken for a place to put something in.
    text = re.sub(r"\{\{(\w+)\}\}", lambda place: blocks[place[1]], _part("page.html"))
    path.write_bytes(text.encode())


@functools.cache
def _packed_runtime(cache: pathlib.Path | None) -> tuple[str, str]:
    """The worker's script and its WebAssembly, the same in every page."""
    script, wasm = web_runtime(cache)
    return _packed((_as_script(script) + _part("worker.js")).encode()), _packed(wasm)


def _facts(onnx_file: bytes, model: Model) -> JsonObject:
    """What the page knows of its model."""
    if not is_whole(onnx_file):
        raise ModelError(
            "a web page needs an .onnx file of experiments.export: this is another file, or it is damaged"
        )
    told = {key: property_of(onnx_file, key) for key in ("digest", "input", "dtype")}
    if told["digest"] != model.digest:
        raise ModelError(
            f"the .onnx file belongs to export {told['digest']}, the model to {model.digest}"
        )
    names = {unit.number: unit.name for unit in ACTION_UNITS if unit.number in model.units}
    return {**told, "model": json.loads(to_json(model)), "names": names, "runtime": PACKAGE}


def _as_script(module: str) -> str:
    """Makes of a module a script whose exports are the fields of ``ort``, for what is put behind it.

    Chromium starts no worker that is a module for a page from a file, and an import would need an address that may be
    run from, of which the page's policy has none.
    """
    found = _EXPORTS.search(module)
    if found is None:
        raise ModelError(f"{PACKAGE} does not end with an export statement")
    pairs = [name.split(" as ") for name in found[1].split(",")]
    fields = ", ".join(f"{pair[-1].strip()}: {pair[0].strip()}" for pair in pairs)
    inside = module[: found.start()].replace("import.meta.url", "self.location.href")
    return f"{inside}\nconst ort = {{{fields}}};\n"


def _policy(style: str, script: str) -> str:
    """The content security policy: nothing is asked for, and of scripts the page's own alone run."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'"
        " 'wasm-unsafe-eval'; worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def _packed(data: bytes) -> str:
    # The same bytes for the same content: no time in the header.
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
