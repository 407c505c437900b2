"""What disks do to a database file, done to real ones: nothing acknowledged is lost, nothing written twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch import sql
from flowwatch.errors import DamagedError, QueryError, StoreError, UnwritableError
from flowwatch.store import Store
from flowwatch.store_begin import begin
from tests.support.faults import flip, small_disk
from tests.test_store import START, WINDOW, fed

ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("FLOWWATCH_TEST_KILLS", "5"))
"""How often a writer is killed at a random moment; more by hand."""
MEMORY = 128_000_000


def asides(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if ".damaged-" in path.name)


def many(count: int, seed: int) -> dict[str, pa.Table]:
    """A drain of flows that do not compress, by the hundred."""
    flows = fed().drain(START)["append_flows"]
    dice = random.Random(seed)
    table = pa.concat_tables([flows] * (count // len(flows)))
    noise = dice.randbytes(32 * len(table)).hex()
    urls = pa.array([noise[at : at + 64] for at in range(0, len(noise), 64)])
    return {"append_flows": table.set_column(table.column_names.index("http_url"), "http_url", urls)}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A file with ten thousand flows, and its log with another three commits."""
    path = tmp_path_factory.mktemp("healthy") / "a.duckdb"
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from tests.test_store_faults import fed, many, START\n"
        "from flowwatch.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "store.commit(fed().drain(START)); store.commit(many(10_000, 1)); store.close()\n"
        "store = Store(sys.argv[1])\n"
        "for seed in range(3): store.commit(many(100, seed))\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path), str(ROOT)], check=True)
    return path.read_bytes(), Path(f"{path}.wal").read_bytes()


def lay(folder: Path, file: bytes, log: bytes | None = None) -> Path:
    path = folder / "a.duckdb"
    path.write_bytes(file)
    if log is not None:
        Path(f"{path}.wal").write_bytes(log)
    return path


