"""Folders of arrays: complete or absent, and one sentence for everything that is none."""

import json

import numpy as np
import pytest

from sobirl.core import InvalidInputError, array_folder
from sobirl.core.array_folder import read_folder, write_folder

ARRAYS = {
    "numbers": np.arange(24.0).reshape(2, 3, 4),
    "places": np.arange(5, dtype=np.int32),
    "names": np.array(["one", "three"]),
    "nothing": np.zeros((0, 3)),
}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "folder"
    write_folder(path, "kind", 2, ARRAYS, {"x": 0.1, "y": None})
    return path


def read(path, required=()):
    return read_folder(path, "kind", 2, required, tuple(ARRAYS))


def test_comes_back_as_it_was(folder):
    arrays, numbers = read(folder, required=ARRAYS)
    assert numbers == {"x": 0.1, "y": None}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(np.load(folder / f"{name}.npy"), array)


def test_is_mapped_into_memory_and_read_only(folder):
    arrays, _ = read(folder)
    assert isinstance(arrays["numbers"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        arrays["numbers"][0] = 1


def test_is_written_in_blocks(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(array_folder, "_BLOCK_BYTES", 100)
    columns_first = ARRAYS | {"numbers": np.asfortranarray(ARRAYS["numbers"])}
    write_folder(tmp_path / "again", "kind", 2, columns_first, {})
    content = [(path / "numbers.npy").read_bytes() for path in (folder, tmp_path / "again")]
    assert content[0] == content[1]


class Broken:
    """An array whose reading fails."""

    dtype, shape, ndim, size, nbytes = np.dtype(float), (2,), 1, 2, 16

    def __len__(self):
        return 2

    def __array__(self, *_, **__):
        raise KeyboardInterrupt


def test_a_write_that_is_stopped_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "new", "kind", 1, {"first": np.ones(3), "bad": Broken()}, {})
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_behind_is_overwritten(tmp_path):
    draft = tmp_path / ".folder.draft"
    draft.mkdir()
    (draft / "numbers.npy").write_bytes(b"half")
    write_folder(tmp_path / "folder", "kind", 2, ARRAYS, {})
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_nothing_is_overwritten(folder):
    with pytest.raises(InvalidInputError, match="folder: is there already; remove it, or give"):
        write_folder(folder, "kind", 2, ARRAYS, {})


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="folder: cannot be written"):
        write_folder(tmp_path / "file" / "folder", "kind", 2, ARRAYS, {})


def cut(name, size):
    def change(folder):
        file = folder / f"{name}.npy"
        content = file.read_bytes()
        file.write_bytes(content[:size] if size < len(content) else content + b"more")

    return change


def replace(name, array):
    return lambda folder: np.save(folder / f"{name}.npy", array, allow_pickle=False)


def claim_objects(folder):
    """A file whose header promises Python objects."""
    with (folder / "places.npy").open("wb") as file:
        described = {"descr": "|O", "fortran_order": False, "shape": (1,)}
        np.lib.format.write_array_header_1_0(file, described)
        file.write(b"objects")


def header(**changes):
    def change(folder):
        content = json.loads((folder / "header.json").read_text())
        (folder / "header.json").write_text(json.dumps(content | changes))

    return change


DESCRIBED = {"dtype": "<f8", "shape": [3]}
DAMAGE = {
    "cut short": (cut("numbers", 200), r"numbers.npy: is cut short: it has 200 bytes of 320"),
    "cut within its header": (cut("numbers", 70), "numbers.npy: is damaged or cut short"),
    "empty": (cut("numbers", 0), "numbers.npy: is damaged or cut short"),
    "too long": (cut("numbers", 10**6), "numbers.npy: is too long: it has 324 bytes of 320"),
    "another type": (
        replace("numbers", np.zeros((2, 3, 4), np.float32)),
        r"numbers.npy: is an array of <f4 \[2, 3, 4\], but header.json says <f8 \[2, 3, 4\]",
    ),
    "another shape": (
        replace("places", np.arange(6, dtype=np.int32)),
        r"of <i4 \[6\], but .*\[5\]",
    ),
    "columns first": (replace("numbers", np.asfortranarray(ARRAYS["numbers"])), "numbers.npy: is"),
    "objects": (claim_objects, "holds Python objects, never loaded here"),
    "an array missing": (lambda f: (f / "places.npy").unlink(), "places.npy: is missing"),
    "no header": (
        lambda f: (f / "header.json").unlink(),
        "is not a folder of arrays",
    ),
    "half a header": (
        lambda f: (f / "header.json").write_text('{"format": "kind", '),
        "header.json: is damaged, or no header that sobirl wrote",
    ),
    "a header of something else": (
        lambda f: (f / "header.json").write_text("[1, 2]"),
        "header.json: is damaged",
    ),
    "a header that is no text": (
        lambda f: (f / "header.json").write_bytes(b"\xff\xfe\x00"),
        "header.json: is damaged",
    ),
    "a newer version": (
        header(version=3),
        "is of version 3, written by a newer sobirl; this one reads up to version 2: update sobirl",
    ),
    "a version that is no number": (header(version="new"), "header.json: is damaged"),
    "another kind": (header(format="other"), "holds 'other', expected 'kind'"),
    "a path as a name": (header(arrays={"../numbers": DESCRIBED}), "header.json: is damaged"),
    "an unknown array": (
        header(arrays={"numbers": DESCRIBED, "other": DESCRIBED}),
        "holds an array 'other', which has no meaning here; known are numbers, places",
    ),
    "no arrays": (header(arrays={}), "there is no array numbers in it"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_one_sentence(folder, damage, message):
    damage(folder)
    with pytest.raises(InvalidInputError, match=message) as caught:
        read(folder, required=["numbers"])
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("text")
    for name, message in (("none", "there is no such folder"), ("file", "is not a folder")):
        with pytest.raises(InvalidInputError, match=f"{name}: {message}"):
            read(tmp_path / name)
