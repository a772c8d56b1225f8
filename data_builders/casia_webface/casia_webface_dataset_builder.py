"""CASIA-WebFace: pictures of 10,575 people, for face recognition.

python -m data_builders.prepare casia_webface --manual_dir=FILES --data_dir=SHARDS --workers=8
"""

import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders import folders, portraits, record_builder, schema
from data_builders import landmarks as finder
from data_builders.fault_report import FaultReport

#: Names of people to leave out, one a line, beside the folders: for example those of LFW.
EXCLUDED = "exclude.txt"
_FOLDERS = ("CASIA-WebFace", "CASIA-maxpy-clean")
_REASONS = {
    finder.NO_FACE: "no face found",
    **finder.REFUSED,
}


class Builder(record_builder.RecordBuilder):
    """Builds CASIA-WebFace from a folder a person, whole as the split ``train``."""

    VERSION = tfds.core.Version(schema.IDENTITY_VERSION)
    RELEASE_NOTES = schema.IDENTITY_RELEASES
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    CASIA-WebFace was given out by the Institute of Automation of the Chinese Academy of Sciences;
    put the pictures into CASIA-WebFace/0000045/001.jpg ... below --manual_dir, and the names of
    people to leave out, one a line, into exclude.txt.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=schema.identity_features(), metadata=tfds.core.MetadataDict()
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        manual, report = pathlib.Path(dl_manager.manual_dir), FaultReport()
        root = folders.people_folder(manual, _FOLDERS)
        if root.name.lower().startswith("lfw"):
            raise ValueError(f"{root} holds LFW, on which Encoder P is verified, not CASIA-WebFace")
        people = portraits.read_people(root, report)
        excluded = _excluded(folders.beside(EXCLUDED, root, manual))
        for name in sorted(excluded - {person.name for person in people}):
            report.add(f"name in {EXCLUDED} that nobody has", name)
        kept = [person for person in people if person.name not in excluded]
        known = self._known(kept, report)
        if not known:
            raise ValueError(f"no picture of {manual} can be used: {report.as_dict()}")
        pictures = sum(len(person.paths) for person in known)
        self.expected_examples = {"train": pictures}
        assert self.info.metadata is not None
        self.info.metadata.update(
            read={
                "folders with pictures": len(people),
                "people left out on request": len(people) - len(kept),
                "people": len(known),
                "pictures": pictures,
            },
            skipped=report.as_dict(),
        )
        self.describe(action_units=(), people={"train": [person.name for person in known]})
        return {"train": self._generate_examples(known, report)}

    def _generate_examples(self, people: list[portraits.Person], report: FaultReport) -> Any:
        return self.records(portraits.make, people, report)

    def _known(self, people: list[portraits.Person], report: FaultReport) -> list[portraits.Person]:
        """People with a face in some picture, their ids contiguous; the rest is reported."""
        known: list[portraits.Person] = []
        for person, found in portraits.find_faces(people, self):
            for path, origin in zip(person.paths, found.origin, strict=True):
                if origin in _REASONS:
                    report.add(_REASONS[origin], portraits.short(path))
            rows = np.flatnonzero(found.origin == finder.FOUND)
            if len(rows):
                named = person._replace(identity=len(known))
                known.append(portraits.chosen(named, rows, found.landmarks[rows]))
            else:
                report.add("person without a picture that can be used", person.name)
        return known


def _excluded(path: pathlib.Path) -> set[str]:
    if not path.is_file():
        return set()
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return {line.strip() for line in lines if line.strip()}
