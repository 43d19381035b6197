"""Spatial figures against astropy and pointpats, which are no dependency of the project: skipped where they are not installed.

    uv pip install astropy pointpats    # in an environment beside the project's own
"""
import numpy as np
import pytest

from calcnb.measure.graphs import alpha_shape, voronoi_cells, polygon_figures
from calcnb.measure.patterns import k_function, make_window, nearest_function, random_points

RADII = np.arange(1, 41)*0.25
SPACING = 0.5


@pytest.fixture(scope="module")
def page():
    "A rectangle of 60 × 80 mm whose lower left corner is the origin of the references"
    return make_window(np.ones((120, 160)), SPACING, cell_mm=None)


@pytest.mark.parametrize("number", [4, 50, 400])
def test_k_with_translation_is_astropys_on_a_rectangle(page, number):
    stats = pytest.importorskip("astropy.stats")
    points = random_points(page, number, seed=number)
    theirs = stats.RipleysKEstimator(area=60*80, x_max=80, y_max=60, x_min=0, y_min=0)(points + SPACING/2, RADII, mode="translation")
    np.testing.assert_allclose(k_function(points, page, RADII, correction="translation"), theirs, rtol=1e-9)


@pytest.mark.parametrize("number", [4, 50, 400])
def test_k_without_correction_is_pointpats_and_astropys(page, number):
    pointpats, stats = pytest.importorskip("pointpats"), pytest.importorskip("astropy.stats")
    points = random_points(page, number, seed=number)
    ours = k_function(points, page, RADII, correction="none")
    np.testing.assert_allclose(ours, stats.RipleysKEstimator(area=60*80)(points, RADII, mode="none"), rtol=1e-9)
    theirs = pointpats.k(points, support=RADII)[1]*number/(number - 1)           # theirs divides by n²
    np.testing.assert_allclose(ours, theirs*60*80/np.ptp(points, axis=0).prod(), rtol=1e-9)  # and takes the box round the points for the region


def test_g_far_from_the_border_is_pointpats(page):
    pointpats = pytest.importorskip("pointpats")
    points = random_points(page, 60, seed=1)*0.5 + [20, 15]
    theirs = pointpats.g(points, support=np.append(0, RADII))[1][1:]
    np.testing.assert_allclose(nearest_function(points, page, RADII), theirs, atol=1e-12)


def test_alpha_shape_and_voronoi_areas_are_those_of_libpysal_and_shapely():
    libpysal, shapely = pytest.importorskip("libpysal.cg.alpha_shapes"), pytest.importorskip("shapely")
    points = np.random.default_rng(3).normal(0, 5, (120, 2))
    theirs = libpysal.alpha_shape(points, 1/2.5)
    assert alpha_shape(points, 2.5)[1]["area_mm2"] == pytest.approx(float(theirs.area.sum()), rel=1e-9)
    hull = shapely.MultiPoint(points).convex_hull
    cells = shapely.voronoi_polygons(shapely.MultiPoint(points), extend_to=hull.buffer(500)).geoms
    np.testing.assert_allclose(np.sort(polygon_figures(voronoi_cells(points))[:, 0]), np.sort([c.intersection(hull).area for c in cells]), rtol=1e-6, atol=1e-9)