# ── damage ───────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), flips=st.sampled_from([1, 1, 1, 8, 200]), early=st.booleans())
def test_whatever_bits_change_nothing_is_lost_and_work_goes_on(
    seed: int, flips: int, early: bool, healthy: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """At the start or when a query comes upon it: the damaged file is kept byte for byte, a new one takes rows."""
    folder = tmp_path_factory.mktemp("flips")
    changed = flip(healthy[0], random.Random(seed), flips, 3 * 4096 if early else None)
    path = lay(folder, changed)
    store, restored = begin(path, MEMORY)
    if not store.aside:
        try:
            for query in sql.queries("report").values():
                store.query(query, {name: WINDOW[name] for name in query.params})
        except QueryError:
            with pytest.raises(DamagedError):
                store.commit(many(100, 1))
            assert path.read_bytes() == changed
            store.set_aside()
        else:
            assert store.count_flows() == 10_005
    else:
        assert not restored.edges.num_rows
    if store.aside:
        assert Path(store.aside).read_bytes() == changed
    before = 0 if store.aside else 10_005
    assert store.commit(fed().drain(START)) == 5
    assert store.count_flows() == before + 5
    store.close()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_log_costs_no_more_than_the_log(
    seed: int, healthy: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The log is set aside; the file goes on as of its last checkpoint.
    A log that was cut is read as far as it goes."""
    folder = tmp_path_factory.mktemp("log")
    file, log = healthy
    changed = flip(log, random.Random(seed))
    path = lay(folder, file, changed)
    store, _ = begin(path, MEMORY)
    flows = store.count_flows()
    if store.aside:
        assert Path(store.aside).read_bytes() == changed
        assert store.aside.endswith(".wal")
        assert flows == 10_005
    else:
        assert flows in (10_005, 10_105, 10_205, 10_305)
    assert store.commit(many(100, 9)) == 100
    assert store.count_flows() == flows + 100
    store.close()


@pytest.mark.parametrize("what", ["truncated", "zeroed", "empty", "magic"])
def test_files_that_lost_their_shape_are_set_aside(what: str, healthy: tuple[bytes, bytes], tmp_path: Path) -> None:
    """A power failure may leave zeros, half a file, or nothing."""
    file = healthy[0]
    changed = {
        "truncated": file[: len(file) // 2],
        "zeroed": bytes(len(file)),
        "empty": b"",
        "magic": file[:8] + b"DOCK" + file[12:],
    }[what]
    path = lay(tmp_path, changed)
    with pytest.raises(DamagedError, match="damaged"):
        Store(path)
    store, restored = begin(path, MEMORY, clock=lambda: START)
    assert store.aside == f"{path}.damaged-20260528T202640Z"
    assert Path(store.aside).read_bytes() == changed
    assert restored.next_peer == 0
    store.close()


def test_two_damaged_files_of_one_second_have_two_names(tmp_path: Path) -> None:
    """Neither overwrites the other."""
    for content in (b"", bytes(12_288)):
        store, _ = begin(lay(tmp_path, content), MEMORY, clock=lambda: START)
        store.close()
    assert [path.name for path in asides(tmp_path)] == [
        "a.duckdb.damaged-20260528T202640Z",
        "a.duckdb.damaged-20260528T202640Z-2",
    ]
    assert [path.stat().st_size for path in asides(tmp_path)] == [0, 12_288]


def test_a_file_that_is_taken_away_is_begun_anew(tmp_path: Path) -> None:
    """Rows are not written where nobody will find them."""
    path = tmp_path / "a.duckdb"
    store = Store(path)
    store.commit(fed().drain(START))
    path.unlink()
    with pytest.raises(DamagedError, match="removed or replaced"):
        store.commit(many(100, 1))
    store.set_aside()
    assert store.commit(many(100, 1)) == 100
    store.close()
    reopened = Store(path)
    assert reopened.count_flows() == 100
    reopened.close()


# ── a disk that refuses ──────────────────────────────────────────────────────────────────────────

FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from flowwatch.errors import UnwritableError
from flowwatch.store import Store
from tests.test_store_faults import many
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
rows, refused = 0, 0
for number in range(40):
    drain = many(int(sys.argv[4]), number)
    while True:
        try:
            rows += store.commit(drain)
            break
        except UnwritableError:
            refused += 1
            # The second refusal of a drain is another code path than the first: by then it is opened anew.
            if refused % 3 == 0:
                limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0] + 3_000_000
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
assert store.count_flows() == rows, (store.count_flows(), rows)
store.close()
print(rows, refused)
"""


@pytest.mark.parametrize(("limit", "size"), [(600_000, 2_000), (300_000, 5_000), (18_000_000, 30_000)])
def test_a_full_disk_is_waited_for(tmp_path: Path, limit: int, size: int) -> None:
    """A drain the disk refuses, even when it is the checkpoint that fails, is written once when there is room."""
    path = tmp_path / "a.duckdb"
    program = [sys.executable, "-c", FULL, str(path), str(ROOT), str(limit), str(size)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows, refused = map(int, done.stdout.split())
    assert rows == 40 * size
    assert refused > 0
    store = Store(path)
    assert store.count_flows() == rows
    store.close()


def test_a_disk_that_turned_read_only(tmp_path: Path) -> None:
    """What is stored can be read and gone on from; commits are refused until the disk takes them."""
    with small_disk(tmp_path / "disk", 32) as disk:
        if disk is None:
            pytest.skip("needs to mount a file system")
        path = disk.path / "a.duckdb"
        store = Store(path)
        store.commit(fed().drain(START))
        store.close()
        disk.writable(False)
        store, restored = begin(path, MEMORY)
        assert "ead-only" in store.refusal
        assert restored.edges.num_rows > 0
        assert len(store.query(sql.report("edges"), WINDOW)) > 0
        drain = many(100, 1)
        with pytest.raises(UnwritableError):
            store.commit(drain)
        disk.writable(True)
        assert store.commit(drain) == 100
        assert not store.refusal
        assert store.count_flows() == 105
        store.close()


def test_a_directory_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    """Where there is no file yet, nothing is promised."""
    with small_disk(tmp_path / "disk", 8) as disk:
        if disk is None:
            pytest.skip("needs to mount a file system")
        disk.writable(False)
        with pytest.raises(StoreError, match="ead-only"):
            begin(disk.path / "a.duckdb", MEMORY)


# ── a process that dies ──────────────────────────────────────────────────────────────────────────

WRITE = """
import sys
sys.path.insert(0, sys.argv[2])
from flowwatch.store import Store
from tests.test_store_faults import many
store = Store(sys.argv[1])
drains = [many(size, size) for size in (100, 4_000, 20_000)]
print("ready", flush=True)
number = 0
while True:
    rows = store.commit(drains[number % 3])
    number += 1
    print(rows, flush=True)
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """After kill -9 exactly the acknowledged commits are there, and at most the one whose answer was not heard."""
    dice = random.Random(time.time_ns())
    path, acknowledged, commits = tmp_path / "a.duckdb", 0, 0
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE, str(path), str(ROOT)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == "ready\n"
            time.sleep(dice.random() * 0.6)
            os.kill(writer.pid, signal.SIGKILL)
            answers = [int(line) for line in writer.stdout.read().splitlines() if line]
        possible = [100, 4_000, 20_000][len(answers) % 3]
        store = Store(path)
        flows = store.count_flows()
        here = store.query(sql.queries("store")["read_progress"], {}).column(0)[0].as_py()
        store.close()
        acknowledged += sum(answers)
        commits += len(answers)
        assert (flows, here) in ((acknowledged, commits), (acknowledged + possible, commits + 1))
        acknowledged, commits = flows, here
