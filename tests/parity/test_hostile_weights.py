"""Files of PyTorch that would run code where they are unpickled, read with PyTorch itself."""

import importlib
import pickle

import pytest
from hostile import Mark

from piapdf_jax.models import weight_files
from piapdf_jax.models.weight_files import WeightsError

pytestmark = pytest.mark.parity


@pytest.fixture(name="torch", scope="module")
def fixture_torch():
    # Not at the top: tests that are not of parity are collected where there is no PyTorch.
    return importlib.import_module("torch")


@pytest.fixture
def mark(tmp_path):
    """A file that must not come to be."""
    path = tmp_path / "mark"
    yield path
    assert not path.exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("whole", [False, True])
def test_torch_weights_are_not_unpickled(torch, tmp_path, mark, protocol, whole):
    hostile = Mark(mark)
    torch.save(
        hostile if whole else {"w": torch.ones(2), "x": hostile},
        tmp_path / "w.pth",
        pickle_protocol=protocol,
    )
    with pytest.raises(WeightsError, match=r"w\.pth cannot be read"):
        weight_files.read_arrays(tmp_path / "w.pth")


def test_a_pickle_called_pth_is_not_unpickled(torch, tmp_path, mark):
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Mark(mark)))
    with pytest.raises(WeightsError, match=r"w\.pth cannot be read"):
        weight_files.read_arrays(tmp_path / "w.pth")
