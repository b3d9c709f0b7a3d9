"""Images and arrays of one's own: every kind of pixel, and what is refused."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secure_fl import data
from secure_fl.data import pixels
from secure_fl.data.pixels import read_image
from secure_fl.data.prepared import keep
from secure_fl.data.sets import npz
from secure_fl.errors import InputError

GREY = np.array([[0, 64], [128, 255]], np.uint8).repeat(4, 0).repeat(4, 1)
COLOUR = np.stack([GREY, GREY.T, 255 - GREY], axis=-1)


def stored(path: Path, values: np.ndarray, **how: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values).save(path, **how)
    return path


def test_shades_are_kept_whatever_the_kind(tmp_path: Path) -> None:
    """Grey of 8 and of 16 bits, colour, palette, bits, and several sizes: averages of pixels."""
    half = np.array([[0, 64], [128, 255]])  # each the mean of a block
    assert (read_image(stored(tmp_path / "a.png", GREY), 2) == half).all()
    wide = GREY.astype(np.uint16) * 257
    assert (read_image(stored(tmp_path / "b.png", wide), 2) == half).all()
    assert (read_image(stored(tmp_path / "c.png", COLOUR), 2)[..., 1] == half.T).all()
    assert read_image(tmp_path / "c.png", 2, grey=True).shape == (2, 2)
    stretched = stored(tmp_path / "d.png", GREY[:, :4])
    assert (read_image(stretched, 2) == half[:, :1]).all()
    larger = stored(tmp_path / "e.png", GREY[::4, ::4])
    assert (read_image(larger, 4) == half.repeat(2, 0).repeat(2, 1)).all()
    Image.fromarray(COLOUR).quantize(8).save(tmp_path / "f.png")
    assert np.abs(read_image(tmp_path / "f.png", 2) - COLOUR[::4, ::4].astype(int)).max() < 8
    Image.fromarray(GREY > 100).save(tmp_path / "g.png")
    assert (read_image(tmp_path / "g.png", 2) == 255 * (half > 100)).all()
    jpeg = read_image(stored(tmp_path / "h.jpg", GREY, quality=100), 2).astype(int)
    assert np.abs(jpeg - half).max() <= 2


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    alpha = np.where(GREY > 100, 255, 0).astype(np.uint8)
    want = np.where(GREY > 100, GREY, 0)[::4, ::4]
    both = np.stack([GREY, alpha], axis=-1)
    assert (read_image(stored(tmp_path / "a.png", both), 2) == want).all()
    four = np.dstack([COLOUR, alpha])
    assert (read_image(stored(tmp_path / "b.png", four), 2)[..., 0] == want).all()
    half = np.stack([np.full_like(GREY, 200), np.full_like(GREY, 128)], axis=-1)
    assert (read_image(stored(tmp_path / "c.png", half), 1) == 100).all()


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    turned = Image.fromarray(GREY)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    turned.save(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png", 2) == np.rot90(GREY, -1)[::4, ::4]).all()


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes that unfold to any number of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("size", [(9000, 9000), (10**6, 10**6)])
def test_a_bomb_is_refused_before_it_unfolds(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_that_claims(*size))
    with pytest.raises(InputError, match=r"a\.png (must have at most 67,108,864 pixels|cannot be)"):
        read_image(tmp_path / "a.png", 8)


def test_damaged_and_other_files_are_refused(tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.png", COLOUR).read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:-30])
    Image.fromarray(GREY).save(tmp_path / "c.png", format="TIFF")
    (tmp_path / "d.png").write_bytes(b"")
    for name in "bcd":
        with pytest.raises(InputError, match=rf"image .*{name}\.png cannot be read"):
            read_image(tmp_path / f"{name}.png", 4)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 40):  # never anything but an image or a refusal
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        (tmp_path / "e.png").write_bytes(damaged)
        with suppress(InputError):
            assert read_image(tmp_path / "e.png", 4).dtype == np.uint8


def test_a_folder_of_classes(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for name, values in (("ill/p1_a.png", GREY), ("ill/p2_a.JPG", COLOUR), ("well/p1_b.png", GREY)):
        stored(folder / name, values)
    (folder / ".DS_Store").write_bytes(b"x")
    ds = data.load("images", folder, side=2, patient="_")
    assert ds.x.shape == (3, 3, 2, 2)  # one is in colour, so all are
    assert (ds.x[0] == np.float32(GREY[::4, ::4] / np.float32(255))).all()
    assert (ds.class_names, ds.y.tolist()) == (("ill", "well"), [0, 0, 1])
    assert ds.group.tolist() == [0, 1, 0]
    assert data.load("images", folder).group.tolist() == [0, 1, 2]
    keep(ds, tmp_path / "kept.npz")
    again = data.load("images", tmp_path / "kept.npz", side=2)
    assert (again.x == ds.x).all()
    with pytest.raises(InputError, match=r"data\.side must be that of kept\.npz; got \(2, 2\)"):
        data.load("images", tmp_path / "kept.npz", side=3)
    with pytest.raises(
        InputError, match=r"data\.patient must be in the name of each .*'p1_a\.png'"
    ):
        data.load("images", folder, patient="-")
    with pytest.raises(InputError, match=r"data\.side must be from 1 to 1024; got 0"):
        data.load("images", folder, side=0)
    (folder / "ill" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"ill must hold images .* alone; got 'notes\.txt'"):
        data.load("images", folder)
    (folder / "ill" / "notes.txt").rename(folder / "notes.txt")
    with pytest.raises(InputError, match=r"one folder a class; got the file 'notes\.txt'"):
        data.load("images", folder)
    (folder / "notes.txt").unlink()
    (folder / "zero").mkdir()
    with pytest.raises(InputError, match="zero must hold images; got none"):
        data.load("images", folder)
    with pytest.raises(InputError, match=r"data\.path must be a folder with one folder a class"):
        data.load("images")
    assert pixels.MAX_PIXELS == 67_108_864


# --- arrays


def saved(path: Path, **arrays: object) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_arrays_of_numbers_and_of_images(tmp_path: Path) -> None:
    x = np.array([[0.5, np.nan], [1e6, 2.0], [3.0, 4.0]])
    path = saved(tmp_path / "a.npz", x=x, y=["b", "a", "b"], who=[7, 7, 9], ward=["u", "v", "u"])
    ds = data.load("npz", path, patient="who", site="ward")
    np.testing.assert_array_equal(ds.x, x.astype(np.float32))
    assert (ds.kind, ds.class_names, ds.y.tolist()) == ("tabular", ("a", "b"), [1, 0, 1])
    assert (ds.group.tolist(), ds.site.tolist(), ds.site_names) == (
        [0, 0, 1],
        [0, 1, 0],
        ("u", "v"),
    )
    images = np.stack([GREY, 255 - GREY])
    for given, shape in (
        (images, (2, 1, 8, 8)),
        (images[..., None].repeat(3, 3), (2, 3, 8, 8)),
        (images[:, None], (2, 1, 8, 8)),
        (images.astype(np.uint16) * 257, (2, 1, 8, 8)),
        (images / 255, (2, 1, 8, 8)),
    ):
        ds = data.load("npz", saved(tmp_path / "b.npz", x=given, y=[[0], [1]]))
        assert (ds.kind, ds.x.shape) == ("image", shape)
        np.testing.assert_allclose(ds.x[:, 0], images / 255, atol=1e-6)


def test_medmnist_is_read_by_its_layout(tmp_path: Path) -> None:
    """Three splits joined in order; labels (rows, 1), uint8, as the published files have them."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, rows in (("train", 5), ("val", 2), ("test", 3)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (rows, 28, 28, 3), np.uint8)
        arrays[f"{split}_labels"] = np.arange(rows, dtype=np.uint8)[:, None] % 3
    ds = data.load("npz", saved(tmp_path / "pathmnist.npz", **arrays))
    assert ds.x.shape == (10, 3, 28, 28)
    assert ds.y.tolist() == [0, 1, 2, 0, 1, 0, 1, 0, 1, 2]
    want = np.moveaxis(arrays["test_images"][1], -1, 0) / np.float32(255)
    np.testing.assert_array_equal(ds.x[8], want.astype(np.float32))
    arrays["train_labels"] = np.zeros((5, 14), np.uint8)
    arrays["val_labels"], arrays["test_labels"] = arrays["train_labels"][:2], np.zeros((3, 14))
    with pytest.raises(InputError, match="y must have one label a row; got 14"):
        data.load("npz", saved(tmp_path / "chestmnist.npz", **arrays))


