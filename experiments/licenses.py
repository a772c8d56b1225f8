"""License terms of what exports are made of: software, data sets, landmarks, initial weights."""

from collections.abc import Mapping, Sequence

from piapdf_jax import drawn_detector
from piapdf_jax.faces import PREDICTOR_LICENSE
from piapdf_jax.model_json import License
from piapdf_jax.models.weight_files import Published

#: Of this software, and of weights that it ships and nothing else binds. What an installation says of itself may be
#: older than LICENSE.
_OWN = ("Apache-2.0", "LICENSE")
_SOFTWARE = License("software piapdf_jax", *_OWN)
_DRAWN = "none needed: drawn by piapdf_jax from no assets"
_SHIPPED = "those of the software, which ships them"
#: By builder. What their owners say, in short: the words that bind stand at the source.
_DATA = {
    "bp4d": (
        "from Binghamton University on signing an agreement; nobody may pass the data on",
        "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    ),
    "disfa": (
        "from the University of Denver on signing an agreement; nobody may pass the data on",
        "http://mohammadmahoor.com/disfa/",
    ),
    "afew_va": (
        "from Imperial College London, for research",
        "https://ibug.doc.ic.ac.uk/resources/afew-va-database/",
    ),
    "casia_webface": (
        "for research; no longer given out by its makers",
        "https://arxiv.org/abs/1411.7923",
    ),
    "lfw_pairs": ("none given", "http://vis-www.cs.umass.edu/lfw/"),
    "own": ("yours: what the people who are seen agreed to binds", "data_builders/own"),
    "synthetic_faces": (_DRAWN, "data_builders/synthetic_faces"),
}
#: Builders whose pictures were cropped, and whose maps were drawn, by landmarks that dlib found.
_LANDMARKS = ("bp4d", "disfa", "casia_webface", "lfw_pairs", "own")
_IMAGENET = "; learned from ImageNet, whose pictures are for non-commercial research"


def licenses(
    datasets: list[str], weights: str, published: Mapping[str, Published]
) -> tuple[License, ...]:
    """Returns the terms of what an export is made of, as far as they are known.

    Args:
        datasets: names of data sets.
        weights: ``model.pretrained``: ``none``, ``drawn``, a published name or a file.
        published: files that are published for the encoder.
    """
    found = [_SOFTWARE]
    for name in dict.fromkeys(datasets):
        unknown = ("not known: a plugin's builder made it", "")
        found.append(License(f"data set {name}", *_DATA.get(name.partition("/")[0], unknown)))
    if any(name.partition("/")[0] in _LANDMARKS for name in datasets):
        source = "https://github.com/davisking/dlib-models"
        found.append(License("landmarks", PREDICTOR_LICENSE, source))
    if weights in published:
        terms, source = published[weights].terms
        found.append(License(f"weights {weights}", terms + _IMAGENET, source))
    elif weights == drawn_detector.NAME:
        found.append(License(f"weights {weights}", _SHIPPED, ""))
    elif weights != "none":
        found.append(License("weights", "not known: a file of the user's", ""))
    return tuple(found)


def of_shipped(terms: Sequence[License]) -> tuple[License, ...]:
    """Returns the terms of a detector that this software ships.

    Args:
        terms: those of its export. The software's are said anew, being those of the release that ships it.

    Returns:
        The same, and those of the weights where all that they learned from is drawn by this software.
    """
    others = [license for license in terms if license.of != _SOFTWARE.of]
    if others and all(license.terms in (_DRAWN, _SHIPPED) for license in others):
        others.insert(0, License("weights of this detector", *_OWN))
    return (_SOFTWARE, *others)
