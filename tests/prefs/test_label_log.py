import errno
import os

import pytest

from sobirl.core import InvalidInputError
from sobirl.prefs.label_log import LabelLog

ENTRIES = [(0, 1.0), (12, None), (3, 0.125)]


@pytest.fixture
def path(tmp_path):
    log = LabelLog(tmp_path / "labels.jsonl", 0)
    for entry in ENTRIES:
        log.append(*entry)
    log.close()
    return tmp_path / "labels.jsonl"


def entries(path):
    log = LabelLog(path, 20)
    log.close()
    return log.entries


def test_labels_come_back(path):
    assert entries(path) == ENTRIES
    assert path.read_text().splitlines()[1] == '{"ticket": 12, "label": null}'


@pytest.mark.filterwarnings("ignore:.*a label was being written")
def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(path):
    content = path.read_bytes()
    begin = content[:-1].rindex(b"\n") + 1
    for end in range(begin, len(content) + 1):
        path.write_bytes(content[:end])
        whole = end >= len(content) - 1  # at most the line's end is missing
        log = LabelLog(path, 20)
        assert log.entries == (ENTRIES if whole else ENTRIES[:-1])
        log.append(5, 0.5)
        log.close()
        assert entries(path) == [*(ENTRIES if whole else ENTRIES[:-1]), (5, 0.5)]


def test_a_torn_line_is_reported(path):
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(UserWarning, match="a label was being written when the process ended"):
        entries(path)
    assert entries(path) == ENTRIES[:-1]


def test_zeros_for_the_rest_of_a_line(path):
    content = path.read_bytes()
    path.write_bytes(content + b'{"ticket": 4, "la' + bytes(10))
    with pytest.warns(UserWarning, match="a label was being written"):
        assert entries(path) == ENTRIES
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        (1, b'{"ticket": 0, "lab'),
        (1, b""),
        (2, b"\xff\xfe"),
        (2, b'{"ticket": 12}'),
        (2, b'{"ticket": 12, "label": 1.5}'),
        (2, b'{"ticket": 12, "label": NaN}'),
        (2, b'{"ticket": 12, "label": true}'),
        (2, b'{"ticket": 12.0, "label": 1.0}'),
        (2, b'{"ticket": 12, "label": 1.0, "why": 1}'),
        (3, b"[1, 2]"),
        (3, b'{"ticket": 3, "label": 0.1'),
    ],
)
def test_damage_elsewhere(path, line, damaged):
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = damaged
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InvalidInputError, match=rf"is damaged \(line {line} is no label\)"):
        entries(path)
    assert path.read_bytes() == b"\n".join(lines)


@pytest.mark.parametrize("tail", [b"some text", b'{"ticket": 1, ' + b" " * 200, b'{"ticket": 1}'])
def test_a_tail_that_is_no_torn_line(path, tail):
    path.write_bytes(path.read_bytes() + tail)
    with pytest.raises(InvalidInputError, match="line 4 is no label"):
        entries(path)


def test_labels_of_pairs_that_are_not_there(path):
    with pytest.raises(InvalidInputError, match="line 2 labels pair 12, but the store has 5 pairs"):
        LabelLog(path, 5)


def test_a_write_that_fails_leaves_the_file_as_it_was(path, monkeypatch):
    content, log = path.read_bytes(), LabelLog(path, 20)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            log.append(7, 1.0)
    assert path.read_bytes() == content
    assert log.entries == ENTRIES
    log.append(8, 0.0)
    log.close()
    assert entries(path) == [*ENTRIES, (8, 0.0)]
