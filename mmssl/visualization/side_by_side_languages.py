"""Words around the tables of recipes, in English and Chinese; names of the code stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Language:
    """A language of docs/side_by_side.

    Attributes:
        page: Name of the page's file in docs.
        steps: What stands before the table of steps.
        costs: What stands before the table of costs.
        headings: By the English heading, those of `step_cells` and `schedule_cells` among them; none: kept.
        words: The translation of what else stands in cells and is no name.
    """

    page: str
    steps: str
    costs: str
    headings: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    def heading(self, text: str) -> str:
        """A heading in this language.

        Raises:
            KeyError: It has none.
        """
        return self.headings[text] if self.headings else text

    def cells(self, cells: Sequence[str]) -> list[str]:
        """The cells of a row."""
        translated = list(cells)
        for english, word in self.words.items():
            translated = [cell.replace(english, word) for cell in translated]
        return translated


LANGUAGES = {
    "en": Language(
        page="side_by_side.md",
        steps="""\
# Methods side by side

This page is written by `tools/side_by_side.py --page` from one published recipe per method, on ImageNet but
for Exemplar-CNN; nothing in it is typed. It builds each model, takes its first step on the CPU in float32 and
counts. Every setting by which the results of two recipes may differ is told by
[the same tool](tools.md#toolsside_by_sidepy). Accuracies are in the [model zoo](model_zoo.md).
[In Chinese](side_by_side_zh.md).

## What a step consists of

Per image: views by their side in px, as the backbone and its momentum twin see them; widths of the layers
behind the backbone; what is remembered from batch to batch. Loss terms are those of the first step: what
waits for a warm-up or a clustering is not among them.
""",
        costs="""\
## What it costs

Millions of parameters; GFLOPs of matrix products and convolutions, two for a multiplication and an addition,
forward and backward, twin included; megabytes that one more image makes the forward pass keep for the
backward pass (float32, without recomputation); megabytes of a checkpoint: weights, twin, memories and what
the optimizer remembers. The learning rate is that of the batch. Clusterings between epochs are not counted.
""",
    ),
    "zh": Language(
        page="side_by_side_zh.md",
        steps="""\
# 各方法并排对比

本页由 `tools/side_by_side.py --page` 根据每个方法的一份已发表配方生成 (除 Exemplar-CNN 外均为 ImageNet),
没有手写的数字: 工具构建模型, 在 CPU 上以 float32 走完第一步并计数. 任意两份配方的全部设置差异可用
[同一工具](tools.md#toolsside_by_sidepy) 查看, 精度见 [model zoo](model_zoo.md). [英文版](side_by_side.md).

## 一步由什么组成

以每张图像计: 主干网络与其动量分支各自看到的视图 (边长, 单位为像素); 主干之后各层的宽度;
跨批次保存的内容. 损失项是第一步的损失项: 要等预热或聚类之后才出现的项不在其中.
""",
        costs="""\
## 代价是多少

参数以百万计; GFLOPs 统计矩阵乘法与卷积的前向和反向 (一次乘加算两次运算), 动量分支包括在内;
每增加一张图像, 前向过程为反向过程多保存的 MB (float32, 不做重计算); 检查点的 MB: 权重, 动量分支,
跨批次保存的内容与优化器状态. 学习率对应表中的批大小. 轮与轮之间的聚类不计.
""",
        headings={
            "method": "方法",
            "views": "视图",
            "views of the twin": "动量分支的视图",
            "momentum of the twin": "动量分支的动量",
            "behind the backbone": "主干之后",
            "remembers": "跨批次保存",
            "loss terms": "损失项",
            "backbone M": "主干参数 (百万)",
            "trained M": "训练参数 (百万)",
            "GFLOPs per image": "每张图像 GFLOPs",
            "kept MB per image": "每张图像保存 MB",
            "state MB": "检查点 MB",
            "optimizer": "优化器",
            "learning rate": "学习率",
            "weight decay": "权重衰减",
            "batch": "批大小",
            "epochs": "轮数",
            "recipe": "配方",
            "a step": "一步",
            "settings": "设置",
        },
        words={" to ": " 至 ", " layers)": " 层)", "[config]": "[配置]"},
    ),
}
