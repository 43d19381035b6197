"""The virtual cohort is the same, byte for byte, on processors with other vector units and for any number of jobs."""
import os
import subprocess
import sys

MAKE = "import sys; from calcnb.phantom import make_cohort; make_cohort(sys.argv[1], 2, 5, 'tiny', jobs=int(sys.argv[2]))"
PLAIN = dict(NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL", OPENCV_CPU_DISABLE="AVX2,AVX512-SKX,FMA3")


def cohort(folder, jobs, **environment):
    """{path: bytes} of a tiny cohort drawn in a process of its own."""
    subprocess.run([sys.executable, "-c", MAKE, str(folder), str(jobs)], env={**os.environ, **environment}, check=True, capture_output=True)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_bytes_without_vector_units_and_with_two_jobs(tmp_path):
    here, there = cohort(tmp_path / "here", 1), cohort(tmp_path / "there", 2, **PLAIN)
    assert len(here) > 40
    assert sorted(here) == sorted(there)
    assert [name for name in here if here[name] != there[name]] == []
