"""Our scores beside other people's, on cases where the rules coincide, and where they part on purpose."""
import numpy as np
import pytest
from scipy import ndimage
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from calcnb.measure.froc import counts_at, froc, image_findings, region_findings
from calcnb.measure.overlap import hausdorff
from calcnb.measure.pixels import average_precision, auroc, conformal_threshold, score_histogram

SPACING = 0.07


@pytest.fixture
def monai():
    return pytest.importorskip("monai.metrics", reason="MONAI rests on torch, which is not in the lock: a second framework for one check")


def cases(rng, marks_each=1, images=6):
    """Images with up to nine square lesions apart from one another, `marks_each` marks on most of them and some in the open; scores are exact in float32."""
    for _ in range(images):
        truth, score = np.zeros((120, 120), int), np.zeros((120, 120))
        cells = rng.permutation([(r, c) for r in (5, 45, 85) for c in (5, 45, 85)])
        lesions = rng.integers(0, 7)
        for n, (r, c) in enumerate(cells):
            if n < lesions:
                truth[r:r + 9, c:c + 9] = n + 1
                for k in range(rng.integers(0, marks_each + 1)):
                    at = 3*k if marks_each > 1 else 3
                    score[r + at:r + at + 2, c + at:c + at + 2] = rng.integers(1, 1024)/1024
            elif rng.random() < 0.6:
                score[r + 20:r + 22, c + 20:c + 22] = rng.integers(1, 1024)/1024
        yield score, truth


def theirs(monai, study, **exclude):
    """MONAI's counts over a study: scores of false marks, of lesions (0 where missed), number of lesions."""
    false, hit, targets = [], [], 0
    for score, truth in study:
        marks, n = ndimage.label(score > 0, np.ones((3, 3)))
        at = np.round(np.array(ndimage.center_of_mass(marks > 0, marks, range(1, n + 1))).reshape(-1, 2))
        best = np.array([score[marks == k + 1].max() for k in range(n)])
        f, h, t = monai.froc.compute_fp_tp_probs(best, at[:, 0], at[:, 1], truth, **exclude)
        false.append(f)
        hit.append(h)
        targets += t
    return np.concatenate(false), np.concatenate(hit), targets


def same_curve(monai, ours, study):
    """Every point of MONAI's curve lies on ours; its curve leaves out the lowest of all scores."""
    false, hit, targets = theirs(monai, study)
    rates, sensitivities = monai.compute_froc_curve_data(false, hit, targets, len(study))
    thresholds = sorted({*false, *hit})[1:]
    assert len(thresholds) > 10
    counts = sum(counts_at(f, thresholds) for f in ours)
    np.testing.assert_allclose(counts[:, 0] / targets, sensitivities[:-1], atol=1e-12)
    np.testing.assert_allclose(counts[:, 1] / len(study), rates[:-1], atol=1e-12)
    assert (rates[-1], sensitivities[-1]) == (0, 0)
    curve = froc(ours, points=10_000).set_index("threshold")
    for t, sensitivity, rate in zip(thresholds, sensitivities, rates):
        if t in curve.index:
            assert (curve.sensitivity[t], curve.fp_per_image[t]) == pytest.approx((sensitivity, rate))


@pytest.mark.parametrize("seed", range(5))
def test_froc_of_one_mark_a_lesion(monai, seed):
    """Marks in the middle of lesions, one each: near by our rule, inside by MONAI's."""
    study = list(cases(np.random.default_rng(seed)))
    same_curve(monai, [image_findings(s, t, np.ones_like(t), SPACING, 1e-6) for s, t in study], study)


@pytest.mark.parametrize("seed", range(5))
def test_froc_of_regions(monai, seed):
    """Coarse outlines follow MONAI's rule: a mark's centroid inside, further marks there neither hit nor false."""
    study = list(cases(np.random.default_rng(seed), marks_each=3))
    same_curve(monai, [region_findings(s, t, np.ones_like(t), SPACING, 1e-6) for s, t in study], study)


