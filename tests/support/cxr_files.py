"""Files in the official layout of ChestX-ray14, with small images made up here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from secure_fl.data.sets.chestxray14 import FINDINGS as ALL
from secure_fl.data.sets.chestxray14 import LABELS, LISTS

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
FINDINGS = ("No Finding", "Pneumonia", "Cardiomegaly|Effusion")


def write(folder: Path, table: str = LABELS[0], nested: bool = True, patients: int = 3) -> Path:
    """Three images of each patient, one archive a patient or all in one folder."""
    rng, lines = np.random.default_rng(0), [HEADER]
    for number in range(3 * patients):
        patient, visit = divmod(number, 3)
        name = f"{patient + 1:08d}_{visit:03d}.png"
        lines.append(
            f"{name},{FINDINGS[number % 3]},{visit},{patient + 1},58,M,PA,2682,2749,0.1,0.1,"
        )
        place = folder / (f"images_{patient + 1:03d}/images" if nested else "images")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (64, 64), dtype=np.uint8)
        image = Image.fromarray(pixels)
        # A few of the original files have four channels.
        (image.convert("RGBA") if number == 4 else image).save(place / name)
    (folder / table).write_text("\n".join(lines) + "\n")
    return folder


def write_findings(folder: Path, patients: int = 120, tested: int = 40) -> Path:
    """Two images of each patient with any of the 14 findings, and the NIH's two lists.

    Finding k brightens a stripe of its own, so that a network can learn it. The first `tested`
    patients are on the list for tests.
    """
    rng, lines = np.random.default_rng(1), [HEADER]
    lists: dict[str, list[str]] = {name: [] for name in LISTS}
    (folder / "images").mkdir(parents=True)
    for number in range(2 * patients):
        patient, visit = divmod(number, 2)
        name = f"{patient + 1:08d}_{visit:03d}.png"
        held = rng.random(len(ALL)) < np.linspace(0.15, 0.45, len(ALL))
        written = "|".join(np.array(ALL)[held]) or "No Finding"
        lines.append(f"{name},{written},{visit},{patient + 1},58,M,PA,2682,2749,0.1,0.1,")
        pixels = rng.integers(0, 60, (28, 28))
        pixels += 190 * held.repeat(2)[:, None]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name)
        lists[LISTS[patient < tested]].append(name)
    for name, images in lists.items():
        (folder / name).write_text("\n".join(images) + "\n")
    (folder / LABELS[0]).write_text("\n".join(lines) + "\n")
    return folder
