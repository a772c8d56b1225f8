"""Small synthetic data sets, built once a test run by their own builders."""

import dataclasses
import fcntl
import os
import pathlib

import pytest

PEOPLE = {"bp4d": 2, "disfa": 1, "afew_va": 4, "webface": 4, "lfw": 12}


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A data directory with every synthetic data set, a few people each."""
    import tensorflow_datasets as tfds

    from data_builders.synthetic_faces import synthetic_faces_dataset_builder as faces

    shared = tmp_path_factory.getbasetemp()
    folder = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "small_data"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for config in faces.Builder.BUILDER_CONFIGS:
            if (
                config.name in PEOPLE
                and not (folder / "synthetic_faces" / f"small_{config.name}").exists()
            ):
                small = dataclasses.replace(
                    config,
                    name=f"small_{config.name}",
                    kind=config.name,
                    people=PEOPLE[config.name],
                )
                builder = faces.Builder(config=small, data_dir=str(folder))
                builder.workers = 1
                tfds.disable_progress_bar()
                builder.download_and_prepare(file_format="array_record")
    return folder
