"""Reports: charts, tables, joined logs, the sentence on top, and that a page needs nothing else."""

from __future__ import annotations

import json
import math
import re

import pytest
from PIL import Image

from mmssl.visualization.charts import Chart, Series, line_chart, short, thin_out, ticks
from mmssl.visualization.report import (
    BarsSection,
    CodeSection,
    CurvesSection,
    ImageSection,
    Picture,
    TableSection,
    TextSection,
    render_report,
    write_report,
)
from mmssl.visualization.run_card import checkpoint_rows, read_card, write_card
from mmssl.visualization.run_log import RunLog, charts_of, read_log
from mmssl.visualization.run_report import duration, verdict_of, write_run_report


def coordinates(html: str) -> list[list[tuple[float, float]]]:
    """Pixel positions of the points of every line of a chart."""
    paths = re.findall(r'class="line"[^>]* d="([^"]+)"', html)
    return [
        [tuple(map(float, pair.split(","))) for pair in re.findall(r"[\d.]+,[\d.]+", path)]
        for path in paths
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.99, 1.0, [0.99, 0.992, 0.994, 0.996, 0.998, 1.0]),
        (-3, 3, [-2, 0, 2]),
        (5, 5, [5]),
    ],
)
def test_values_ticks(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_values_chart_points():
    """Equal steps are equally far apart; larger values are higher; the ends of x are the axes' ends."""
    html = line_chart(Chart("t", [Series("a", [0, 1, 2], [0.0, 5.0, 10.0])]))
    (points,) = coordinates(html)
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert (x0, x2) == (54, 426) and y0 == 216 and y2 < y1 < y0


def test_values_chart_is_logarithmic_over_decades():
    """Values 1, 10, 1000: three of the axis' decades apart, in the ratio 1 to 2."""
    html = line_chart(Chart("t", [Series("a", [0, 1, 2], [1.0, 10.0, 1000.0])]))
    (((_, y0), (_, y1), (_, y2)),) = coordinates(html)
    assert y1 - y2 == pytest.approx(2 * (y0 - y1), abs=0.3)
    assert "log scale" in html
    assert "log scale" not in line_chart(Chart("t", [Series("a", [0, 1], [0.0, 1000.0])]))


def test_values_chart_gap_at_nan():
    """A value that is not finite cuts the line; the last finite one is in the legend."""
    ys = [1.0, 2.0, math.nan, 4.0, 5.0, math.inf]
    html = line_chart(Chart("t", [Series("a", range(6), ys)]))
    path = re.search(r'class="line"[^>]* d="([^"]+)"', html).group(1)
    assert path.count("M") == 2 and len(coordinates(html)[0]) == 4
    assert "<b>5</b>" in html and "nan" not in html
    with pytest.raises(ValueError, match="no finite value"):
        line_chart(Chart("t", [Series("a", [0], [math.nan])]))
    with pytest.raises(ValueError, match="2 positions but 1 values"):
        Series("a", [0, 1], [1.0])


def test_values_thin_out():
    """Means of equal stretches; the mean of everything stays, and so does a NaN."""
    ys = [float(i % 7) for i in range(1000)]
    xs, means = thin_out(range(1000), ys, limit=100)
    assert len(xs) == 100 and sum(means) / 100 == pytest.approx(sum(ys) / 1000)
    assert xs[0] == 4.5 and means[0] == pytest.approx(sum(ys[:10]) / 10)
    ys[503] = math.nan
    assert [math.isnan(value) for value in thin_out(range(1000), ys, limit=100)[1]].index(
        True
    ) == 50


def test_values_short_numbers():
    assert [short(v) for v in (0.0, 1234.5, 12345, 2.5e6, -0.00012)] == [
        "0", "1234", "12.35k", "2.5M", "-0.00012"
    ]  # fmt: skip


def test_values_table_marks_the_best():
    table = TableSection(
        "Transfer",
        ["method", "AP", "loss"],
        [["random", 20.0, 3.0], ["CARE", 31.25, 1.0], ["failed", None, float("nan")]],
        best=[None, "max", "min"],
        digits=2,
    )
    assert re.findall("<strong>(.*?)</strong>", table.body()) == ["31.25", "1.00"]
    assert table.body().count(">-<") == 2
    with pytest.raises(ValueError, match="3 columns, but a row has 1 cells"):
        TableSection("t", ["a", "b", "c"], [["x"]])
    with pytest.raises(ValueError, match="one entry per column"):
        TableSection("t", ["a"], [["x"]], best=["max", "min"])


def test_values_bars_are_shares():
    html = BarsSection("Time", [("steps", 90.0), ("data", 30.0)]).body()
    assert re.findall(r"width:([\d.]+)%", html) == ["75.00", "25.00"]


def test_values_page_is_complete_and_escaped(tmp_path):
    """No address but data: and anchors; what comes from outside cannot become markup."""
    evil = '<script>alert("x")</script>'
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.jpg")
    sections = [
        TextSection(evil, [evil], "bad"),
        TableSection(evil, [evil], [[evil]], note=evil),
        CodeSection("Config", evil),
        CurvesSection("c", [Chart(evil, [Series(evil, [0, 1], [1, 2])], note=evil)]),
        ImageSection("i", [Picture(Image.new("RGB", (4, 4)), evil), Picture(tmp_path / "a.jpg")]),
    ]
    path = write_report(tmp_path / "deep" / "r.html", evil, sections, verdict=evil, subtitle=evil)
    page = path.read_text()
    assert evil not in page and page.count("<script") == 1
    addresses = re.findall(r'(?:src|href)="([^"]{1,16})', page)
    assert {a.split(":")[0] for a in addresses if not a.startswith("#")} == {"data"}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", page)
    assert "image/jpeg" in page and "image/png" in page
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


def test_raises_on_a_picture_that_browsers_do_not_show(tmp_path):
    (tmp_path / "x.tiff").write_bytes(b"II*\0")
    with pytest.raises(ValueError, match="JPEG and PNG"):
        render_report("t", [ImageSection("i", [Picture(tmp_path / "x.tiff")])])


def write_session(work_dir, name: str, records: list[dict]) -> None:
    folder = work_dir / name / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text("\n".join(map(json.dumps, records)) + '\n{"loss": 1')


def test_state_log_of_a_resumed_run(tmp_path):
    """Killed behind iteration 30, resumed from 20: 30 counts once, with the newer value."""
    write_session(
        tmp_path,
        "20260101_000000",
        [dict(loss=9.0 - i, iter=10 * i, step=10 * i) for i in (1, 2, 3)]
        + [{"knn/top1": 40.0, "step": 20}, {"val/acc": 1.0, "time": 0.1, "step": 1}],
    )
    write_session(
        tmp_path,
        "20260102_000000",
        [dict(loss=5.5, iter=30, step=30), dict(loss=4.0, iter=40, step=40)]
        + [{"knn/top1": 60.0, "step": 40}, {"val/acc": 2.0, "time": 0.1, "step": 2}],
    )
    log = read_log(tmp_path, iters_per_epoch=20)
    assert log.curves["loss"] == [(0.5, 8.0), (1.0, 7.0), (1.5, 5.5), (2.0, 4.0)]
    assert log.curves["knn/top1"] == [(1.0, 40.0), (2.0, 60.0)]
    assert log.curves["val/acc"] == [(1.0, 1.0), (2.0, 2.0)]
    assert "time" not in log.curves and log.last("loss") == 4.0 and log.last("lr") is None
    assert read_log(tmp_path).curves["knn/top1"] == [(20.0, 40.0), (40.0, 60.0)]


def test_state_log_of_a_new_run_in_an_old_folder(tmp_path):
    """What the old run measured later than the new one began is not the new one's."""
    for name, knn in (("20260101_000000", 60.0), ("20260102_000000", 12.0)):
        records = [dict(loss=1.0, iter=i, step=i) for i in (1, 20)]
        steps = (0, 100) if knn == 60.0 else (0, 20)
        records += [
            {"knn/top1": value, "step": s} for s, value in zip(steps, (10.0, knn), strict=True)
        ]
        records += [{"val/acc": knn, "time": 0.1, "step": 1}]
        write_session(tmp_path, name, records)
    log = read_log(tmp_path, iters_per_epoch=20)
    assert log.curves["knn/top1"] == [(0.0, 10.0), (1.0, 12.0)]
    assert log.curves["val/acc"] == [(1.0, 12.0)]


def test_values_charts_take_every_curve_once(tmp_path):
    names = ["loss", "loss_c", "knn/top1", "neck_spread", "neck_rank", "lr", "data_wait", "odd"]
    write_session(
        tmp_path, "a", [dict.fromkeys(names, 1.0 * i) | dict(iter=i, step=i) for i in (1, 2)]
    )
    charts = charts_of(read_log(tmp_path))
    drawn = [series.name for chart in charts for series in chart.series]
    assert sorted(drawn) == sorted(names)
    assert [chart.title for chart in charts[:2]] == ["k-NN accuracy", "Loss"]
    assert [series.name for series in charts[1].series] == ["loss", "loss_c"]


def card(**changes) -> dict:
    """A finished run of 4 epochs."""
    seconds = dict(step=90.0, data=10.0, start=20.0)
    return dict(
        name="care_tiny", method="CARE", state="finished", by_epoch=True, epoch=4, max_epochs=4,
        iter=40, max_iters=40, iters_per_epoch=10, data_wait=10.0, alarms=[], watched="twins",
        sessions=[dict(started="2026-01-01 00:00 UTC", first_iter=0, seconds=seconds)],
    ) | changes  # fmt: skip


def test_values_verdict(tmp_path):
    write_session(tmp_path, "a", [{"knn/top1": 12.0, "step": 0}, {"knn/top1": 63.4, "step": 40}])
    log = read_log(tmp_path, 10)
    text, tone = verdict_of(card(), log)
    assert text == "Finished: 4 of 4 epochs in 2 min 0 s. k-NN top-1 went from 12.0 to 63.4 %."
    assert tone == "good"
    text, tone = verdict_of(card(data_wait=45.0), log)
    assert "45 % of the loop waited for data" in text and tone == "warning"
    alarm = dict(since=5, fault="frozen twin (twin)", detail="...")
    text, tone = verdict_of(card(alarms=[alarm]), log)
    assert text.endswith("1 alarm: frozen twin (twin).") and tone == "bad"
    assert verdict_of(card(state="running", epoch=3), log)[0].startswith("Not finished: 3 of 4")
    ended = card(state="interrupted", ended_by="SIGTERM", epoch=3)
    assert verdict_of(ended, log)[0].startswith("Ended by SIGTERM: 3 of 4")
    assert verdict_of(ended, log)[1] == "warning"
    assert verdict_of({}, log)[0] == "k-NN top-1 went from 12.0 to 63.4 %."


def test_values_correspondence_in_the_report(tmp_path):
    """Hits in per cent in the verdict, hits and pixels in charts of their own, both branches."""
    names = [f"correspondence/{b}_{m}" for b in ("online", "twin") for m in ("accuracy", "error")]
    records = [
        dict(zip(names, row), step=s)
        for s, row in ((0, (0.1, 80, 0.1, 80)), (40, (0.5, 9, 0.75, 5)))
    ]
    write_session(tmp_path, "a", records)
    log = read_log(tmp_path, 10)
    text, _ = verdict_of(card(), log)
    assert "Correspondence online accuracy went from 10.0 to 50.0 %." in text
    assert "Correspondence twin accuracy went from 10.0 to 75.0 %." in text
    charts = {chart.title: [series.name for series in chart.series] for chart in charts_of(log)}
    assert list(charts.values()) == [[names[0], names[2]], [names[1], names[3]]]


def test_values_clusters_in_the_report(tmp_path):
    """One line per level in each chart, figures of one kind together."""
    levels = [
        f"cluster/{name}_l{i}" for name in ("nmi", "used", "phi_min", "phi_max") for i in (0, 1)
    ]
    names = [*levels, "cluster/seconds_embed", "cluster/seconds_kmeans"]
    write_session(tmp_path, "a", [dict(dict.fromkeys(names, 0.5), step=s) for s in (0, 40)])
    charts = {
        chart.title: [series.name for series in chart.series]
        for chart in charts_of(read_log(tmp_path, 10))
    }
    assert charts == {
        "Clusters: agreement with those before": names[:2],
        "Clusters: prototypes with images": names[2:4],
        "Clusters: least and greatest temperature": names[4:8],
        "Clusters: time": names[8:],
    }


def test_state_report_of_a_work_dir(tmp_path):
    """From files alone: card, logs, config, checkpoints; extra sections behind the curves."""
    write_session(
        tmp_path, "20260101_000000", [dict(loss=i / 2, iter=i, step=i) for i in range(1, 9)]
    )
    (tmp_path / "20260101_000000/vis_data/config.py").write_text("model = dict(type='CARE')\n")
    (tmp_path / "epoch_4.pth").write_bytes(b"abc")
    write_card(tmp_path, card(checkpoints=checkpoint_rows(tmp_path)))
    page = write_run_report(tmp_path, extra=[TextSection("Transfer", ["AP 31.2"])]).read_text()
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == [
        "At a glance",
        "Alarms",
        "Curves",
        "Transfer",
        "Time",
        "Checkpoints",
        "Config",
    ]
    # sha256sum of "abc", a published test vector
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" in page
    assert "model = dict(type=&#x27;CARE&#x27;)" in page and "<title>care_tiny</title>" in page


def test_state_digests_are_not_read_twice(tmp_path):
    """A row of a file that did not change is taken over; a changed file is read again."""
    path = tmp_path / "epoch_1.pth"
    path.write_bytes(b"one")
    (row,) = checkpoint_rows(tmp_path)
    assert checkpoint_rows(tmp_path, [row | dict(sha256="known")])[0]["sha256"] == "known"
    path.write_bytes(b"other")
    assert checkpoint_rows(tmp_path, [row | dict(sha256="known")])[0]["sha256"] != "known"


def test_raises_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither run_card.json nor"):
        write_run_report(tmp_path)
    (tmp_path / "run_card.json").write_text('{"schema": 99}')
    with pytest.raises(ValueError, match="no run card of schema 1"):
        read_card(tmp_path)
    for damaged in (b'{"schema": 1', b"\xff\xfe"):
        (tmp_path / "run_card.json").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"run_card\.json is damaged"):
            read_card(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (601, "10 min"),
        (3600, "1 h 0 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_values_duration(seconds, text):
    assert duration(seconds) == text


def test_values_transfer_results_lead_the_report():
    log = RunLog(
        {"coco/bbox_mAP": [(50, 0.1), (100, 0.255)], "mIoU": [(100, 17.2)], "acc": [(1, 9)]}
    )
    verdict, _ = verdict_of({}, log)
    assert "box AP went from 10.0 to 25.5 %." in verdict
    assert "mIoU is 17.2 %." in verdict and "acc" not in verdict
