"""Draws the whole Shapes data set into a folder, or finds it there unchanged."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmssl.ops.atomic_file import write_text_atomically

from .draws import Draws
from .scenes import difficulty_value, draw_scene, draw_single
from .taxonomy import LEAVES, LEVELS, hierarchy
from .writers import (
    coco_objects,
    segmentation_map,
    voc_xml,
    write_coco,
    write_jpeg,
    write_segmentation,
)

# Raised whenever the pixels or the layout change, so that folders of older versions are not reused.
VERSION = 5
# Objects of an unlabelled scene: with fewer, many crops would show none.
MIN_FLOCK = 3
MANIFEST = "shapes.json"
SPLITS = ("unlabelled", "classify_train", "classify_val", "scenes_train", "scenes_val")


class Job(NamedTuple):
    """One picture to draw: its split, its number there, and what all pictures share."""

    root: str
    split: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    plan: dict[str, Any]


def _draw_job(job: Job) -> tuple[bytes, list[dict[str, Any]]]:
    """Draw and write one picture; return the digest of its pixels and its COCO annotations."""
    root, plan = Path(job.root), job.plan
    draws = Draws(plan["seed"], SPLITS.index(job.split), job.index)
    difficulty = plan["difficulty"]
    annotations: list[dict[str, Any]] = []
    if job.split == "unlabelled":
        image, objects = draw_scene(
            draws,
            size=plan["size"],
            min_objects=MIN_FLOCK,
            flock=plan["flock"],
            difficulty=difficulty,
        )
        annotations = coco_objects(objects, LEVELS[-1])
        write_jpeg(root / "unlabelled" / f"{job.index:06d}.jpg", image)
    elif job.split.startswith("classify"):
        leaf = job.index % len(LEAVES)
        image, _ = draw_single(draws, leaf, size=plan["classify_size"], difficulty=difficulty)
        part = job.split.removeprefix("classify_")
        folder = root / "classify" / part / LEAVES[leaf].name
        write_jpeg(folder / f"{job.index // len(LEAVES):05d}.jpg", image)
    else:
        part = job.split.removeprefix("scenes_")
        level = plan["detection_level"]
        image, objects = draw_scene(
            draws, size=plan["scene_size"], flock=0.0, difficulty=difficulty
        )
        annotations = coco_objects(objects, level)
        write_jpeg(root / "coco" / part / f"{job.index:06d}.jpg", image)
        name = f"{part}_{job.index:06d}"
        voc = root / "voc"
        write_jpeg(voc / "JPEGImages" / f"{name}.jpg", image)
        xml = voc_xml(f"{name}.jpg", plan["scene_size"], objects, level)
        (voc / "Annotations" / f"{name}.xml").write_bytes(xml)
        classes = segmentation_map(plan["scene_size"], objects, level)
        write_segmentation(voc / "SegmentationClass" / f"{name}.png", classes)
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest(), annotations


def _folders(root: Path) -> list[Path]:
    classes = [leaf.name for leaf in LEAVES]
    voc = ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main")
    return [
        root / "unlabelled",
        *(root / "classify" / part / name for part in ("train", "val") for name in classes),
        *(root / "coco" / part for part in ("train", "val", "annotations")),
        *(root / "voc" / part for part in (*voc, "ImageSets/Segmentation")),
    ]


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _count_files(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))


def _found(root: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Return the manifest of an equal, complete data set in ``root``; None if it is to be drawn.

    Raises:
        ValueError: if the folder holds anything else.
    """
    if root.exists() and not root.is_dir():
        raise ValueError(f"expected a folder to draw Shapes into, but {root} is a file")
    if not root.exists() or not any(root.iterdir()):
        return None
    manifest_path = root / MANIFEST
    if not manifest_path.exists():
        raise ValueError(
            f"{root} is not empty and holds no {MANIFEST}, so it is not a Shapes folder; "
            "name an empty or a new folder"
        )
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        there = dict(manifest["plan"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"{manifest_path} was not written by this generator; name an empty or a new folder"
        ) from None
    if there != plan:
        keys = [k for k in plan | there if plan.get(k) != there.get(k)]
        differences = ", ".join(f"{k}: {there.get(k)} there, {plan.get(k)} asked" for k in keys)
        raise ValueError(
            f"{root} holds Shapes drawn with other parameters ({differences}); "
            "name another folder, or remove this one to draw again"
        )
    complete = manifest.get("complete") and _count_files(root) == manifest.get("files")
    return manifest if complete else None


def _results(jobs: list[Job], num_workers: int) -> Iterator[tuple[bytes, list[dict[str, Any]]]]:
    if num_workers <= 1:
        yield from map(_draw_job, jobs)
        return
    # Workers only use numpy and Pillow, so forking a process that holds torch's threads is safe
    # and saves importing everything again; "spawn" serves where there is no fork.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    with context.Pool(num_workers) as pool:
        yield from pool.imap(_draw_job, jobs, chunksize=16)


def draw_shapes(
    root: str | os.PathLike[str],
    *,
    seed: int = 0,
    size: int = 96,
    num_unlabelled: int = 4000,
    num_classify_train: int = 2400,
    num_classify_val: int = 960,
    num_scenes_train: int = 300,
    num_scenes_val: int = 200,
    scene_size: int = 128,
    difficulty: float | str = "default",
    flock: float = 1.0,
    detection_level: str = "species",
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Draw Shapes into a folder, unless it is there already with the same parameters.

    Layout: ``unlabelled/*.jpg``, and in ``unlabelled.csv`` (an `ImageList`) the class that each of
    them shows, empty where several, to measure what was learnt without it;
    ``classify/{train,val}/<class>/*.jpg``; ``coco/{train,val}/*.jpg`` with
    ``coco/annotations/instances_{train,val}.json``; ``voc/`` as VOC2012; ``classes.json``;
    ``shapes.json``. The scenes of ``coco`` and ``voc`` are the same.

    Args:
        root: folder to draw into; it may not exist yet.
        seed: seed of the data set, not negative.
        size: height and width of the unlabelled scenes; single objects get two thirds of it.
        num_unlabelled: number of unlabelled scenes.
        num_classify_train: number of labelled single objects, over the 24 classes in turn.
        num_classify_val: the same, for validation.
        num_scenes_train: number of scenes with boxes and masks.
        num_scenes_val: the same, for validation.
        scene_size: height and width of the scenes with boxes and masks.
        difficulty: ``easy``, ``default``, ``hard`` or a number in [0, 1].
        flock: probability that all objects of an unlabelled scene belong to one class.
        detection_level: level of the hierarchy whose classes are detected and segmented.
        num_workers: processes that draw; None takes as many as there are usable cores. The result
            does not depend on it.
        progress: called with (pictures drawn, pictures in all) after each picture.

    Returns:
        The content of ``shapes.json``: version, plan, number of files, hash of all pixels; and
        ``drawn``, False if the folder was found complete.

    Raises:
        ValueError: if the folder holds something else, or an argument is out of range.
    """
    if detection_level not in LEVELS:
        raise ValueError(f"expected a detection_level among {LEVELS}, got {detection_level!r}")
    if not 0 <= flock <= 1:
        raise ValueError(f"flock is a probability, got {flock}")
    if seed < 0 or min(size, scene_size) < 32:
        raise ValueError(
            f"expected seed >= 0 and sizes of at least 32 pixels, got seed {seed}, size {size} "
            f"and scene_size {scene_size}"
        )
    counts = {
        "unlabelled": num_unlabelled,
        "classify_train": num_classify_train,
        "classify_val": num_classify_val,
        "scenes_train": num_scenes_train,
        "scenes_val": num_scenes_val,
    }
    if min(counts.values()) < 0:
        raise ValueError(f"numbers of pictures cannot be negative, got {counts}")
    plan: dict[str, Any] = {
        "version": VERSION,
        "seed": seed,
        "size": size,
        "classify_size": size * 2 // 3,
        "scene_size": scene_size,
        "difficulty": difficulty_value(difficulty),
        "flock": flock,
        "detection_level": detection_level,
        **{f"num_{split}": counts[split] for split in SPLITS},
    }
    root = Path(root)
    manifest = _found(root, plan)
    if manifest is not None:
        return {**manifest, "drawn": False}

    workers = _usable_cores() if num_workers is None else num_workers
    return {**_draw_all(root, plan, workers, progress), "drawn": True}


def _draw_all(
    root: Path, plan: dict[str, Any], num_workers: int, progress: Callable[[int, int], None] | None
) -> dict[str, Any]:
    """Draw and write everything; return the manifest."""
    for folder in _folders(root):
        folder.mkdir(parents=True, exist_ok=True)
    # Written first as incomplete: an interrupted drawing is then known as ours and drawn again.
    _write_json(root / MANIFEST, {"plan": plan, "complete": False})
    _write_json(root / "classes.json", hierarchy())
    jobs = [Job(str(root), split, i, plan) for split in SPLITS for i in range(plan[f"num_{split}"])]
    digest = hashlib.blake2b(digest_size=16)
    scenes: dict[str, list[list[dict[str, Any]]]] = {"scenes_train": [], "scenes_val": []}
    held: list[set[int]] = []
    for number, (job, result) in enumerate(zip(jobs, _results(jobs, num_workers), strict=True)):
        pixels, annotations = result
        digest.update(pixels)
        if job.split in scenes:
            scenes[job.split].append(annotations)
        elif job.split == "unlabelled":
            held.append({thing["leaf"] for thing in annotations})
        if progress is not None:
            progress(number + 1, len(jobs))
    for split, annotations_of in scenes.items():
        _write_lists(root, split.removeprefix("scenes_"), annotations_of, plan)
    _write_held(root / "unlabelled.csv", held)
    manifest = {
        "plan": plan,
        "complete": True,
        "files": _count_files(root),
        "pixels_blake2b": digest.hexdigest(),
    }
    _write_json(root / MANIFEST, manifest)
    return manifest


def _write_lists(
    root: Path, part: str, scenes: list[list[dict[str, Any]]], plan: dict[str, Any]
) -> None:
    """Write the COCO file and the VOC lists of one part."""
    level = plan["detection_level"]
    about = f"Shapes {plan['version']}, seed {plan['seed']}, {level} level"
    path = root / "coco" / "annotations" / f"instances_{part}.json"
    write_coco(path, scenes, plan["scene_size"], level, about)
    names = "".join(f"{part}_{i:06d}\n" for i in range(len(scenes)))
    sets = root / "voc" / "ImageSets"
    for task in ("Main", "Segmentation"):
        (sets / task / f"{part}.txt").write_text(names, encoding="utf-8")


def _write_held(path: Path, held: list[set[int]]) -> None:
    """Write which class each unlabelled scene shows, if one: to look at, never to train on."""
    names = [LEAVES[min(leaves)].name if len(leaves) == 1 else "" for leaves in held]
    rows = [f"unlabelled/{i:06d}.jpg,{name}\n" for i, name in enumerate(names)]
    path.write_text("path,label\n" + "".join(rows), encoding="utf-8")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text_atomically(path, json.dumps(content, indent=1) + "\n")
