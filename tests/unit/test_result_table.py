"""Tables of results: what a reader must see beside a figure."""

from __future__ import annotations

from typing import Any

from mmssl.evaluation.result_table import format_results

SVM: dict[str, Any] = dict(
    mean_ap=81.234,
    costs=[0.5, 0.5],
    selected_on="one cost",
    top1=None,
    low_shot={},
    num_train=90,
    num_fits=2,
    num_unconverged=0,
)
SCORES = dict(ami=0.5, nmi=0.6, ari=0.4, purity=0.7)


def lines(results: dict[str, Any]) -> list[str]:
    return format_results(dict(results=results)).splitlines()


def test_values_svm() -> None:
    assert lines(dict(svm=SVM)) == [
        "linear SVM     mAP %  std",
        "all 90 images  81.23       C 0.5",
    ]
    chosen = SVM | dict(
        costs=[0.01, 15.0], selected_on="cross-validation", top1=50.0, num_unconverged=1,
        low_shot={"16": dict(mean=40.0, std=1.5, cost=2.0, runs=[39.0, 41.0])},
    )  # fmt: skip
    _, whole, few = lines(dict(svm=chosen))
    assert whole.endswith(
        "C 0.01 to 15 (chosen on: cross-validation); top-1 50.00 %; "
        "1 of 2 machines stopped at the iteration limit"
    )
    assert few == "k=16           40.00  1.50  2 draws, C 2"


def test_values_clusters() -> None:
    flat = SCORES | dict(matching=None, num_nonempty=4, levels={})
    cluster: dict[str, Any] = dict(flat={5: flat}, tree=None, num_images=80, split="train")
    assert lines(dict(cluster=cluster)) == [
        "clusters     AMI     NMI     ARI  purity  matched",
        "5         0.5000  0.6000  0.4000  0.7000        -  of 80 images (train); 4 are not empty",
    ]
    tree = dict(
        num_nonempty=[5],
        levels=[{"class": SCORES}],
        dendrogram_purity={"class": 0.9},
        correlation=0.3,
        agreement=None,
        kappa=None,
    )
    found = lines(dict(cluster=cluster | dict(tree=tree)))
    assert found[3:6] == [
        "AMI of the tree     class",
        "5 clusters         0.5000",
        "dendrogram purity  0.9000",
    ]
    assert len(found) == 9  # without kappa, as the trees are of different heights
    both = lines(dict(cluster=cluster | dict(tree=tree | dict(agreement=0.8, kappa=0.25))))
    assert both[-1] == "the same, adjusted for chance   0.2500  Cohen's kappa"


def test_values_tables_stand_one_below_the_other() -> None:
    top = dict(top1=50.0, top5=75.0)
    found = lines(dict(knn={"20": top}, svm=SVM))
    assert found[:3] == ["evaluation  top-1 %  top-5 %", "k-NN, k=20    50.00    75.00", ""]
    assert lines(dict(test={"bbox/AP50": 0.81234})) == ["metric      value", "bbox/AP50  0.8123"]
