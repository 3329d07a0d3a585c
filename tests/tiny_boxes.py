"""Small pictures with boxes around rectangles, whose colour is their class, in each format of annotations."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (64, 48)  # width and height
NAMES = ["red", "green"]
COLOURS = np.array([[220, 40, 40], [40, 220, 40]], np.uint8)
Box = tuple[int, int, int, int, int]  # left, top, right, bottom, class


def boxes_of(number: int) -> list[Box]:
    """One to three boxes; none in every eighth picture."""
    generator = np.random.default_rng(number)
    if number % 8 == 7:
        return []
    found = []
    for place in range(1 + number % 3):
        left, top = 20 * place + int(generator.integers(0, 6)), int(generator.integers(2, 24))
        width, height = (int(it) for it in generator.integers(10, 15, 2))
        found.append((left, top, left + width, top + height, int(generator.integers(0, 2))))
    return found


def picture_of(number: int, boxes: Sequence[Box]) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 30, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    for left, top, right, bottom, label in boxes:
        pixels[top:bottom, left:right] = COLOURS[label]
    return Image.fromarray(pixels)


def coco(boxes: Mapping[str, Sequence[Box]], ids: Sequence[int] = (7, 3)) -> dict[str, Any]:
    """Boxes by name of the picture. ids: of the categories, with gaps and out of order."""
    rows = [(place, box) for place, own in enumerate(boxes.values()) for box in own]
    return {
        "images": [
            {"id": 10 + place, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for place, name in enumerate(boxes)
        ],
        "categories": [{"id": number, "name": name} for number, name in zip(ids, NAMES, strict=True)],
        "annotations": [
            {
                "id": number,
                "image_id": 10 + place,
                "category_id": ids[label],
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": 0,
            }
            for number, (place, (left, top, right, bottom, label)) in enumerate(rows, 1)
        ],
    }


def put_coco(folder: Path, sizes: Mapping[str, int]) -> Path:
    """sizes: pictures of each split."""
    (folder / "annotations").mkdir(parents=True)
    start = 0
    for split, number in sizes.items():
        (folder / split).mkdir()
        own = {f"p{place:02}.png": boxes_of(place) for place in range(start, start + number)}
        for place, (name, boxes) in enumerate(own.items(), start):
            picture_of(place, boxes).save(folder / split / name)
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(coco(own)))
        start += number
    return folder


def voc(boxes: Sequence[Box], name: str = "p.png", difficult: Sequence[int] = ()) -> str:
    objects = "".join(
        f"<object><name>{NAMES[label]}</name><difficult>{int(place in difficult)}</difficult><bndbox>"
        f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for place, (left, top, right, bottom, label) in enumerate(boxes)
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"


def put_voc(folder: Path, sizes: Mapping[str, int]) -> Path:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    start = 0
    for split, number in sizes.items():
        for place in range(start, start + number):
            picture_of(place, boxes_of(place)).save(folder / "JPEGImages" / f"p{place:02}.png")
            (folder / "Annotations" / f"p{place:02}.xml").write_text(voc(boxes_of(place)))
        lines = "".join(f"p{place:02}\n" for place in range(start, start + number))
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(lines)
        start += number
    return folder


def yolo(boxes: Sequence[Box]) -> str:
    width, height = SIZE
    return "".join(
        f"{label} {(left + right) / 2 / width} {(top + bottom) / 2 / height} {(right - left) / width} "
        f"{(bottom - top) / height}\n"
        for left, top, right, bottom, label in boxes
    )


def put_yolo(folder: Path, sizes: Mapping[str, int]) -> Path:
    start = 0
    for split, number in sizes.items():
        for name in ("images", "labels"):
            (folder / name / split).mkdir(parents=True)
        for place in range(start, start + number):
            picture_of(place, boxes_of(place)).save(folder / "images" / split / f"p{place:02}.png")
            if boxes_of(place):
                (folder / "labels" / split / f"p{place:02}.txt").write_text(yolo(boxes_of(place)))
        start += number
    (folder / "data.yaml").write_text("names: [red, green]\nnc: 2\n")
    return folder


PUT = {"coco": put_coco, "voc": put_voc, "yolo": put_yolo}
