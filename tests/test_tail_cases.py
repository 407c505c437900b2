"""What can happen to a log, one case each: names, globs, places, and what is said when something is missing."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from flowwatch.receive import Closed, Opened, framing, segment
from flowwatch.receive.place import Mark, Place, PlaceError, Position
from flowwatch.receive.rotation import listing, logs, rotated
from flowwatch.receive.tail import TailReceiver
from tests.support.loglife import Reader, line


def write(path: Path, *numbers: int, mode: str = "ab") -> None:
    with path.open(mode) as file:
        file.write(b"".join(line(number) for number in numbers))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.log"


# ---- Names


@pytest.mark.parametrize(
    ("name", "was"),
    [
        ("events-2026-01-15T09-30-00.000.log", "events.log"),
        ("events-2026-01-15T09-30-00.000.log.gz", "events.log"),
        ("events.log.1", "events.log"),
        ("events.log.12.gz", "events.log"),
        ("events.log-20260115", "events.log"),
        ("events.log-20260115-1768469400.gz", "events.log"),
        ("events.1.log.zst", "events.log"),
        ("events.2026-01-15.log", "events.log"),
        ("events.log", None),
        ("events.log.gz", None),
        ("node-1.log", None),
        ("events.log.swp", None),
    ],
)
def test_names_of_rotated_files_say_which_log_they_were(name: str, was: str | None) -> None:
    """Lumberjack's and logrotate's, with and without compression; no other name is taken for one."""
    found = rotated(name)
    assert (found.log if found else None) == was


def test_rotated_files_are_listed_oldest_first(tmp_path: Path) -> None:
    """Numbers count backwards, times forwards; a file being compressed is listed once; others are not of this log."""
    names = ["events.log", "events.log.2", "events.log.10", "events.log.1", "events.log.1.gz", "other.log.1", "x"]
    for name in names:
        (tmp_path / name).touch()
    listed = [entry.path.name for entry in listing(tmp_path / "events.log")]
    assert listed == ["events.log.10", "events.log.2", "events.log.1", "events.log"]


def test_globs_stand_for_logs_not_for_their_rotated_files(tmp_path: Path) -> None:
    """A glob that matches everything gives one stream a log; a number is no rotation where there is no such log."""
    for name in ["a.log", "a.log.1", "b-2026-01-15T09-30-00.000.log", "c.1", "c.2"]:
        (tmp_path / name).touch()
    (tmp_path / "d.log").mkdir()
    found = logs([str(tmp_path / "missing.log"), f"{tmp_path}/*"])
    assert [path.name for path in found] == ["missing.log", "a.log", "b.log", "c.1", "c.2"]


# ---- Places


def test_a_position_is_read_as_it_was_written() -> None:
    """The text is all that is kept of it."""
    place = Place(1, 2, Mark.of(b"abc"), Mark.of(b"c"), 3, 1)
    position = Position(1_790_000_000.125, (place, place))
    assert Position.parse(position.text()) == position


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", "{}", "null", '{"v":2}', '{"v":1,"at":0}', '{"v":1,"at":"x","files":[]}', "[" * 99_999),
        *('{"v":1,"at":0,"files":[[1,2,0,"",0,"",0,0]]}', '{"v":1,"at":0,"files":[[1,2,3,"a",3,"b",-1,0]]}'),
    ],
)
def test_a_position_that_is_none_is_said_to_be_none(text: str) -> None:
    """Whatever was stored, by whichever version, costs no more than the place."""
    with pytest.raises(PlaceError, match="stored position"):
        Position.parse(text)


def test_a_restart_goes_on_at_the_byte(log: Path) -> None:
    """And says that nothing was missed, since when."""
    write(log, 1, 2)
    reader = Reader(str(log))
    reader.step()
    reader.end()
    write(log, 3)
    reader.step()
    assert reader.stored == [1, 2, 3]
    assert reader.notices == [
        Opened(1_790_000_001.0, None),
        Opened(1_790_000_002.0, 1_790_000_001.0, seamless=True),
    ]


def test_a_restart_finds_the_file_after_rotation_and_compression(tmp_path: Path, log: Path) -> None:
    """By what it holds: the inode is another one, and the old one may be somebody else's."""
    write(log, 1, 2)
    reader = Reader(str(log))
    reader.step()
    reader.end()
    write(log, 3)
    (tmp_path / "events.log.2.gz").write_bytes(gzip.compress(log.read_bytes()))
    write(log, 4, mode="wb")  # the same inode
    log.rename(tmp_path / "events.log.1")
    write(log, 5)
    reader.step()
    assert reader.stored == [1, 2, 3, 4, 5]
    assert reader.found_again == [False, True]


