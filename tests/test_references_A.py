"""Overlaps of FLocK polygons against shapely, where it is installed (it is no requirement of calcnb)."""
import numpy as np
import pytest

from calcnb.measure.flock import flock_polygons
from calcnb.measure.flock_figures import overlaps

shapely = pytest.importorskip("shapely")


def test_overlaps_are_those_of_shapely():
    rng = np.random.default_rng(5)
    clouds = [rng.normal(rng.uniform(0, 20, 2) + [200, 100], rng.uniform(0.2, 3), (rng.integers(3, 14), 2)) for _ in range(120)]
    clouds = [np.round(c) if n % 3 == 0 else c for n, c in enumerate(clouds)]          # on a lattice: shared corners and sides
    corners = flock_polygons(np.vstack(clouds), np.repeat(range(120), [len(c) for c in clouds]))
    shapes = [shapely.Polygon(c) if len(c) > 2 else shapely.Polygon() for c in corners]
    pairs, area, centre = overlaps(corners)
    found = {tuple(p): (a, c) for p, a, c in zip(pairs, area, centre)}
    for i in range(120):
        for j in range(i + 1, 120):
            both = shapes[i].intersection(shapes[j])
            if (i, j) not in found: assert both.area <= 1e-8*max(1, min(shapes[i].area, shapes[j].area))
            else:
                assert found[i, j][0] == pytest.approx(both.area, abs=1e-9)
                if both.area > 1e-3: assert found[i, j][1] == pytest.approx(both.centroid.coords[0], abs=1e-9)
