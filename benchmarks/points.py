"""Speed of the point statistics: n = 100 … 10⁵ calcifications, side by side with the plain way through all pairs.

    python benchmarks/points.py [--largest N] [--repeats N]

Prints the median of the repeats in milliseconds, and how each time grows: the exponent e of time ~ nᵉ over the last
decade. The plain way stops at 2,000 points; at 10⁵ its table of distances alone would take 75 GiB.
"""
import argparse
import time

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from calcnb.measure.points import (average_minimal_distance, dense_clusters, describe_cluster, linked_clusters,
                                   minimum_spanning_tree, nearest_distance, neighbours_within)
from calcnb.measure.points import _plain_tree

PLAIN_UP_TO = 2000


def plain_nearest(points):
    gaps = cdist(points, points)
    np.fill_diagonal(gaps, np.inf)
    return gaps.min(1)


def plain_neighbours(points, radius):
    return (cdist(points, points) <= radius).sum(1) - 1


def works(points):
    """name → (ours, the plain way or None); the density is 1 point per mm² at every n"""
    labels = linked_clusters(points, 0.6, 3)
    return {
        "nearest distance": (lambda: nearest_distance(points), lambda: plain_nearest(points)),
        "neighbours within 1 mm": (lambda: neighbours_within(points, 1), lambda: plain_neighbours(points, 1)),
        "shortest tree": (lambda: minimum_spanning_tree(points), lambda: _plain_tree(points)),
        "clusters, linked": (lambda: linked_clusters(points, 0.6, 3), None),
        "clusters, dense": (lambda: dense_clusters(points, 0.6, 3), None),
        "average minimal distances": (lambda: average_minimal_distance(points, labels), None),
        "all figures of one cluster": (lambda: describe_cluster(points), None),
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
            rows.setdefault(name, {})[n] = median_ms(ours, given.repeats)
            if plain is not None and n <= PLAIN_UP_TO:
                if name != "shortest tree":
                    assert np.allclose(ours(), plain()), f"{name}: the two ways differ"
                rows.setdefault(f"  … through all pairs ({name})", {})[n] = median_ms(plain, given.repeats)
    table = pd.DataFrame(rows).T.reindex(columns=sizes)
    if len(sizes) > 1:
        table["growth"] = np.log10(table[sizes[-1]] / table[sizes[-2]])
    print(f"milliseconds, median of {given.repeats}")
    print(table.to_string(float_format=lambda v: f"{v:.2f}", na_rep="–"))


if __name__ == "__main__":
    main()
