"""The page of a clustering in a real browser without a network, and the tool that writes it."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmssl.datasets import ImageFolder
from mmssl.registry import MODELS
from mmssl.structures import Clustering
from mmssl.visualization.cluster_page import ClusterPage, page_data, write_cluster_page
from mmssl.visualization.cluster_summary import summarise_clusters
from mmssl.visualization.image_names import image_names
from mmssl.visualization.removed_negatives import removed_negatives
from tests.helpers.clusters import ANGLES, GROUPS, directions, hand_flat, hand_tree, write_coloured

pytestmark = pytest.mark.integration

TOOL = Path(__file__).parents[2] / "tools/cluster_tree.py"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr", "--virtual-time-budget=12000",
]  # fmt: skip
LABELS = torch.tensor([0, 0, 1, 1, 1, -1, 2, 2])
NAMES = ["<u>.png", *(f"{number}.png" for number in range(1, 8))]
# What a reader does; every step notes what it saw, and at the end all of it is in the page.
ACTIONS = """
<script>
const seen = {}, rows = () => [...document.querySelectorAll('#list > .proto')].map(r => r.dataset.prototype);
const type = (name, text) => {
  const field = document.getElementById(name);
  field.value = text; field.dispatchEvent(new Event('input', {bubbles: true}));
};
// The browser follows a link when it has time; what is waited for must come true.
const until = async (what) => {
  for (let tries = 0; tries < 100 && !what(); tries++) await new Promise(done => setTimeout(done, 50));
  if (!what()) throw new Error('never true: ' + what);
};
(async () => { try {
%s
} catch (error) { seen.error = String(error); }
const told = Object.assign(document.createElement('pre'), {id: 'seen', textContent: JSON.stringify(seen)});
document.body.append(told);
})();
</script></body>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of one colour each; one has a name that looks like a tag."""
    root = tmp_path_factory.mktemp("clusters")
    write_coloured(root / "images", NAMES)
    return root


@pytest.fixture(scope="module", params=["tree", "flat"])
def page(folder: Path, request: pytest.FixtureRequest) -> Path:
    """The page of the clustering made by hand."""
    dataset = ImageFolder(str(folder / "images"))
    order = [NAMES.index(Path(dataset.path(index)).name) for index in range(8)]
    clustering = hand_tree() if request.param == "tree" else hand_flat()
    clustering = clustering._replace(assignment=clustering.assignment[:, order])
    labels, rows = LABELS[order], directions(ANGLES)[order]
    summary = summarise_clusters(clustering, rows, labels, num_nearest=3)
    removed = {}
    if request.param == "tree":
        keep = torch.tensor([[0.2, 0.9, 0.1], [0.9, 0.9, 0.3]])
        index = torch.tensor([order.index(number) for number in (3, 6, 1)])
        query = order.index(4)
        levels = removed_negatives(keep, keep > 0.5, query=query, key_index=index, labels=labels)
        removed[query] = levels
    names = image_names(dataset, labels, ["red", "green", "blue"])
    about = ClusterPage("Eight images", "", summary, names, [order.index(4)], removed, "")
    path = folder / f"{request.param}.html"
    return write_cluster_page(path, about, page_data(about, dataset))


def browse(page: Path, tmp_path: Path, *options: str, fragment: str = "") -> tuple[str, str]:
    """The page as the browser leaves it, and what its console said.

    Skips the test when no browser is installed.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser found; one of {', '.join(BROWSERS)} is needed")
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *options,
         page.resolve().as_uri() + fragment],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(said)


