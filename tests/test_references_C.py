"""DeLong's test and interval beside other people's, on scores with and without ties."""
import numpy as np
import pytest

from calcnb.measure.roc import auc_interval, delong_test


def study(seed, ties):
    rng = np.random.default_rng(seed)
    truth = np.r_[0, 0, 1, 1, rng.integers(0, 2, 90)]
    first = truth + rng.normal(size=len(truth))
    second = 0.5*first + rng.normal(size=len(truth))
    return (truth, *(np.round(s, 1) if ties else s for s in (first, second)))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_mlstatkit(seed, ties):
    theirs = pytest.importorskip("MLstatkit", reason="one check; not in the lock")
    truth, first, second = study(seed, ties)
    z, p, ci_first, _, auc_first, auc_second, _ = theirs.Delong_test(truth, first, second)
    ours, interval = delong_test(truth, first, second), auc_interval(truth, first, form="plain")
    np.testing.assert_allclose([ours["auc_first"], ours["auc_second"], -ours["z"], ours["p"]], [auc_first, auc_second, z, p], rtol=1e-9)
    np.testing.assert_allclose([interval["low"], interval["high"]], ci_first, rtol=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_confidenceinterval(ties):
    theirs = pytest.importorskip("confidenceinterval", reason="one check; not in the lock")
    truth, first, _ = study(7, ties)
    auc, (low, high) = theirs.roc_auc_score(truth, first, confidence_level=0.95)
    ours = auc_interval(truth, first, form="plain")  # as theirs
    np.testing.assert_allclose([ours["auc"], ours["low"], ours["high"]], [auc, low, high], rtol=1e-6)