class Executed:
    """Shows by a file that something unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


ONE, TWO = np.array([0, 1]), np.zeros((2, 3))
BAD = {
    "no labels": ({"x": TWO}, r"data\.path must have an array 'y'; got x"),
    "words": ({"x": np.array([["a"], ["b"]]), "y": ONE}, r"x must hold numbers; got .*<U1"),
    "infinity": ({"x": np.array([[1.0], [np.inf]]), "y": ONE}, "x must be finite or NaN; row 1"),
    "a line": ({"x": np.zeros(2), "y": ONE}, r"x must be \(rows, features\) or images"),
    "volumes": ({"x": np.zeros((2, 8, 8, 8)), "y": ONE}, r"1 or 3 channels.*got \(2, 8, 8, 8\)"),
    "bright": (
        {"x": np.full((2, 4, 4), 2.0), "y": ONE},
        r"uint8, uint16 or lie in \[0, 1\]; got fl",
    ),
    "NaN": ({"x": np.full((2, 4, 4), np.nan), "y": ONE}, r"lie in \[0, 1\]; got float64 from nan"),
    "too few": ({"x": TWO, "y": np.array([0, 1, 1])}, r"array y must have 2 values.*got \(3,\)"),
    "one class": ({"x": TWO, "y": np.zeros(2)}, "'y' must have from 2 to 100 classes; got 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_arrays_that_are_not_clear_are_refused(case: str, tmp_path: Path) -> None:
    arrays, message = BAD[case]
    with pytest.raises(InputError, match=message):
        data.load("npz", saved(tmp_path / "a.npz", **arrays))


def test_reading_executes_nothing_and_takes_no_memory_on_trust(tmp_path: Path) -> None:
    objects = np.array([Executed(tmp_path / "done"), None], object)
    with pytest.raises(InputError, match="array y must hold numbers or words; got objects"):
        data.load("npz", saved(tmp_path / "a.npz", x=TWO, y=objects))
    assert not (tmp_path / "done").exists()
    header = io.BytesIO()
    claimed = {"descr": "<f8", "fortran_order": False, "shape": (10**10, 10)}
    np.lib.format.write_array_header_1_0(header, claimed)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    with pytest.raises(InputError, match=r"array x must have at most 8,589,934,592 bytes"):
        data.load("npz", tmp_path / "b.npz")
    assert npz.MAX_BYTES == 2**33
    (tmp_path / "c.npz").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"c\.npz cannot be read"):
        data.load("npz", tmp_path / "c.npz")
    with pytest.raises(InputError, match=r"data\.path must be a file \.npz"):
        data.load("npz", tmp_path)
