"""The tools: a sentence for whoever started them, a traceback for a bug."""

from __future__ import annotations

import errno
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mmssl.datasets.decode import UnreadableImageError
from mmssl.engine.user_errors import is_user_error, told_errors
from mmssl.evaluation import hold_out
from mmssl.evaluation.linear_heads import LinearHeads
from tests.helpers.runs import ROOT, toy_config
from tests.helpers.toy import ToyImages, ToyMethod

TOOLS = ROOT / "tools"
LEAF = ROOT / "configs/care/care_resnet50_8xb128-coslr-100e_in1k.py"
BACKBONE = """
default_scope = "mmssl"
model = dict(type="BYOL", backbone=dict(type="ToyBackbone"))
"""


def run(monkeypatch: pytest.MonkeyPatch, tool: str, *arguments: object) -> None:
    path = str(ROOT / "tools" / tool)
    monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
    runpy.run_path(path, run_name="__main__")


def message(monkeypatch: pytest.MonkeyPatch, tool: str, *arguments: object) -> str:
    """What a tool says at its end, without a traceback; the shell sees 1 for any sentence."""
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, tool, *arguments)
    assert isinstance(end.value.code, str) and end.value.code.startswith("error: ")
    return end.value.code


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., list[object]]:
    """Arguments of a tiny run on the config of which dotted keys are changed."""

    def arguments(**changes: Any) -> list[object]:
        path = tmp_path / "toy.py"
        toy_config(tmp_path / "run", **changes).dump(str(path))
        return [path, "--work-dir", tmp_path / "run"]

    return arguments


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("model.head.num_negative=5", "takes no 'num_negative'. Did you mean 'num_negatives'"),
        ("train_dataloader.sampler.strid=5", "takes no 'strid'. Did you mean 'stride'"),
    ],
)
def test_raises_for_keys_of_head_and_sampler(
    option: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = ROOT / "configs/pic/pic_resnet50_4xb64-coslr-200e_in1k.py"
    assert words in message(monkeypatch, "train.py", leaf, "--cfg-options", option)


@pytest.mark.parametrize("tool", ["train.py", "test.py"])
def test_raises_one_line_for_a_config(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = ["none"] if tool == "test.py" else []
    wrong = message(
        monkeypatch, tool, LEAF, *checkpoint, "--cfg-options", "model.backbone.depht=18"
    )
    assert "model.backbone.depht: ResNet takes no 'depht'. Did you mean 'depth'?" in wrong
    absent = message(monkeypatch, tool, tmp_path / "no.py", *checkpoint)
    assert "no.py does not exist" in absent


@pytest.mark.parametrize(
    ("changes", "more", "words"),
    [
        (
            {
                "train_dataloader.dataset": dict(
                    _delete_=True, type="ImageFolder", root="nowhere", views=None
                )
            },
            [],
            "nowhere",
        ),
        ({}, ["--resume", "absent.pth"], "absent.pth"),
        ({}, ["--accumulate", "0"], "must be at least 1, got 0"),
        (
            {"custom_hooks": [dict(type="FreezeHook", modules=["hed"], epochs=1)]},
            [],
            "no module hed",
        ),
        ({"train_dataloader.batch_size": 99, "train_dataloader.drop_last": True}, [], "no batch"),
    ],
    ids=["data", "checkpoint", "switch", "hook", "batch"],
)
def test_raises_one_line_before_training(
    changes: dict[str, Any],
    more: list[str],
    words: str,
    toy: Callable[..., list[object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the runner finds out itself, up to the first epoch, is told in the same way."""
    assert words in message(monkeypatch, "train.py", *toy(**changes), *more)


def test_raises_with_a_traceback_inside_training(
    toy: Callable[..., list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if a check of ours stops it: the place of the call matters by then."""
    monkeypatch.setattr(ToyMethod, "loss", lambda *_: hold_out(torch.arange(4), 0.0))
    with pytest.raises(ValueError, match="holds no image out"):
        run(monkeypatch, "train.py", *toy())


def test_raises_with_a_traceback_for_a_bug(
    toy: Callable[..., list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `ValueError` that no check raised, before training."""

    def broken(self: ToyImages, **_: Any) -> None:
        first, second = range(3)

    monkeypatch.setattr(ToyImages, "__init__", broken)
    with pytest.raises(ValueError, match="too many values to unpack"):
        run(monkeypatch, "train.py", *toy())


def test_values_errors_of_our_own_bugs_are_none_of_the_user() -> None:
    heads = LinearHeads(2, 2, [0.1])
    heads.momenta.pop()
    for cause, users in (
        (lambda: hold_out(torch.arange(4), 0.0), True),
        (lambda: heads.step(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), 1.0), False),
        (lambda: int("x"), False),
        (lambda: Path("/nowhere/at all").read_text(), True),
    ):
        with pytest.raises((ValueError, OSError)) as caught:
            cause()
        assert is_user_error(caught.value) == users
    assert not is_user_error(ValueError("never raised"))


@pytest.mark.parametrize("name", ["--k", "--low-shot", "--num-clusters", "--last-blocks", "--size"])
def test_raises_in_the_parser_of_an_evaluation(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "test.py", "config.py", "none", name, "0")
    assert f"{name} must be at least 1, got 0" in capsys.readouterr().err


DETECTOR = """
default_scope = "mmdet"
model = dict(type="FasterRCNN")
"""


@pytest.mark.parametrize(
    ("text", "arguments", "refused"),
    [
        (BACKBONE, "--classify --val x --train x --size 8", "--train, --val, --size"),
        (BACKBONE, "--classify --k 1 --last-blocks 1", "--k, --last-blocks"),
        (BACKBONE, "--classify --knn --seed 3 --work-dir x", "--knn, --seed, --work-dir"),
        (BACKBONE, "--classify --svm --low-shot 1 --launcher pytorch", "--svm, --low-shot, --launcher"),
        (BACKBONE, "--knn --work-dir x --launcher pytorch", "--work-dir, --launcher"),
        (DETECTOR, "--classify --branch twin --device cpu", "--classify, --branch, --device"),
        (DETECTOR, "--linear --cluster --num-clusters 3", "--linear, --cluster, --num-clusters"),
    ],
)  # fmt: skip
def test_raises_for_options_that_a_test_would_not_read(
    text: str, arguments: str, refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.py"
    config.write_text(text)
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, "test.py", config, "weights.pth", *arguments.split())
    assert f"it does not take {refused}, only --" in str(end.value.code)


def test_values_errors_of_the_program_itself(tmp_path: Path) -> None:
    """A check of a tool counts where the tool says where it lies."""
    (tmp_path / "tool.py").write_text("def check():\n    raise ValueError('give --data')\n")
    check = runpy.run_path(str(tmp_path / "tool.py"))["check"]
    with pytest.raises(ValueError, match="give --data") as caught:
        check()
    assert not is_user_error(caught.value)
    assert is_user_error(caught.value, tools=tmp_path)


@pytest.fixture
def evaluation(tmp_path: Path) -> list[object]:
    """Arguments of an evaluation of drawn images; the folder `flat` has no classes, `bad` no images."""
    (tmp_path / "config.py").write_text(BACKBONE)
    for folder in ("train/a", "train/b", "flat", "bad/a"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(4):
            path = tmp_path / folder / f"{number}.png"
            Image.new("RGB", (12, 12), (60 * number, 0, 0)).save(path)
            if folder == "bad/a":
                path.write_bytes(b"no image")
    return [
        tmp_path / "config.py", "none", "--knn", "--k", 1, "--size", 8, "--device", "cpu",
        "--cfg-options", "evaluation.num_workers=0",
    ]  # fmt: skip


def test_raises_one_line_for_an_evaluation(
    evaluation: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    train, flat, bad = (str(tmp_path / name) for name in ("train", "flat", "bad"))
    good = ["--train", train, "--val", train]
    run(monkeypatch, "test.py", *evaluation, *good)
    assert "k-NN, k=1" in capsys.readouterr().out

    def told(*arguments: object) -> str:
        return message(monkeypatch, "test.py", *arguments)

    assert "--train" in told(*evaluation)
    assert "into class folders" in told(*evaluation, "--train", train, "--val", flat)
    assert not capsys.readouterr().out  # not after the features of the training images
    assert "unreadable" in told(*evaluation, "--train", bad, "--val", train)
    assert "absent.pth" in told(evaluation[0], "absent.pth", *evaluation[2:], *good)
    assert "mean 'nesterov'" in told(*evaluation, "evaluation.linear.nestrov=True", *good)


def test_raises_with_a_traceback_in_an_evaluation(
    evaluation: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        first, second = range(3)

    monkeypatch.setattr("mmssl.evaluation.result_table.format_results", broken)
    train = tmp_path / "train"
    with pytest.raises(ValueError, match="too many values"):
        run(monkeypatch, "test.py", *evaluation, "--train", train, "--val", train)


def test_values_every_tool_tells_its_users_errors_in_the_same_way() -> None:
    """But for the one that goes on for days, and those that work without the package."""
    others = {"train.py", "setup_env.py", "model_zoo.py"}
    tools = {path.name for path in TOOLS.glob("*.py")}
    assert others < tools
    for name in tools - others:
        text = (TOOLS / name).read_text(encoding="utf-8")
        assert "with told_errors(__file__" in text, name


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError("no such file"), "Not done. no such file"),
        (UnreadableImageError("half an image"), "Not done. half an image"),
        (OSError(errno.ENOSPC, "No space left"), "Not done. [Errno 28] No space left"),
        (ValueError("unknown file extension: .xyz"), "Not done. unknown file extension: .xyz"),
        (KeyError("of no part"), None),  # of this file, which is no tool
    ],
)
def test_values_what_is_told_in_one_line(error: Exception, text: str | None) -> None:
    expected = SystemExit if text else KeyError
    with pytest.raises(expected) as caught, told_errors("x/tool.py", start="Not done. "):
        raise error
    assert text is None or caught.value.code == text


def test_values_a_key_error_is_told_without_quotes(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text("def check():\n    raise KeyError('a part')\n")
    check = runpy.run_path(str(tmp_path / "tool.py"))["check"]
    with pytest.raises(SystemExit) as caught, told_errors(str(tmp_path / "tool.py")):
        check()
    assert caught.value.code == "error: a part"
