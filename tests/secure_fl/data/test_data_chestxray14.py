"""ChestX-ray14: the official layout with small images made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.cli import main as cli
from secure_fl import data
from secure_fl.data.prepared import keep
from secure_fl.data.sets.chestxray14 import FINDINGS, LABELS, LISTS
from secure_fl.errors import InputError
from secure_fl.simulation.prepare import data_hash
from tests.support.cxr_files import HEADER, write, write_findings


@pytest.mark.parametrize(("table", "nested"), [(LABELS[0], True), (LABELS[1], False)])
def test_reads_both_layouts(table: str, nested: bool, tmp_path: Path) -> None:
    got = data.load("chestxray14", write(tmp_path, table, nested))
    assert got.x.shape == (9, 1, 32, 32)
    assert got.y.tolist() == [0, 1, 1] * 3
    assert got.group.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    for number, path in enumerate(sorted(tmp_path.rglob("*.png"))):
        pixels = np.asarray(Image.open(path).convert("L"), np.float64)
        means = pixels.reshape(32, 2, 32, 2).mean(axis=(1, 3)) / 255
        np.testing.assert_allclose(
            got.x[number, 0], means, atol=1.01 / 255
        )  # rounded by row, then column


def test_a_prepared_file_gives_the_same_bits(tmp_path: Path) -> None:
    one = data.load("chestxray14", write(tmp_path / "nih"))
    keep(one, tmp_path / "one.npz")
    two = data.load("chestxray14", tmp_path / "one.npz")
    np.testing.assert_array_equal(one.x, two.x)
    assert two.x.dtype == np.float32
    assert (one.y.tolist(), one.group.tolist()) == (two.y.tolist(), two.group.tolist())


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"chestxray14 is not shipped: give data.path=FOLDER"):
        data.load("chestxray14")
    with pytest.raises(InputError, match=r"data.path must be a folder with Data_Entry_2017_v2020"):
        data.load("chestxray14", tmp_path)
    folder = write(tmp_path / "nih")
    image = folder / "images_002" / "images" / "00000002_001.png"
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"image .*00000002_001.png cannot be read"):
        data.load("chestxray14", folder)
    image.unlink()
    with pytest.raises(InputError, match=r"1 of the 9 images .* lists .*00000002_001.png first"):
        data.load("chestxray14", folder)
    table = folder / LABELS[0]
    text = table.read_text()
    table.write_text(text.replace("Patient ID", "Patient"))
    with pytest.raises(InputError, match="lacks the columns Patient ID"):
        data.load("chestxray14", folder)
    table.write_text(text.replace("Pneumonia", ""))
    with pytest.raises(InputError, match="must have an image, findings and a patient in each row"):
        data.load("chestxray14", folder)
    table.write_text(HEADER + "\n")
    with pytest.raises(InputError, match="must have an image, findings and a patient in each row"):
        data.load("chestxray14", folder)


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_images_of_16_bits_keep_their_shades(order: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).round()
    path = folder / "images_001" / "images" / "00000001_000.png"
    Image.fromarray(ramp.astype(order)).save(path)
    with Image.open(path) as image:
        assert image.mode.startswith("I")
    got = data.load("chestxray14", folder).x[0, 0]
    want = ramp.reshape(32, 2, 32, 2).mean(axis=(1, 3)) / 65535
    np.testing.assert_allclose(got, want, atol=0.51 / 255)
    assert got.mean() == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_images_of_other_kinds_keep_their_shades(mode: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    half = np.repeat(np.array([0, 255], np.uint8), 32)[None].repeat(64, axis=0)
    path = folder / "images_001" / "images" / "00000001_000.png"
    Image.fromarray(half).convert(mode).save(path)
    got = data.load("chestxray14", folder).x[0, 0]
    assert got[:, :16].max() == 0
    assert got[:, 16:].min() == 1


def test_a_table_cut_between_two_lines_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path)
    table = folder / LABELS[0]
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:-4]))
    with pytest.raises(InputError, match=r"does not list 4 of the 9 images .*00000002_002.png"):
        data.load("chestxray14", folder)
    table.write_text("".join(lines)[:-20])
    with pytest.raises(InputError, match=r"Data_Entry_2017_v2020.csv is cut short: line 10"):
        data.load("chestxray14", folder)


def test_findings_are_labels_and_any_of_them_is_the_other_task(tmp_path: Path) -> None:
    folder = write(tmp_path)
    got = data.load("chestxray14", folder, task="findings")
    assert got.multilabel
    assert got.class_names == FINDINGS
    named = [[FINDINGS[i] for i in np.flatnonzero(row)] for row in got.y]
    assert named == [[], ["Pneumonia"], ["Cardiomegaly", "Effusion"]] * 3
    any_of_them = data.load("chestxray14", folder)
    assert np.array_equal(any_of_them.y, got.y.any(axis=1))
    assert any_of_them.class_names == ("no finding", "finding")
    table = folder / LABELS[0]
    table.write_text(table.read_text().replace("Pneumonia", "No Finding|Pneumonia", 1))
    with pytest.raises(InputError, match=r"got 'No Finding' in 'No Finding\|Pneumonia'"):
        data.load("chestxray14", folder)
    with pytest.raises(InputError, match=r"data.task must be null or findings; got 'all'"):
        data.load("chestxray14", folder, task="all")


def test_the_official_lists_must_name_each_image_once_and_part_no_patient(tmp_path: Path) -> None:
    folder = write_findings(tmp_path / "nih", patients=4, tested=1)
    assert data.load("chestxray14", folder).test is None
    tested = data.load("chestxray14", folder, split="official").test
    assert tested is not None
    assert tested.tolist() == [True] * 2 + [False] * 6
    trained_on, tested_on = (folder / name for name in LISTS)
    text = tested_on.read_text()
    tested_on.write_text(text + "00000002_001.png\n")
    with pytest.raises(
        InputError, match=r"image 00000002_001.png must be on one of .*; got 'on 2'"
    ):
        data.load("chestxray14", folder, split="official")
    trained_on.write_text(trained_on.read_text().replace("00000002_001.png\n", ""))
    with pytest.raises(InputError, match=r"a patient's images must be on one of .*got .*2"):
        data.load("chestxray14", folder, split="official")
    tested_on.write_text(text)
    with pytest.raises(
        InputError, match=r"image 00000002_001.png must be on one of .*; got 'on 0'"
    ):
        data.load("chestxray14", folder, split="official")
    tested_on.unlink()
    with pytest.raises(InputError, match=r"data.split official must be with test_list.txt"):
        data.load("chestxray14", folder, split="official")


def test_a_prepared_file_answers_what_it_was_prepared_for_or_less(tmp_path: Path) -> None:
    folder = write_findings(tmp_path / "nih", patients=4, tested=1)
    whole, less = tmp_path / "whole.npz", tmp_path / "less.npz"
    for path, asked in ((whole, ["--task", "findings", "--split", "official"]), (less, [])):
        assert cli.main(["prepare", "chestxray14", str(folder), str(path), *asked]) == 0
    for asked in ({}, {"task": "findings"}, {"split": "official"}):
        kept, read = (data.load("chestxray14", path, **asked) for path in (whole, folder))
        assert data_hash(kept) == data_hash(read)
    for asked, flag in (({"task": "findings"}, "--task"), ({"split": "official"}, "--split")):
        with pytest.raises(InputError, match=rf"prepare chestxray14 FOLDER FILE.npz {flag} "):
            data.load("chestxray14", less, **asked)