def act(page: Path, tmp_path: Path, steps: str) -> dict:
    """What was seen while a reader did something; nothing may have gone wrong meanwhile."""
    acted = tmp_path / "acted.html"
    acted.write_text(page.read_text().replace("</body>", ACTIONS % steps))
    dom, said = browse(acted, tmp_path, "--dump-dom")
    assert not said
    (seen,) = re.findall(r'<pre id="seen">(.*?)</pre>', dom)
    seen = json.loads(seen.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert "error" not in seen, seen
    return seen


def test_values_page_opens(page: Path, tmp_path: Path) -> None:
    """Without errors; every prototype of the first level is there, with its pictures."""
    dom, said = browse(page, tmp_path, "--dump-dom")
    assert not said
    shown = re.findall(r'data-prototype="(\d/\d)"', dom)
    tree = page.stem == "tree"
    assert shown == (["1/0", "1/1"] if tree else ["0/0", "0/1", "0/3", "0/2"])
    assert dom.count('src="data:image/jpeg;base64,') == 3 * len(shown) + 1 + (2 + 1) * tree
    if not tree:
        assert ">empty<" in dom


def test_values_page_expands_and_filters(page: Path, tmp_path: Path) -> None:
    """Children on a click, then images; filters by images, class and number; tabs by keyboard."""
    seen = act(page, tmp_path, """
const first = () => document.querySelector('#list > .proto');
first().querySelector('.fold').click();
seen.expanded = first().querySelector('.fold').getAttribute('aria-expanded');
seen.children = [...first().querySelectorAll('.inside > .proto')].map(r => r.dataset.prototype);
seen.classes = [...first().querySelectorAll('.inside > .bars .bar')].map(bar => bar.textContent);
const child = first().querySelector('.inside > .proto');
if (child) child.querySelector('.fold').click();
seen.images = (child || first()).querySelectorAll('.inside > .strip .shot').length;
first().querySelector('.fold').click();
seen.hidden = first().querySelector('.inside').hidden;
document.getElementById('tab-0').click();
seen.fine = rows();
seen.tags = document.querySelectorAll('u').length;
seen.alt = document.querySelector('[alt^="<u>"]').alt;
type('least', '3'); seen.least = rows(); type('least', '');
type('most', '0'); seen.most = rows();
document.querySelector('#list .fold').click();
seen.empty = document.querySelector('#list > .proto').textContent;
type('most', '');
type('class', 'BLU'); seen.class = rows(); type('class', 'none'); seen.none = rows(); type('class', '');
type('which', '2'); seen.which = rows(); type('which', '');
type('sort', 'number'); seen.number = rows();
const key = new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true});
document.getElementById('tab-0').dispatchEvent(key);
seen.arrow = rows(); seen.focus = document.activeElement.id;
""")  # fmt: skip
    tree = page.stem == "tree"
    assert seen["expanded"] == "true" and seen["hidden"] is True
    assert seen["children"] == (["0/0", "0/1"] if tree else [])
    expected = ["green360.0 %", "red240.0 %"] if tree else ["red266.7 %", "green133.3 %"]
    assert seen["classes"] == expected
    assert seen["images"] == 3
    assert seen["tags"] == 0 and seen["alt"] == "<u>.png, red"
    assert seen["fine"] == ["0/0", "0/1", "0/3", "0/2"]
    assert seen["least"] == ["0/0", "0/1"] and seen["most"] == ["0/2"]
    assert "empty" in seen["empty"] and "No image belongs to this prototype" in seen["empty"]
    assert seen["class"] == ["0/3"] and seen["none"] == [] and seen["which"] == ["0/2"]
    assert seen["number"] == ["0/0", "0/1", "0/2", "0/3"]
    assert seen["arrow"] == ["1/0", "1/1"] and seen["focus"] == "tab-1"


def test_values_path_and_parents(page: Path, tmp_path: Path) -> None:
    """A click on an image opens its path, a link in it leads to the prototype, one there to the parent."""
    seen = act(page, tmp_path, """
const dialog = document.getElementById('path');
document.getElementById('tab-0').click();
document.querySelector('[data-prototype="0/0"] .shot').click(); await until(() => dialog.open);
seen.steps = [...dialog.querySelectorAll('h3')].map(step => step.textContent);
seen.pictures = dialog.querySelectorAll('.shot').length;
dialog.querySelector('.close').click(); seen.closed = !dialog.open && location.hash === '';
document.querySelector('[data-prototype="0/3"] .shot').click(); await until(() => dialog.open);
dialog.querySelector('h3 a').click(); await until(() => !dialog.open);
seen.only = rows();
const up = document.querySelector('#list > .proto > .head a');
if (up) { up.click(); await until(() => rows()[0] !== '0/3'); }
seen.parent = rows();
document.querySelector('.count button').click(); seen.all = rows();
""")  # fmt: skip
    tree = page.stem == "tree"
    assert seen["closed"] is True
    assert seen["steps"] == ["Prototype 0/0, 3 images", "Prototype 1/0, 6 images"]
    assert seen["pictures"] == 1 + 3 + 3 and seen["only"] == ["0/3"]
    assert seen["parent"] == (["1/1"] if tree else ["0/3"])
    assert len(seen["all"]) == (2 if tree else 4)


def test_values_address_opens_a_path(page: Path, tmp_path: Path) -> None:
    """An address can be kept; removed negatives tell the truth in words, not in colours only."""
    dom, said = browse(page, tmp_path, "--dump-dom", fragment="#image=0")
    assert not said and re.search(r'<dialog[^>]* open=""', dom) and "Path of image 0" in dom
    if page.stem == "tree":
        assert "2 of 3 keys removed; 1 of 2 with known class" in dom
        assert "p 0.80, same class" in dom and "p 0.90, other class" in dom


@pytest.mark.parametrize("scheme, colour", [(0, (0x1A, 0x1F, 0x27)), (1, (255, 255, 255))])
def test_values_page_is_painted(
    page: Path, tmp_path: Path, scheme: int, colour: tuple[int, int, int]
) -> None:
    """The pictures are on the screen, on a card in the reader's own scheme."""
    shot = tmp_path / "shot.png"
    browse(
        page,
        tmp_path,
        f"--blink-settings=preferredColorScheme={scheme}",
        "--window-size=1000,1200",
        f"--screenshot={shot}",
    )
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert (np.abs(pixels - colour).max(axis=2) < 2).mean() > 0.4
    assert (np.abs(pixels - (200, 40, 40)).max(axis=2) < 12).sum() > 60 * 60


CONFIG = """
default_scope = "mmssl"
resize = dict(type="Resize", size=[32, 32])
view = dict(type="MultiView", boxes=None, views=[dict(num=1, transforms=[resize])])
model = dict(
    type="{kind}",
    backbone=dict(type="TimmBackbone", name="test_resnet", out_indices=(3,)),
    neck=dict(type="MLPNeck", hid_channels=8, out_channels=4),
    queue_length=6,
    {prototypes}
)
train_dataloader = dict(batch_size=4, dataset=dict(type="ImageFolder", root="{root}", views=None))
custom_hooks = [dict(type="ClusterHook", views=view, begin_epoch=20)]
"""


def write_run(folder: Path, kind: str, clustering: Clustering | None) -> tuple[str, str]:
    """A config, and a checkpoint of a tiny network that holds a clustering."""
    place = folder / f"{kind}_{clustering is not None}"
    place.mkdir(exist_ok=True)
    prototypes = 'prototypes=dict(type="Prototypes", num_clusters=[4, 2]),'
    if kind == "PCL":
        prototypes += " num_negatives=1,"
    text = CONFIG.format(
        kind=kind, root=folder / "images", prototypes="" if kind == "MoCo" else prototypes
    )
    (place / "config.py").write_text(text)
    config = Config.fromfile(str(place / "config.py"))
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    if kind == "HCSC":
        # a key of every prototype, the last row as at the start of a run
        model.queue.features[:5] = torch.nn.functional.normalize(torch.randn(5, 4), dim=1)
        model.queue.index[:5] = torch.tensor([0, 2, 4, 6, 1])
    if clustering is not None:
        centroids = [
            torch.nn.functional.normalize(torch.randn(len(rows), 4), dim=1)
            for rows in clustering.centroids
        ]
        model.load_prototypes(clustering._replace(centroids=centroids), epoch=4)
    meta = dict(cfg=config.pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), place / "epoch_5.pth")
    return str(place / "config.py"), str(place / "epoch_5.pth")


