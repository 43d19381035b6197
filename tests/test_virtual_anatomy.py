"""The same seed gives the same pixels, whatever vector instructions the processor has."""
import os, subprocess, sys
import pytest

SCRIPT = """
import hashlib, numpy as np
from calcnb.virtual.anatomy import draw_breast, expose, add_distractors, add_digital_marks, add_film_marks
for film, marks in ((False, add_digital_marks), (True, add_film_marks)):
    for view in ("CC", "MLO"):
        rng = np.random.Generator(np.random.PCG64(7))
        a = draw_breast(rng, view, 3, (640, 512), film=film)
        add_distractors(a.image, a, rng)
        print(hashlib.sha256(marks(expose(a.image, a, rng), a, rng).tobytes()).hexdigest())
"""
OLDER = "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"

def drawn(**environment):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()

@pytest.fixture(scope="module")
def plain(): return drawn()

def test_images_differ(plain): assert len(set(plain)) == 4

def test_same_again(plain): assert drawn() == plain

def test_without_newer_numpy_instructions(plain): assert drawn(NPY_DISABLE_CPU_FEATURES=OLDER) == plain

def test_with_older_libm(plain): assert drawn(GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F") == plain

def test_one_thread(plain): assert drawn(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1") == plain
