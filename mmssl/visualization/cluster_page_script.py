"""Style and script of the page of a clustering; see `cluster_page`."""

from __future__ import annotations

CLUSTER_STYLE = """
main{padding-bottom:20px}button,input,select{font:inherit;color:inherit}
.tabs{display:flex;flex-wrap:wrap;gap:6px;margin-bottom:12px}
.tabs button{padding:5px 12px;border:1px solid var(--edge);border-radius:7px;background:none;cursor:pointer}
.tabs button[aria-selected=true]{background:var(--line-0);border-color:var(--line-0);color:#fff}
.tools{display:flex;flex-wrap:wrap;gap:8px 16px;align-items:end;font-size:13.5px;color:var(--soft)}
.tools label{display:flex;flex-direction:column}
.tools input,.tools select{width:112px;padding:4px 7px;background:var(--page);border:1px solid var(--edge);
border-radius:6px;color:var(--ink)}.tools .wide{width:190px}
.tools select{width:132px}
.count{margin:12px 0 4px;color:var(--soft);font-size:13.5px}
.proto{border-top:1px solid var(--edge);padding:9px 0}
.proto>.head{display:flex;flex-wrap:wrap;gap:2px 12px;align-items:baseline;font-size:14px}
.fold{border:0;background:none;padding:2px 6px 2px 0;cursor:pointer;font-weight:650}
.fold::before{content:"\\25b8";display:inline-block;width:17px;color:var(--soft)}
.fold[aria-expanded=true]::before{content:"\\25be"}
.head span{color:var(--soft);font-variant-numeric:tabular-nums}.head a,.plain{color:var(--line-0)}
.badge{border:1px solid var(--edge);border-radius:9px;padding:0 8px;font-size:12.5px}
.strip{display:flex;flex-wrap:wrap;gap:6px;margin:6px 0 2px 23px;padding:0;list-style:none}
.shot{display:block;position:relative;text-decoration:none;color:var(--soft);font-size:11.5px;line-height:1.3;
width:calc(var(--side) + 6px);overflow-wrap:anywhere}
.shot img,.shot .blank{display:block;width:calc(var(--side) + 6px);height:calc(var(--side) + 6px);
border:3px solid transparent;border-radius:6px;background:var(--grid)}
.shot .blank{padding:3px;overflow:hidden;font-size:10.5px}
.shot.away img,.shot.away .blank{border:2px dashed var(--soft);opacity:.62}
.shot.same img,.shot.same .blank{border-color:var(--good)}
.shot.other img,.shot.other .blank{border-color:var(--bad)}
.shot:focus-visible,.fold:focus-visible,.tabs button:focus-visible,.more:focus-visible{
outline:2px solid var(--line-0);outline-offset:2px;border-radius:6px}
.inside{margin:8px 0 4px 23px;padding-left:14px;border-left:2px solid var(--edge)}
.inside>.bars{max-width:640px;margin:4px 0 12px}
.inside h4,#path h3,#queries h3{font-size:14px;margin:8px 0 2px}
.more{margin:8px 0;padding:4px 12px;border:1px solid var(--edge);border-radius:7px;background:none;
cursor:pointer}
dialog{width:min(920px,94vw);max-height:88vh;overflow:auto;color:var(--ink);background:var(--card);
border:1px solid var(--edge);border-radius:12px;padding:18px 22px}
dialog::backdrop{background:rgba(0,0,0,.45)}dialog h2{margin-right:70px}
dialog .strip{margin-left:0}dialog .close{position:absolute;right:18px;top:14px}
.query{border-top:1px solid var(--edge);padding:10px 0}.query:first-child{border-top:0}
.query .strip{margin-left:0}
"""

