"""The cost table of the PI generator."""

import pytest

from benchmarks.unet import rows, unet_cost
from piapdf_jax.models.dw_unet import DWUNet, UNet


def test_cost_beside_the_plain_network():
    """At most 15% of the parameters and 18% of the multiply-adds, at the paper's size."""
    (params, adds), (plain_params, plain_adds) = (unet_cost(net) for net in (DWUNet, UNet))
    assert 1 / 9 < params / plain_params <= 0.15
    assert 1 / 9 < adds / plain_adds <= 0.18


def test_every_3x3_layer_costs_what_the_theory_says():
    found = rows()
    assert len(found) == 5 * 2 + 4 * 2
    for name, separable, full, theory in found:
        assert separable / full == pytest.approx(theory), name