def run_tool(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(TOOL), *arguments, "--num-workers=0", "--device=cpu"])
    runpy.run_path(str(TOOL), run_name="__main__")


def test_values_tool(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Page, sheets and records of an HCSC run; the removed keys are those of its own probabilities."""
    config, checkpoint = write_run(folder, "HCSC", hand_tree())
    labels, out = tmp_path / "labels.txt", tmp_path / "out"
    labels.write_text("\n".join(["a", "a", "b", "b", "b", "", "c", "c"]) + "\n")
    run_tool(
        monkeypatch,
        config,
        checkpoint,
        f"--labels={labels}",
        f"--out={out}",
        "--query",
        "1",
        "6",
        "--prototype",
        "1/0",
    )
    names = "clusters.html clusters.json path_1.png path_6.png paths.json prototype_1_0.png"
    names += " removed_1.png removed_6.png removed_negatives.json"
    assert sorted(path.name for path in out.iterdir()) == names.split()
    numbers = json.loads((out / "clusters.json").read_text())
    assert numbers["levels"][0]["members"] == [3, 3, 0, 2] and "jpeg" not in numbers["images"]
    assert str(out / "clusters.html") in capsys.readouterr().out
    paths = json.loads((out / "paths.json").read_text())
    assert [step["prototype"] for step in paths[0]["path"]] == [GROUPS[1], 0]
    assert [step["members"] for step in paths[1]["path"]] == [2, 2]
    model = MODELS.build(Config.fromfile(config).model)
    model.load_state_dict(torch.load(checkpoint)["state_dict"])
    keep = model.keep_keys(model.prototypes.assign(torch.tensor([1, 6])))
    drawn = json.loads((out / "removed_negatives.json").read_text())
    for number, query in enumerate(drawn):
        for level, record in enumerate(query["levels"]):
            assert record["candidates"] == 5 and len(record["keys"]) == record["removed"]
            for key in record["keys"]:
                at = model.queue.index.tolist().index(key["image"])
                probability = 1 - keep[level, number, at].item()
                assert key["probability"] == pytest.approx(max(probability, 0.001), abs=1e-4)
    assert sum(level["removed"] for query in drawn for level in query["levels"]) > 0
    text = (out / "clusters.html").read_text()
    assert "HCSC, epoch_5.pth; clustered at the beginning of epoch 5." in text


def test_values_tool_on_flat_clusters(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PCL selects nothing: paths only, and the page says so."""
    config, checkpoint = write_run(folder, "PCL", hand_flat())
    run_tool(monkeypatch, config, checkpoint, f"--out={tmp_path}", "--query", "0")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clusters.html", "clusters.json", "path_0.png", "paths.json",
    ]  # fmt: skip
    assert "PCL selects no negatives" in (tmp_path / "clusters.html").read_text()