# What the data hold is in `cluster_page.page_data`. All text goes in as text, never as HTML.
CLUSTER_SCRIPT = """
(() => {
const block = document.getElementById('cluster-data');
if (!block) return;
const {tree, side, levels, images, classes, queries} = JSON.parse(block.textContent);
const ROWS = 40, BARS = 6, place = new Map(images.position.map((position, at) => [position, at]));
const root = document.getElementById('clusters'), dialog = document.getElementById('path');
document.documentElement.style.setProperty('--side', side + 'px');
const children = levels.map(level => level.members.map(() => []));
if (tree) levels.slice(0, -1).forEach((level, l) =>
  level.parent.forEach((up, j) => children[l + 1][up].push(j)));
levels.forEach((_, l) => children[l].forEach(row => row.sort((a, b) =>
  levels[l - 1].members[b] - levels[l - 1].members[a] || a - b)));

function make(name, about = {}, ...inside) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(about))
    if (value === true) node.setAttribute(key, ''); else if (value !== false && value != null)
      node.setAttribute(key, value);
  node.append(...inside.filter(part => part != null));
  return node;
}
const number = value => value.toLocaleString('en');
const plural = (count, word, words) => number(count) + ' ' + (count === 1 ? word : words || word + 's');
const classOf = at => images.label && images.label[at] >= 0 ? classes[images.label[at]] : null;
const nameOf = at => images.file[at] + (classOf(at) === null ? '' : ', ' + classOf(at));
const address = (l, j) => '#prototype=' + l + '/' + j;

function shot(at, text, kind) {
  const link = make('a', {class: 'shot ' + (kind || ''), href: '#image=' + images.position[at],
    title: nameOf(at) + (text ? ', ' + text : '')});
  const jpeg = images.jpeg[at];
  const source = 'data:image/jpeg;base64,' + images.jpeg_head + jpeg;
  link.append(jpeg !== null ? make('img', {alt: nameOf(at), loading: 'lazy', src: source})
    : make('span', {class: 'blank'}, images.file[at]));
  if (text) link.append(text);
  return make('li', {}, link);
}
const strip = shots => make('ul', {class: 'strip'}, ...shots);
function nearest(l, j, captions) {
  return strip(levels[l].nearest[j].map((at, rank) => shot(at, captions ? levels[l].cosine[j][rank].toFixed(2)
    : '', images.prototypes[l][at] === j ? '' : 'away')));
}
function inPieces(box, items, draw, size = ROWS) {
  let shown = 0;
  const more = make('button', {class: 'more', type: 'button'});
  const step = () => {
    more.remove();
    box.append(...items.slice(shown, shown + size).map(draw));
    shown = Math.min(shown + size, items.length);
    if (shown < items.length) {
      const next = Math.min(size, items.length - shown);
      more.textContent = 'Show ' + number(next) + ' more of ' + number(items.length);
      box.append(more);
    }
  };
  more.addEventListener('click', step);
  step();
}
function histogram(l, j) {
  const level = levels[l], whole = level.known[j];
  const bars = make('div', {class: 'bars'});
  const rows = level.classes[j].map(([label, count]) => [classes[label], count]);
  const rest = whole - rows.reduce((sum, row) => sum + row[1], 0);
  if (rest > 0) rows.push(['other classes', rest]);
  inPieces(bars, rows, ([name, count]) => {
    const share = 100 * count / whole;
    const bar = make('i', {style: 'width:' + share.toFixed(2) + '%'});
    return make('div', {class: 'bar'}, make('span', {}, name), make('div', {}, bar),
      make('b', {}, number(count)), make('em', {}, share.toFixed(1) + ' %'));
  }, BARS);
  return bars;
}
function purity(l, j) {
  const top = levels[l].classes && levels[l].classes[j][0];
  return top ? top[1] / levels[l].known[j] : null;
}
function fill(box, l, j) {
  const level = levels[l];
  if (level.classes && level.classes[j].length)
    box.append(make('h4', {}, 'Classes of its images'), histogram(l, j));
  if (children[l][j].length) {
    box.append(make('h4', {}, plural(children[l][j].length, 'child', 'children') + ' on level ' + (l - 1)));
    inPieces(box, children[l][j], child => prototype(l - 1, child));
  } else if (level.listed[j].length) {
    const some = level.listed[j].length < level.members[j];
    const title = some ? level.listed[j].length + ' of its ' + number(level.members[j]) + ' images'
      : 'Its ' + plural(level.members[j], 'image');
    box.append(make('h4', {}, title), strip(level.listed[j].map(at => shot(at))));
  } else if (level.members[j] === 0) {
    box.append(make('p', {class: 'note'}, 'No image belongs to this prototype' +
      (tree && l ? ', and no prototype of level ' + (l - 1) : '') +
      '. It still counts among the candidates for negatives.'));
  }
}
function prototype(l, j, open = false) {
  const level = levels[l], pure = purity(l, j);
  const inside = make('div', {class: 'inside', hidden: true});
  const fold = make('button', {class: 'fold', type: 'button', 'aria-expanded': 'false'},
    'Prototype ' + l + '/' + j);
  const toggle = () => {
    inside.hidden = !inside.hidden;
    fold.setAttribute('aria-expanded', String(!inside.hidden));
    if (!inside.hidden && !inside.hasChildNodes()) fill(inside, l, j);
  };
  fold.addEventListener('click', toggle);
  const facts = [level.members[j] ? plural(level.members[j], 'image') : null,
    tree && l && children[l][j].length ? plural(children[l][j].length, 'child', 'children') : null,
    'phi ' + level.density[j].toFixed(3),
    pure === null ? null : Math.round(100 * pure) + ' % ' + classes[level.classes[j][0][0]]];
  const head = make('div', {class: 'head'}, fold,
    ...facts.filter(Boolean).map(fact => make('span', {}, fact)),
    level.members[j] ? null : make('span', {class: 'badge'}, 'empty'));
  if (level.parent) head.append(make('a', {href: address(l + 1, level.parent[j])},
    'up to ' + (l + 1) + '/' + level.parent[j]));
  const row = make('article', {class: 'proto', 'data-prototype': l + '/' + j}, head, nearest(l, j), inside);
  if (open) toggle();
  return row;
}

const state = {level: tree ? levels.length - 1 : 0, only: null};
const order = [...levels.keys()];
if (tree) order.reverse();
const tabs = make('div', {class: 'tabs', role: 'tablist', 'aria-label': 'Levels'});
for (const l of order) {
  const ends = tree && levels.length > 1 ? {0: ', finest', [levels.length - 1]: ', coarsest'} : {};
  const tab = make('button', {type: 'button', role: 'tab', 'data-level': l, id: 'tab-' + l,
    'aria-controls': 'list'}, 'Level ' + l + (ends[l] || '') + ' (' + number(levels[l].members.length) + ')');
  tab.addEventListener('click', () => { state.level = l; state.only = null; forget(); list(); });
  tabs.append(tab);
}
tabs.addEventListener('keydown', event => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!step) return;
  const next = order[(order.indexOf(state.level) + step + order.length) % order.length];
  const tab = document.getElementById('tab-' + next);
  tab.click(); tab.focus();
});
const field = (name, about, label) => make('label', {}, label, make('input', {id: name, ...about}));
const sort = make('select', {id: 'sort'}, make('option', {value: 'members'}, 'most images'),
  make('option', {value: 'fewest'}, 'fewest images'), make('option', {value: 'number'}, 'number'),
  make('option', {value: 'density'}, 'lowest phi'),
  images.label ? make('option', {value: 'purity'}, 'purest') : null,
  images.label ? make('option', {value: 'mixed'}, 'most mixed') : null);
const tools = make('div', {class: 'tools'},
  field('least', {type: 'number', min: 0, placeholder: 'any'}, 'images, at least'),
  field('most', {type: 'number', min: 0, placeholder: 'any'}, 'images, at most'),
  images.label ? field('class', {type: 'search', class: 'wide', placeholder: 'part of a name'},
    'class among its images') : null,
  field('which', {type: 'number', min: 0, placeholder: 'any'}, 'number'),
  make('label', {}, 'order', sort));
const count = make('p', {class: 'count', role: 'status'});
const box = make('div', {id: 'list', role: 'tabpanel'});
const note = make('p', {class: 'note'}, 'Pictures are the nearest of all images; a dashed frame marks ' +
  'those that belong to another prototype. Click one for its path.');
root.append(tabs, tools, note, count, box);
const input = name => document.getElementById(name)?.value.trim() ?? '';
tools.addEventListener('input', () => { state.only = null; forget(); list(); });

function chosen() {
  const level = levels[state.level], all = [...level.members.keys()];
  if (state.only !== null) return [state.only];
  const least = input('least') === '' ? -Infinity : +input('least');
  const most = input('most') === '' ? Infinity : +input('most');
  const text = input('class').toLowerCase(), which = input('which');
  const named = Object.keys(classes).filter(label => classes[label].toLowerCase().includes(text));
  const fits = new Set(named.map(Number));
  const found = all.filter(j => level.members[j] >= least && level.members[j] <= most &&
    (which === '' || j === +which) && (!text || level.classes[j].some(([label]) => fits.has(label))));
  const pure = j => purity(state.level, j) ?? -1, mixed = j => purity(state.level, j) ?? 2;
  const key = {members: j => -level.members[j], fewest: j => level.members[j], number: j => j,
    density: j => level.density[j], purity: j => -pure(j), mixed}[sort.value];
  return found.sort((a, b) => key(a) - key(b) || a - b);
}
function list() {
  const found = chosen(), total = levels[state.level].members.length;
  const empty = levels[state.level].members.filter(size => size === 0).length;
  for (const tab of tabs.children) {
    const active = +tab.dataset.level === state.level;
    tab.setAttribute('aria-selected', String(active));
    tab.tabIndex = active ? 0 : -1;
  }
  box.setAttribute('aria-labelledby', 'tab-' + state.level);
  count.replaceChildren(number(found.length) + ' of ' + plural(total, 'prototype') + ' of level ' +
    state.level + (empty ? ', which has ' + number(empty) + ' empty' : '') + '. ');
  if (state.only !== null) {
    const all = make('button', {class: 'more', type: 'button'}, 'Show all');
    all.addEventListener('click', () => { state.only = null; forget(); list(); });
    count.append(all);
  }
  box.replaceChildren();
  inPieces(box, found, j => prototype(state.level, j, state.only !== null));
}

let last = '';
// The address must not name what is no longer shown; this changes it without scrolling.
function forget() { last = ''; history.replaceState(null, '', location.pathname + location.search); }
function showPath(at) {
  const close = make('button', {class: 'more close', type: 'button'}, 'Close');
  close.addEventListener('click', () => { dialog.close(); leave(); });
  dialog.replaceChildren(close, make('h2', {id: 'path-title'}, 'Path of image ' + images.position[at]),
    strip([shot(at)]), make('p', {}, nameOf(at)));
  levels.forEach((level, l) => {
    const j = images.prototypes[l][at];
    dialog.append(make('h3', {}, make('a', {class: 'plain', href: address(l, j)}, 'Prototype ' + l + '/' + j),
      ', ' + plural(level.members[j], 'image')), nearest(l, j, true));
  });
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}
// Escape closes without the button; `close` may come so late that it belongs to an image before.
dialog.addEventListener('cancel', leave);
function leave() {
  if (!location.hash.startsWith('#image=')) return;
  history.replaceState(null, '', last || location.pathname + location.search);
}
function route() {
  const [, kind, where] = location.hash.match(/^#(image|prototype)=([0-9/]+)$/) || [];
  if (kind === 'image') {
    if (place.has(+where)) showPath(place.get(+where));
    return;
  }
  if (dialog.open) dialog.close();
  if (kind !== 'prototype') return;
  const [l, j] = where.split('/').map(Number);
  if (!levels[l] || !(j < levels[l].members.length)) return;
  last = location.hash;
  state.level = l; state.only = j;
  list();
  root.scrollIntoView();
}

const relation = {true: ['same', 'same class'], false: ['other', 'other class'], null: ['', '']};
const asked = document.getElementById('queries');
for (const query of queries) {
  const part = make('div', {class: 'query'}, make('h3', {}, 'Image ' + images.position[query.image]),
    strip([shot(query.image)]), make('p', {}, nameOf(query.image)));
  query.levels.forEach((level, l) => {
    const keys = level.keys.map(([at, probability, same]) => {
      const [kind, word] = at === query.image ? ['same', 'itself'] : relation[same];
      const p = probability < .01 ? '< 0.01' : probability.toFixed(2);
      return shot(at, 'p ' + p + (word ? ', ' + word : ''), kind);
    });
    part.append(make('h3', {}, 'Level ' + l), make('p', {}, level.text + '.'), strip(keys));
  });
  asked.append(part);
}
list();
addEventListener('hashchange', route);
route();
})();
"""
