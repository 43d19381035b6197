"""Speed of the point statistics: n = 100 … 10⁵ calcifications, side by side with the plain way through all pairs.

    python benchmarks/points.py [--largest N] [--repeats N]

Prints the median of the repeats in milliseconds, and how each time grows: the exponent e of time ~ nᵉ over the last
decade, and over all of them. The density is 1 calcification per mm² at every n, so that the breast grows with n, and the radii stay;
`pattern figures` and `K` are also given in a breast of fixed area, where the pairs within a radius grow with n². The plain way stops at
2,000 points; at 10⁵ its table of distances alone would take 75 GiB. Objects: a mask of 13.6 megapixels with 500 calcifications.
"""
import argparse
import time

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from calcnb.measure.cluster_figures import spread_figures
from calcnb.measure.flock import flocks, typed
from calcnb.measure.flock_figures import flock_figures
from calcnb.measure.graphs import alpha_shape, graph_figures
from calcnb.measure.objects import label_objects, objects, shapes
from calcnb.measure.patterns import k_function, make_window, pattern_figures, random_points
from calcnb.measure.points import (average_minimal_distance, dense_clusters, describe_cluster, linked_clusters,
                                   minimum_spanning_tree, nearest_distance, neighbours_within)
from calcnb.measure.points import _plain_tree

PLAIN_UP_TO = 2000
OVAL = np.hypot(*np.meshgrid(np.linspace(0, 1, 300), np.linspace(-1, 1, 520))) < 1 # about 77 cm² at 0.25 mm


def plain_nearest(points):
    gaps = cdist(points, points)
    np.fill_diagonal(gaps, np.inf)
    return gaps.min(1)


def plain_neighbours(points, radius):
    return (cdist(points, points) <= radius).sum(1) - 1


def works(points):
    """name → (ours, the plain way or None); the density is 1 point per mm² at every n"""
    labels, n = linked_clusters(points, 0.6, 3), len(points)
    side = max(16, int(np.ceil(np.sqrt(n)/0.5)) + 1)
    window = make_window(np.ones((side, side), bool), 0.5, 3.5)
    fixed = make_window(OVAL, 0.25, 11)
    inside = random_points(fixed, n, 1)
    two = np.random.default_rng(2).normal(size=(n, 2))
    def flock():
        found, modes = flocks(points, two, 2.0, 1)
        return flock_figures(points, two, found, typed(modes, 1, 2))
    return {
        "nearest distance": (lambda: nearest_distance(points), lambda: plain_nearest(points)),
        "neighbours within 1 mm": (lambda: neighbours_within(points, 1), lambda: plain_neighbours(points, 1)),
        "shortest tree": (lambda: minimum_spanning_tree(points), lambda: _plain_tree(points)),
        "clusters, linked": (lambda: linked_clusters(points, 0.6, 3), None),
        "clusters, dense": (lambda: dense_clusters(points, 0.6, 3), None),
        "average minimal distances": (lambda: average_minimal_distance(points, labels), None),
        "size, shape and spacing of one cluster": (lambda: describe_cluster(points), None),
        "alpha shape": (lambda: alpha_shape(points, 1.0), None),
        "Voronoi, Delaunay, tree, neighbours (51)": (lambda: graph_figures(points), None),
        "everything of one cluster (spread, topology)": ((lambda: spread_figures(points)) if n <= 10_000 else None, None),
        "K at 40 radii to 3 mm": (lambda: k_function(points, window, np.linspace(0.075, 3, 40)), None),
        "K at 40 radii to 10 mm, breast of fixed area": (lambda: k_function(inside, fixed, np.linspace(0.25, 10, 40)), None),
        "pattern figures, fixed area (thinned from 500)": (lambda: pattern_figures(inside, fixed), None),
        "FLocK: mean shift, 5.6 mm, places": ((lambda: flocks(inside, None)) if n <= 10_000 else None, None),
        "FLocK: mean shift, 2 mm, 2 attributes": (lambda: flocks(points, two, 2.0, 1), None),
        "FLocK: mean shift and 353 figures": ((lambda: flock()) if n <= 10_000 else None, None),
    }


def median_ms(work, repeats):
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def main():
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--largest", type=int, default=100_000)
    given.add_argument("--repeats", type=int, default=5)
    given = given.parse_args()
    sizes = [n for n in (100, 1000, 10_000, 100_000) if n <= given.largest]
    rng, rows = np.random.default_rng(1), {}
    for n in sizes:
        points = rng.uniform(0, np.sqrt(n), (n, 2))
        for name, (ours, plain) in works(points).items():
            if ours is None: continue
            rows.setdefault(name, {})[n] = median_ms(ours, given.repeats)
            if plain is not None and n <= PLAIN_UP_TO:
                if name != "shortest tree":
                    assert np.allclose(ours(), plain()), f"{name}: the two ways differ"
                rows.setdefault(f"  … through all pairs ({name})", {})[n] = median_ms(plain, given.repeats)
    table = pd.DataFrame(rows).T.reindex(columns=sizes)
    grows = [np.log10(row.dropna().iloc[-1]/row.dropna().iloc[-2]) if row.notna().sum() > 1 else np.nan for _, row in table.iterrows()]
    whole = [np.log10(row.dropna().iloc[-1]/row.dropna().iloc[0])/(row.notna().sum() - 1) if row.notna().sum() > 1 else np.nan for _, row in table.iterrows()]
    table["growth"], table["over all"] = grows, whole
    print(f"milliseconds, median of {given.repeats}")
    print(table.to_string(float_format=lambda v: f"{v:.2f}", na_rep="–"))
    print(f"\nobjects of a mask of 13.6 megapixels with 500 calcifications, milliseconds, median of {given.repeats}")
    for name, work in object_works().items():
        print(f"{name:45s} {median_ms(work, given.repeats):8.1f}")


def object_works():
    """name → work; scikit-image's own table beside ours"""
    import cv2
    from skimage.measure import regionprops_table
    rng, mask = np.random.default_rng(4), np.zeros((4084, 3328), np.uint8)
    for x, y in rng.uniform(50, 3250, (500, 2)):
        cv2.ellipse(mask, (int(x), int(y)), tuple(map(int, rng.integers(1, 8, 2))), rng.uniform(0, 180), 0, 360, 255, -1)
    image = (mask.astype(np.uint16)*20 + rng.integers(900, 1100, mask.shape).astype(np.uint16))
    eight = ("label", "centroid", "area", "perimeter_crofton", "axis_major_length", "axis_minor_length", "eccentricity", "solidity", "orientation")
    return {"numbered": lambda: label_objects(mask), "numbered and shapes": lambda: shapes(label_objects(mask), 0.07),
            "scikit-image: the same shapes of the same labels": lambda: regionprops_table(label_objects(mask), properties=eight),
            "all columns, grey levels too": lambda: objects(mask, image, 0.07)}


if __name__ == "__main__":
    main()
