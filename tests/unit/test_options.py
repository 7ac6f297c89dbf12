"""`--cfg-options`: what it reads and what it refuses."""

from __future__ import annotations

import argparse

import pytest

from mmssl.engine.options import OptionAction


def parse(*words: str) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=OptionAction)
    return parser.parse_args(["--cfg-options", *words]).cfg_options


def test_values_are_mmengines() -> None:
    found = parse("a.b=3.0", "c=None", "d=[1,2]", "e=(0.3,1.0)", "f=x=y", "g=true")
    assert found == {"a.b": 3.0, "c": None, "d": [1, 2], "e": (0.3, 1.0), "f": "x=y", "g": True}


@pytest.mark.parametrize(
    "word",
    ["a=dict(b=1)", "a=dict(b=1,c=2)", "a=[dict(type=X)]", "a={'b': 1}", "a.b=[1,dict(c=2)]"],
)
def test_raises_for_a_dict_of_any_length(word, capsys) -> None:
    with pytest.raises(SystemExit):
        parse(word)
    key = word.split("=")[0]
    assert f"give each entry by itself, {key}.ENTRY=VALUE" in capsys.readouterr().err


def test_raises_for_a_word_without_a_value(capsys) -> None:
    with pytest.raises(SystemExit):
        parse("train_cfg.max_epochs")
    assert "'train_cfg.max_epochs' is no KEY=VALUE" in capsys.readouterr().err