def test_where_the_rules_part(monai):
    """Two marks on one calcification: MONAI forgets the second, we call it false, for a reader would see a mark too many."""
    truth, score = np.zeros((40, 40), int), np.zeros((40, 40))
    truth[10:19, 10:19] = 1
    score[14, 14], score[11, 11] = 0.75, 0.5
    false, hit, targets = theirs(monai, [(score, truth)])
    assert (len(false), hit.tolist(), targets) == (0, [0.75], 1)
    assert counts_at(image_findings(score, truth, truth == truth, SPACING, 0.1), [0.5]).tolist() == [[1, 1]]
    assert counts_at(region_findings(score, truth, truth == truth, SPACING, 0.1), [0.5]).tolist() == [[1, 0]]


def test_a_lesion_named_twice_counts_once(monai):
    """Before 1.6 MONAI took a lesion that was excluded twice, or not there, off the number of lesions each time (its #8951): sensitivity rose above 1."""
    truth, score = np.zeros((60, 60), int), np.zeros((60, 60))
    for n, at in enumerate((5, 20, 35, 50)):
        truth[at:at + 5, at:at + 5], score[at + 2, at + 2] = n + 1, 0.5 + n / 16
    false, hit, targets = theirs(monai, [(score, truth)], labels_to_exclude=[2, 2, 9])
    _, sensitivities = monai.compute_froc_curve_data(false, hit, targets, 1)
    kept = image_findings(np.where(truth == 2, 0, score), np.where(truth == 2, 0, truth), truth == truth, SPACING, 0.1)
    assert targets == kept["objects"] == 3
    assert sensitivities.max() <= 1 and sensitivities.max() == froc([kept]).sensitivity.max()


@pytest.mark.parametrize("percent", [95, 100])
def test_hausdorff_distance(monai, percent):
    import torch

    rng = np.random.default_rng(percent)
    for _ in range(5):
        a, b = (ndimage.gaussian_filter(rng.random((50, 70)), 3) > 0.51 for _ in range(2))
        each = [torch.from_numpy(m[None, None].astype(np.float32)) for m in (a, b)]
        expected = float(monai.compute_hausdorff_distance(*each, include_background=True, percentile=percent, spacing=SPACING))
        assert hausdorff(a, b, SPACING, percent) == pytest.approx(expected, rel=1e-5)


def test_conformal_threshold():
    """Padded to one width, calcifications become MAPIE's labels. It reads images of one size and whole maps, so it is no dependency."""
    control = pytest.importorskip("mapie.risk_control", reason="MAPIE is not in the lock: ten lines of ours do without copying each map for each threshold")
    rng, grid = np.random.default_rng(2), np.linspace(0, 0.98, 50)
    for _ in range(5):
        there = np.arange(12) < rng.integers(1, 13, 80)[:, None]
        rated = np.round(expit(rng.normal(rng.normal(1.5, 1, 80)[:, None], 1, (80, 12))), 3) + 5e-4  # never on the grid: MAPIE asks for more, we for no less
        losses = (there[..., None] & (rated[..., None] < grid)).sum(1) / there.sum(1)[:, None]
        model = control.MultiLabelClassificationController(lambda x: x, risk="recall", method="crc", target_level=0.85, predict_params=grid)
        model.calibrate(rated * there, there.astype(int))
        assert conformal_threshold(losses, grid, 0.15) == pytest.approx(float(np.ravel(model.best_predict_param)[0]))


def test_ranking_pooled_over_images():
    """One histogram over images of different sizes against scikit-learn on all their pixels inside the breast."""
    rng = np.random.default_rng(8)
    total, scores, truths = 0, [], []
    for rows in (200, 301, 577):
        truth = rng.random((rows, 300)) < 0.004
        score = expit(rng.normal(-6 + 4 * truth, 1.5)).astype(np.float32)
        breast = np.arange(300) < rng.integers(100, 300, (rows, 1))
        total = total + score_histogram(score, truth, breast)
        scores.append(score[breast])
        truths.append(truth[breast])
    score, truth = np.concatenate(scores), np.concatenate(truths)
    assert auroc(total) == pytest.approx(roc_auc_score(truth, score), abs=1e-4)
    assert average_precision(total) == pytest.approx(average_precision_score(truth, score), abs=2e-3)
