"""A table larger than memory streams, or is refused with advice before it is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bedside.errors import DataError
from bedside.intake.memory import available_bytes, refuse_too_large

READ = """
import resource, sys
from bedside.intake import Tables
from bedside.errors import BedsideError
import polars, pyarrow.csv, pyarrow.parquet  # loaded before the limit, so that the limit is the table's
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[2]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    columns = sys.argv[3].split(",") if len(sys.argv) > 3 else None
    print(Tables(columns=columns).read(sys.argv[1]))
except BedsideError as error:
    print(error)
"""


def test_the_limit_is_known_and_a_table_beyond_it_is_refused() -> None:
    assert 2**20 < available_bytes() < 2**60
    with pytest.raises(DataError, match=r"needs about 1073741824.0 GiB .* is free"):
        refuse_too_large("t.csv", 2**60, advice="draw a sample")


def test_a_ten_gigabyte_table_is_refused_in_four_at_once(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    rows = "".join(f"{i},{i * 0.5},{i % 7},some words of a note about patient {i}\n" for i in range(120_000))
    path.write_text("a,b,c,d\n" + rows)
    with path.open("r+b") as file:
        file.truncate(10 * 2**30)  # a sparse file: its end is never read
    answer = subprocess.run([sys.executable, "-c", READ, str(path), "4096"], capture_output=True, text=True, check=True)
    assert "huge.csv: the table needs about" in answer.stdout
    assert "name only the `columns` you need" in answer.stdout


@pytest.mark.slow
def test_a_table_larger_than_memory_streams_when_few_columns_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("w") as file:
        file.write("a,b,note\n")
        block = "".join(f"{i},{i % 7},{'words of a note ' * 60}{i}\n" for i in range(1000))
        for _ in range(1200):
            file.write(block)
    size = path.stat().st_size / 2**20
    assert size > 1100
    refused = subprocess.run([sys.executable, "-c", READ, str(path), "900"], capture_output=True, text=True, check=True)
    assert "the table needs about" in refused.stdout
    code = (
        "import re, sys; from pathlib import Path; from bedside.intake import Tables;"
        "print(Tables(columns=['a', 'b']).read(sys.argv[1]));"
        # Not ru_maxrss: a child inherits its parent's, and a test process may be larger than what is measured here.
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    read = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    cohort, kibibytes = read.stdout.splitlines()
    assert "1200000 rows" in cohort
    assert int(kibibytes) / 1024 < 700
