"""Cases that ``make nightly`` runs and ``make test`` leaves out: the same test, of settings like those that stay."""

import pytest


def nightly(*cases):
    """Returns cases of ``pytest.mark.parametrize``, each a value or a tuple of values, that are run at night."""
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*row, marks=pytest.mark.nightly) for row in rows]