def test_raises_tool(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints and images that cannot be shown are refused in one sentence that helps."""
    config, warm_up = write_run(folder, "HCSC", None)
    with pytest.raises(SystemExit, match="still in its warm-up, which lasts 20 epochs.*resume"):
        run_tool(monkeypatch, config, warm_up)
    with pytest.raises(SystemExit, match="holds a MoCo, which has no prototypes"):
        run_tool(monkeypatch, *write_run(folder, "MoCo", None))
    config, checkpoint = write_run(folder, "HCSC", hand_tree())
    write_coloured(tmp_path / "more", [f"{number}.png" for number in range(8)])
    (tmp_path / "more/7.png").unlink()
    with pytest.raises(SystemExit, match="one of 8 images, but .*more has 7"):
        run_tool(monkeypatch, config, checkpoint, f"--data={tmp_path / 'more'}")
    with pytest.raises(SystemExit, match="--prototype 1/2: .*; the levels have 4, 2"):
        run_tool(monkeypatch, config, checkpoint, f"--out={tmp_path / 'out'}", "--prototype", "1/2")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="--query 8: there are images 0 to 7"):
        run_tool(monkeypatch, config, checkpoint, "--query", "8")
    monkeypatch.setattr(
        "mmssl.visualization.clustered_images.embed_images", lambda *_, **__: int("x")
    )
    with pytest.raises(ValueError, match="invalid literal"):  # a bug keeps its traceback
        run_tool(monkeypatch, config, checkpoint)