def test_an_inode_that_was_given_out_again_fools_nobody(log: Path) -> None:
    """The file that was read is gone; another has its inode, its name, and more bytes than were read."""
    write(log, 1)
    reader = Reader(str(log))
    reader.step()
    reader.end()
    write(log, 2, 3, 4, mode="wb")
    reader.step()
    assert reader.stored == [1, 2, 3, 4]
    assert reader.found_again == [False, False]


def test_a_place_that_is_gone_is_said_to_be_gone(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the file and the reason, and reading begins with the oldest file there is."""
    reader = Reader(str(log))
    reader.positions[str(log)] = "from another version"
    write(log.with_name("events.log.1"), 1)
    write(log, 2)
    reader.step()
    assert reader.stored == [1, 2]
    assert reader.notices == [Opened(1_790_000_001.0, None)]
    assert f"{log}: the stored position cannot be read" in caplog.text
    assert "reading from the oldest file there is" in caplog.text


def test_nothing_is_concluded_before_there_is_a_file(log: Path) -> None:
    """A volume that is mounted late does not cost the place."""
    write(log, 1)
    reader = Reader(str(log))
    reader.step()
    reader.end()
    log.rename(log.with_name("elsewhere"))
    reader.step()
    log.with_name("elsewhere").rename(log)
    write(log, 2)
    reader.step()
    assert reader.stored == [1, 2]
    assert reader.found_again == [False, True]


# ---- Lines


def test_a_partial_line_is_waited_for(log: Path) -> None:
    """It is neither read nor broken until its end comes, in this process or the next."""
    reader = Reader(str(log))
    data = line(1) + line(2)
    for end in range(1, len(data) + 1):
        with log.open("ab") as file:
            file.write(data[end - 1 : end])
        reader.step()
        if end % 10 == 0:
            reader.end()
        whole = [number for number, size in ((1, len(line(1))), (2, len(data))) if end >= size]
        assert reader.stored == whole
    assert reader.broken == []


def test_broken_lines_are_told_by_file_and_line_across_restarts(log: Path) -> None:
    """Numbered as an editor does; a line without an end is broken only when nothing can be added to it any more."""
    log.write_bytes(line(1) + b"\n{oops\n")
    reader = Reader(str(log))
    reader.step()
    reader.end()
    with log.open("ab") as file:
        file.write(line(2) + b'\xff\n{"half":')
    reader.step()
    assert [(path, number) for path, number, _ in reader.broken] == [(str(log), 3), (str(log), 5)]
    log.rename(log.with_name("events.log.1"))
    write(log, 3)
    reader.step()
    assert len(reader.broken) == 2
    log.with_name("events.log.1").unlink()
    reader.step()
    assert reader.stored == [1, 2, 3]
    assert [number for _, number, _ in reader.broken] == [3, 5, 6]


def test_a_line_that_is_too_long_is_told_and_passed(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never held in memory as a whole, and the next one is read."""
    monkeypatch.setattr(framing, "LONGEST", 500)
    monkeypatch.setattr(segment, "CHUNK", 100)
    log.write_bytes(line(1) + b"x" * 2_000 + b"\n" + line(2))
    reader = Reader(str(log))
    reader.step()
    assert reader.stored == [1, 2]
    assert reader.broken == [(str(log), 2, "a line of 2,000 bytes; longer than 500 is not read")]


def test_a_damaged_archive_costs_what_is_damaged(log: Path) -> None:
    """What can be unpacked is read; the rest is told with the file."""
    packed = gzip.compress(b"".join(line(number) for number in range(1, 200)), mtime=0)
    archive = log.with_name("events.log.1.gz")
    archive.write_bytes(packed[: len(packed) // 2])
    write(log, 200)
    reader = Reader(str(log))
    reader.step()
    assert reader.stored[0] == 1
    assert reader.stored[-1] == 200
    assert reader.stored[:-1] == list(range(1, len(reader.stored)))
    ((path, _, why),) = reader.broken
    assert (path, "gzip data ends in the middle" in why) == (str(archive), True)


# ---- What is said


def test_a_truncated_file_is_said_to_be_truncated(log: Path) -> None:
    """Nobody knows what it held since it was looked at last; what follows is read from the first byte."""
    write(log, 1, 2)
    with log.open("ab") as file:
        file.write(b'{"flow":')
    reader = Reader(str(log))
    reader.step()
    write(log, 3, mode="wb")
    reader.step()
    reader.step()
    assert reader.stored == [1, 2, 3]
    assert isinstance(reader.notices[1], Closed)
    assert reader.notices[1].alive <= reader.notices[1].at
    read = len(line(1) + line(2)) + 8
    assert reader.interruptions == [
        f"{log} was truncated in the middle of line 3 after {read} bytes were read; what else it held is lost"
    ]
    assert [number for _, number, _ in reader.broken] == [3]


def test_a_log_that_went_away_is_closed_and_opened_again(log: Path) -> None:
    """After patience, not before; a quiet one stays open for ever."""
    write(log, 1)
    reader = Reader(str(log))
    reader.step()
    reader.now += 10_000
    reader.step()
    assert len(reader.notices) == 1
    log.unlink()
    reader.step()
    assert len(reader.notices) == 1
    gone_at = reader.now
    reader.now += 61
    reader.step()
    assert isinstance(reader.notices[-1], Closed)
    assert (reader.notices[-1].alive, reader.notices[-1].at) == (gone_at - 1, reader.now)
    write(log, 2)
    reader.step()
    assert reader.notices[-1] == Opened(reader.now, None)
    assert reader.stored == [1, 2]


def test_files_that_came_and_went_unseen_are_said_to_be_possible(log: Path) -> None:
    """Reading stood still for longer than a rotation takes, and the file that was being read is deleted."""
    write(log, 1)
    reader = Reader(str(log))
    reader.step()
    write(log, 2)
    log.unlink()
    write(log, 3)
    reader.now += 60
    reader.step()
    assert reader.stored == [1, 2, 3]
    assert reader.interruptions == [
        f"{log} was deleted before it was read to its end; files after it may be gone as well"
    ]


def test_a_file_that_cannot_be_read_is_told_and_tried_again(log: Path) -> None:
    """A directory in its place is no reason to end."""
    log.mkdir()
    receiver = TailReceiver([str(log)], cluster="c", interval=0.0)
    batches = receiver.batches()
    assert next(batches).messages == []
    assert receiver.status.state == "waiting"
    assert receiver.status.error == f"{log}: is not a regular file"
    log.rmdir()
    write(log, 1)
    assert len(next(batch for batch in batches if batch.messages).messages) == 1
    assert (receiver.status.state, receiver.status.error) == ("streaming", "")
    batches.close()  # type: ignore[attr-defined]


# ---- Several logs


def test_each_log_is_a_stream_with_its_own_position(tmp_path: Path) -> None:
    """Globs find logs that come later; one that went away is followed no longer, and counted all the same."""
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    write(one, 1)
    reader = Reader(f"{tmp_path}/*.log", str(two))
    reader.step()
    write(two, 2)
    reader.step()
    reader.end()
    write(one, 3)
    write(two, 4)
    reader.step()
    assert sorted(reader.stored) == [1, 2, 3, 4]
    assert set(reader.positions) == {str(one), str(two)}


def test_batches_are_yielded_in_turns_and_name_stream_and_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long backlog of one log does not keep the others waiting."""
    monkeypatch.setattr(segment, "CHUNK", 200)
    for name in ("one.log", "two.log"):
        write(tmp_path / name, *range(20))
    receiver = TailReceiver([f"{tmp_path}/*.log"], cluster="c", interval=0.0)
    sources = [Path(batch.source).name for batch, _ in zip(receiver.batches(), range(6), strict=False)]
    assert sources == ["one.log", "two.log"] * 3
    assert receiver.status.messages == sum(status.messages for status in receiver.statuses.values()) > 0


def test_stop_ends_it_and_a_quiet_log_yields_empty_batches(log: Path) -> None:
    """The daemon's ingest thread acts on time only if it hears of quiet."""
    write(log, 1)
    receiver = TailReceiver([str(log)], cluster="c")
    batches = receiver.batches()
    first, second = next(batches), next(batches)
    assert (len(first.messages), second.messages, second.source, second.notices) == (1, [], "", ())
    receiver.stop()
    assert list(batches) == []
    assert receiver.status.state == "ended"


def test_lines_that_are_all_alike_are_counted_right(tmp_path: Path, log: Path) -> None:
    """An export that masks time and uuid writes files whose first bytes are the same."""
    same = b'{"flow":{"uuid":"7","verdict":"DROPPED"}}\n'
    reader = Reader(str(log))
    for _ in range(4):
        for _ in range(3):
            with log.open("ab") as file:
                file.write(same * 40)
            reader.step()
        log.rename(tmp_path / f"events-2026-01-15T09-30-{len(list(tmp_path.iterdir())):02d}.000.log")
        log.touch()
        reader.end()
    reader.step()
    assert len(reader.stored) == 4 * 3 * 40
