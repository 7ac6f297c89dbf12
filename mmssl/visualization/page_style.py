"""Style sheet and script of a report; colours follow the reader's light or dark setting."""

from __future__ import annotations

PAGE_STYLE = """
:root{--ink:#1d2330;--soft:#667085;--page:#f6f7f9;--card:#fff;--edge:#e3e6ec;--grid:#eceef2;
--good:#12805c;--warning:#a15c00;--bad:#c0262d;
--line-0:#2f6fde;--line-1:#e07b1a;--line-2:#1f9d74;--line-3:#b4459a;--line-4:#7a63d2;--line-5:#8a8f98}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--page:#12151b;--card:#1a1f27;
--edge:#2b323d;--grid:#262c36;--good:#4cc49a;--warning:#e8a54b;--bad:#ff7a7f;
--line-0:#6ea3ff;--line-1:#f2a154;--line-2:#56cfa4;--line-3:#e08ccb;--line-4:#a795f2;--line-5:#9aa1ad}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,nav,main,footer{max-width:1080px;margin:0 auto;padding:0 24px}
header{padding-top:36px}
h1{font-size:27px;line-height:1.25;margin:0 0 2px;letter-spacing:-.01em;overflow-wrap:anywhere}
header>p{margin:0;color:var(--soft)}
header>.verdict{margin:18px 0 0;padding:12px 16px;color:var(--ink);background:var(--card);
border:1px solid var(--edge);border-left:4px solid var(--line-0);border-radius:8px;font-size:16px}
header>.verdict.good{border-left-color:var(--good)}
header>.verdict.warning{border-left-color:var(--warning)}
header>.verdict.bad{border-left-color:var(--bad)}
nav{padding-top:14px;padding-bottom:2px;display:flex;flex-wrap:wrap;gap:2px 16px;font-size:14px}
nav a{color:var(--soft);text-decoration:none}nav a:hover{color:var(--ink);text-decoration:underline}
section{margin:20px 0;padding:18px 20px 20px;background:var(--card);border:1px solid var(--edge);
border-radius:10px}
h2{font-size:17px;margin:0 0 12px;letter-spacing:-.005em}
p{margin:0 0 8px}small{color:var(--soft);font-weight:400}
.note{color:var(--soft);font-size:13.5px;margin:10px 0 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(144px,1fr));gap:10px}
.tile{padding:9px 12px;border:1px solid var(--edge);border-radius:8px;display:flex;
flex-direction:column}
.tile span{color:var(--soft);font-size:13px}.tile strong{font-size:21px;line-height:1.3;
font-weight:650;font-variant-numeric:tabular-nums}
.tile.good strong{color:var(--good)}.tile.warning strong{color:var(--warning)}
.tile.bad strong{color:var(--bad)}
.text.warning,.text.bad,.text.good{border-left:3px solid var(--warning);padding-left:14px}
.text.bad{border-left-color:var(--bad)}.text.good{border-left-color:var(--good)}
.text p:last-child{margin-bottom:0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:22px 26px}
figure{margin:0;min-width:0}.chart{position:relative;max-width:560px}
.chart figcaption{font-weight:600;font-size:14px;margin-bottom:4px}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font-size:11px;fill:var(--soft);font-variant-numeric:tabular-nums}
.grid{stroke:var(--grid)}.axis{stroke:var(--soft);stroke-opacity:.6}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.guide{stroke:var(--soft);stroke-dasharray:3 3}
.legend{display:flex;flex-wrap:wrap;gap:0 14px;font-size:13px;color:var(--soft);
padding-left:12%}
.legend i{display:inline-block;width:12px;height:3px;border-radius:2px;margin-right:6px;
vertical-align:middle}
.legend b{color:var(--ink);font-weight:600;font-variant-numeric:tabular-nums}
.tip{position:absolute;pointer-events:none;background:var(--card);border:1px solid var(--edge);
border-radius:6px;padding:4px 8px;font-size:12.5px;line-height:1.4;
box-shadow:0 2px 8px rgba(0,0,0,.15);white-space:nowrap;z-index:2}
.picture+.picture{margin-top:18px}.picture img{display:block;max-width:100%;border-radius:6px}
.picture figcaption{color:var(--soft);font-size:13.5px;margin-top:6px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{padding:6px 14px 6px 0;text-align:left;border-bottom:1px solid var(--edge);
vertical-align:top;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:500;font-size:13px}tbody tr:last-child td{border-bottom:0}
.number{text-align:right;font-variant-numeric:tabular-nums}
th:last-child,td:last-child{padding-right:0}
.bar{display:grid;grid-template-columns:minmax(130px,220px) 1fr 92px 62px;gap:12px;
align-items:center;padding:3px 0;font-size:14px}
.bar div{height:10px;background:var(--grid);border-radius:5px;overflow:hidden}
.bar i{display:block;height:100%;min-width:1px;background:var(--line-0);border-radius:5px}
.bar b,.bar em{text-align:right;font-style:normal;font-weight:500;font-variant-numeric:tabular-nums}
.bar em{color:var(--soft)}
summary{cursor:pointer;color:var(--soft)}
pre{margin:10px 0 0;padding:12px 14px;max-height:620px;overflow:auto;background:var(--page);
border:1px solid var(--edge);border-radius:8px;
font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
footer{padding-top:4px;padding-bottom:40px;color:var(--soft);font-size:13px}
@media (max-width:640px){header,nav,main,footer{padding-left:14px;padding-right:14px}
.bar{grid-template-columns:1fr 80px 56px}.bar div{grid-row:2;grid-column:1/-1}}
@media print{body{background:#fff}nav{display:none}section{break-inside:avoid}}
"""

PAGE_SCRIPT = """
for (const svg of document.querySelectorAll('.chart svg')) {
  const box = svg.viewBox.baseVal, figure = svg.parentNode;
  const lines = [...svg.querySelectorAll('.line')].map(path => ({
    name: path.dataset.name, colour: path.style.stroke,
    points: path.dataset.values.split(' ').filter(Boolean).map(p => p.split(',').map(Number))}));
  const tip = document.createElement('div');
  const guide = document.createElementNS('http://www.w3.org/2000/svg', 'line');
  tip.className = 'tip'; tip.hidden = true; figure.append(tip);
  guide.setAttribute('class', 'guide'); guide.setAttribute('y1', 10);
  guide.setAttribute('y2', box.height - 34); guide.style.display = 'none'; svg.append(guide);
  svg.addEventListener('pointermove', event => {
    const area = svg.getBoundingClientRect();
    const at = (event.clientX - area.left) / area.width * box.width;
    const near = lines.filter(l => l.points.length).map(l => [l, l.points.reduce((a, b) =>
      Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)]);
    if (!near.length) return;
    const x = near[0][1][0];
    guide.setAttribute('x1', x); guide.setAttribute('x2', x); guide.style.display = '';
    tip.replaceChildren(svg.dataset.xlabel + ' ' + near[0][1][2]);
    for (const [line, point] of near) {
      const row = document.createElement('div');
      row.textContent = line.name + '  ' + point[3]; row.style.color = line.colour; tip.append(row);
    }
    tip.hidden = false;
    const left = x / box.width * area.width;
    tip.style.top = svg.offsetTop + 14 + 'px';
    tip.style.left = Math.max(0, Math.min(left + 12, area.width - tip.offsetWidth)) + 'px';
  });
  svg.addEventListener('pointerleave', () => { tip.hidden = true; guide.style.display = 'none'; });
}
"""
