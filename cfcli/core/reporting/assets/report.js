"use strict";
// The map of items, the search and the walk from neighbour to neighbour. Titles only ever become text nodes.
const runs = JSON.parse(document.getElementById("items").textContent);
const by = (id) => document.getElementById(id);
const canvas = by("canvas"), context = canvas.getContext("2d");
const search = by("search"), hits = by("hits"), tip = by("tip"), slider = by("least");
const HITS = 8, REACH = 14;  // items listed, and pixels from which a dot is hit
const FEWEST = 20;  // items that the slider leaves on the map
const NAMED = 4;  // zoom from which on titles take the place of the names of regions

for (const run of runs) {
  run.place = new Map(run.id.map((id, k) => [id, k]));
  run.label = run.id.map((id, k) => (run.title && run.title[k]) || id);
  run.words = run.label.map(spellings);
  run.drawn = run.genres ? run.genres.map((genres) => genres.split("|")) : null;
}
let run = runs[0], chosen = null, genre = null;
let shown = run.id.length;  // the slider hides items from here on: those with most ratings come first
let view = { scale: 1, x: 0, y: 0 };  // pixels = place * scale + offset
let seen = null;  // the size of the map, and the view that shows all of it

/** The ways to write a title: "Godfather, The (1972)" is also found as "the godfather". */
function spellings(title) {
  const small = title.toLowerCase(), year = small.match(/^(.*?)(\s*\(\d{4}\)\s*)$/);
  const name = year ? year[1] : small, turned = name.match(/^(.+), (the|a|an)$/);
  return [small, name, ...(turned ? [`${turned[2]} ${turned[1]}`] : [])];
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const whole = (number) => number.toLocaleString("en");
const counts = (of, k) => `${whole(of.n[k])} training ratings, mean ${of.mean[k].toFixed(2)}`;

function neighbours(of, k) {
  const pairs = [];
  for (let j = 0; j < of.near[k].length; j += 2) pairs.push([of.near[k][j], of.near[k][j + 1] / 1000]);
  return pairs;
}

// ---- the map: where things are ----

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const across = (k) => run.x[k] * view.scale + view.x, down = (k) => run.y[k] * -view.scale + view.y;
const has = (k) => genre === null || run.drawn[k].includes(genre);
const zoom = () => view.scale / fit().scale;
const radius = (k) => (1.4 + 6 * Math.sqrt(run.n[k] / run.n[0])) * Math.min(1.8, 0.8 + zoom() / 5) *
  Math.min(1, 0.4 + canvas.clientWidth / 1000);
const here = () => chosen === null ? undefined : run.place.get(chosen);

function fit() {
  const margin = 28, width = canvas.clientWidth - 2 * margin, height = canvas.clientHeight - 2 * margin;
  let right = 1, top = 1;
  for (const x of run.x) right = Math.max(right, x);
  for (const y of run.y) top = Math.max(top, y);
  const scale = Math.min(width / right, height / top);
  return { scale, x: margin + (width - right * scale) / 2, y: margin + height - (height - top * scale) / 2 };
}

function inside(k, edge) {
  const x = across(k), y = down(k);
  return x > edge && x < canvas.clientWidth - edge && y > edge && y < canvas.clientHeight - edge;
}

// ---- the map: drawing ----

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; paint(); });
}

function paint() {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const at = here(), near = at === undefined ? [] : neighbours(run, at).map(([k]) => k);
  const dots = run.legend.map((_, k) => colour(`--g${k}`)), muted = colour("--muted");
  const dot = (k, alpha) => {
    context.globalAlpha = alpha;
    context.fillStyle = run.colour[k] < 0 ? muted : dots[run.colour[k]];
    context.beginPath();
    context.arc(across(k), down(k), radius(k), 0, 7);
    context.fill();
  };
  for (let k = shown - 1; k >= 0; k--) {  // items with most ratings on top
    if (inside(k, -9)) dot(k, !has(k) ? 0.05 : at === undefined ? 0.75 : 0.15);
  }
  if (at !== undefined) {
    for (const k of near) line(at, k);
    for (const k of [...near, at]) { dot(k, 1); ring(k, k === at ? 3 : 1.5); }
  }
  context.globalAlpha = 1;
  names(at, near);
  if (canvas.matches(":focus-visible")) cross(width / 2, height / 2);
}

function line(from, to) {
  context.globalAlpha = 0.45;
  context.strokeStyle = colour("--ink");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(across(from), down(from));
  context.lineTo(across(to), down(to));
  context.stroke();
}

function ring(k, width) {
  context.strokeStyle = colour("--ink");
  context.lineWidth = width;
  context.beginPath();
  context.arc(across(k), down(k), radius(k) + width, 0, 7);
  context.stroke();
}

/** Where the key Enter looks for an item. */
function cross(x, y) {
  context.strokeStyle = colour("--ink");
  context.lineWidth = 1.5;
  context.strokeRect(x - 7, y - 7, 14, 14);
}

/** Writes the names of the chosen item and its neighbours, of regions, and of as many items as there is room for:
    none covers another. */
function names(at, near) {
  const width = canvas.clientWidth, height = canvas.clientHeight, boxes = [];
  const write = (text, font, lefts, y, size) => {
    context.font = `${font} ${size}px system-ui, sans-serif`;
    const wide = context.measureText(text).width;
    const left = lefts(wide).find((begin) => begin > 2 && begin + wide < width - 2 && y > size && y < height - 4 &&
      !boxes.some((box) => box.left < begin + wide + 4 && box.right > begin - 4 && Math.abs(box.y - y) < (box.size + size) * 0.65));
    if (left === undefined) return false;
    boxes.push({ left, right: left + wide, y, size });
    context.strokeText(text, left, y + size / 3);
    context.fillText(text, left, y + size / 3);
    return true;
  };
  const letters = Math.min(34, Math.floor(width / 14));
  const cut = (text) => text.length > letters ? text.slice(0, letters - 1) + "…" : text;
  const beside = (k, font, size) => {  // its dot
    const away = radius(k) + 4;
    return write(cut(run.label[k]), font, (wide) => [across(k) + away, across(k) - away - wide], down(k), size);
  };
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeStyle = colour("--card");
  context.fillStyle = colour("--ink");
  if (at !== undefined) beside(at, "bold", 14);
  for (const k of near) if (inside(k, 0)) beside(k, "500", 12);
  if (at === undefined && zoom() < NAMED) {
    for (const region of run.regions) {
      const x = region.x * view.scale + view.x, y = region.y * -view.scale + view.y;
      write(region.name, "bold", (wide) => [x - wide / 2], y, width < 500 ? 13 : 15);
    }
  }
  context.fillStyle = at === undefined ? colour("--ink") : colour("--faint");
  let left = Math.min(30, width * height / 20000) * (at === undefined ? Math.min(2, zoom()) : 0.5);
  for (let k = 0; k < shown && left > 0; k++) {
    if (k !== at && !near.includes(k) && has(k) && inside(k, 8) && beside(k, "", 11)) left--;
  }
}

// ---- the map: moving ----

function zoomBy(factor, x, y) {
  const scale = Math.min(Math.max(view.scale * factor, fit().scale * 0.7), fit().scale * 200), real = scale / view.scale;
  view = { scale, x: x - (x - view.x) * real, y: y - (y - view.y) * real };
  draw();
}
const zoomMiddle = (factor) => zoomBy(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);
function moveBy(x, y) { view.x += x; view.y += y; draw(); }
function showAll() { view = fit(); draw(); }
function look(x, y, scale) {
  view = { scale, x: canvas.clientWidth / 2 - x * scale, y: canvas.clientHeight / 2 + y * scale };
  draw();
}

/** Brings an item into view, with most of its neighbours: a single one may be far away. */
function reveal(k) {
  const away = (j) => Math.hypot(run.x[j] - run.x[k], run.y[j] - run.y[k]);
  const all = neighbours(run, k).map(([j]) => j).sort((a, b) => away(a) - away(b));
  const near = [k, ...all.slice(0, Math.ceil(all.length * 0.7))], least = fit().scale;
  const box = (places) => { const found = near.map((j) => places[j]); return [Math.min(...found), Math.max(...found)]; };
  const [left, right] = box(run.x), [low, high] = box(run.y);
  const room = 0.7 * Math.min(canvas.clientWidth / (right - left || 1), canvas.clientHeight / (high - low || 1));
  look((left + right) / 2, (low + high) / 2, Math.min(Math.max(room, least), least * 10));
}

/** Keeps the middle of the map in the middle, at the same zoom, on a screen or paper of another size. */
function resized() {
  const width = canvas.clientWidth, height = canvas.clientHeight, all = fit();
  if (seen) {
    const real = all.scale / seen.scale;
    view = {
      scale: view.scale * real, x: width / 2 - (seen.width / 2 - view.x) * real,
      y: height / 2 - (seen.height / 2 - view.y) * real,
    };
  } else view = all;
  seen = { width, height, scale: all.scale };
  paint();
}

function nearest(x, y, reach) {
  let best = -1, least = reach * reach;
  for (let k = 0; k < shown; k++) {
    const distance = (across(k) - x) ** 2 + (down(k) - y) ** 2;
    if (distance < least && has(k)) { least = distance; best = k; }
  }
  return best;
}

function hover(event) {
  const over = nearest(event.offsetX, event.offsetY, REACH);
  tip.hidden = over < 0;
  canvas.style.cursor = over < 0 ? "grab" : "pointer";
  if (over < 0) return;
  tip.replaceChildren(element("strong", {}, run.label[over]), element("br"), counts(run, over));
  const { offsetX: x, offsetY: y } = event, below = y + 16 + tip.offsetHeight <= canvas.clientHeight;
  tip.style.left = `${Math.max(4, Math.min(x + 12, canvas.clientWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${below ? y + 16 : y - tip.offsetHeight - 8}px`;
}

const pointers = new Map();
let moved = 0;
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, event);
  moved = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) { if (event.pointerType === "mouse") hover(event); return; }
  const others = [...pointers.values()].filter((p) => p.pointerId !== event.pointerId);
  moved += Math.abs(event.offsetX - before.offsetX) + Math.abs(event.offsetY - before.offsetY);
  if (others.length) {  // two fingers: move and zoom about the other one
    const o = others[0], length = (p) => Math.hypot(p.offsetX - o.offsetX, p.offsetY - o.offsetY) || 1;
    zoomBy(length(event) / length(before), o.offsetX, o.offsetY);
  } else if (moved > 3) moveBy(event.offsetX - before.offsetX, event.offsetY - before.offsetY);
  pointers.set(event.pointerId, event);
  tip.hidden = true;
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    const single = pointers.size === 1;
    pointers.delete(event.pointerId);
    if (name === "pointercancel" || moved > 6 || !single) return;
    const k = nearest(event.offsetX, event.offsetY, REACH);
    go(k < 0 ? null : run.id[k]);
  });
}
canvas.addEventListener("pointerleave", () => { tip.hidden = true; by("hint").hidden = true; });
canvas.addEventListener("wheel", (event) => {  // it moves the page until the map has been clicked
  const active = document.activeElement === canvas || event.ctrlKey;
  by("hint").hidden = active;
  if (!active) return;
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), event.offsetX, event.offsetY);
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = 60, middle = () => nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity), keys = {
    ArrowLeft: () => moveBy(step, 0), ArrowRight: () => moveBy(-step, 0), ArrowUp: () => moveBy(0, step),
    ArrowDown: () => moveBy(0, -step), "+": () => zoomMiddle(1.5), "=": () => zoomMiddle(1.5), "-": () => zoomMiddle(1 / 1.5),
    0: showAll, Enter: () => { const k = middle(); if (k >= 0) go(run.id[k]); },
    Escape: () => { tip.hidden = true; if (chosen === null) canvas.blur(); else go(null); },
  };
  if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  keys[event.key]();
});
for (const name of ["focus", "blur"]) canvas.addEventListener(name, draw);
by("in").addEventListener("click", () => zoomMiddle(1.5));
by("out").addEventListener("click", () => zoomMiddle(1 / 1.5));
by("all").addEventListener("click", showAll);
new ResizeObserver(resized).observe(canvas);
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", resized);
addEventListener("beforeprint", resized);

// ---- the panel: regions, or an item and its neighbours ----

/** Shows an item, or the regions for null, and sets the address, so that the browser's Back button works. The event of
    the address comes late, so the item is shown at once. */
function go(id) {
  if (id === null && chosen === null) return;
  location.hash = `#item=${encodeURIComponent(id ?? "")}`;
  show(id);
}

/** A button of a list: a text, a number behind it, and more below. */
function entry(text, number, label, more, action) {
  const button = element("button", { type: "button", "aria-label": label, title: label }, element("span", {}, text),
    element("span", {}, number), more);
  button.addEventListener("click", action);
  return element("li", {}, button);
}

function show(id) {
  chosen = id;
  const walked = by("about").contains(document.activeElement), at = here();
  const known = id === null ? null : at === undefined ? runs.find((one) => one.place.has(id)) : run;
  if (id !== null && !known) return;
  if (known) showItem(known, known.place.get(id));
  else showRegions();
  if (walked) by("chosen").focus();  // the button that had the focus is gone
  if (at !== undefined) reveal(at);
  draw();
}

function showRegions() {
  by("chosen").textContent = run.regions.length ? "Regions" : "No item chosen";
  const list = element("ol");
  for (const region of run.regions) {
    const examples = region.examples.map((k) => run.label[k]).join(", ");
    const label = `${region.name}, ${whole(region.items)} items, such as ${examples}`;
    list.append(entry(region.name, whole(region.items), label, element("small", {}, examples),
      () => look(region.x, region.y, fit().scale * NAMED)));
  }
  by("about").replaceChildren(element("p", { class: "small ask" }, "Search for an item, or click one on the map."), list);
}

function showItem(known, k) {
  by("chosen").textContent = known.label[k];
  const lines = [`id ${known.id[k]}`, counts(known, k)], panel = element("div");
  if (known.genres && known.genres[k]) lines.unshift(known.genres[k].split("|").join(", "));
  panel.append(...lines.map((text) => element("p", { class: "small" }, text)));
  for (const one of runs) {
    const place = one.place.get(known.id[k]), list = element("ol");
    panel.append(element("h4", {}, runs.length > 1 ? `Nearest, by ${one.name}` : "Nearest"));
    if (place === undefined) { panel.append(element("p", { class: "small" }, "not on this run's map")); continue; }
    for (const [other, similarity] of neighbours(one, place)) {
      const label = `${one.label[other]}, similarity ${similarity.toFixed(2)}, ${counts(one, other)}`, bar = element("i");
      bar.style.width = `${100 * similarity}%`;
      list.append(entry(one.label[other], similarity.toFixed(2), label, bar, () => go(one.id[other])));
    }
    panel.append(list.children.length ? list : element("p", { class: "small" }, "No other item is like it."));
  }
  const back = element("button", { type: "button" }, "Back to the regions");
  back.addEventListener("click", () => { go(null); showAll(); });
  panel.append(element("p", {}, back));
  by("about").replaceChildren(...panel.children);
}

function follow() {
  const found = location.hash.match(/^#item=(.*)$/), id = found && found[1] ? decodeURIComponent(found[1]) : null;
  if (id !== chosen) show(id);
}
addEventListener("hashchange", follow);

// ---- the search ----

let found = [], active = -1;
function find(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const exact = [], rest = [];
  for (let k = 0; k < run.id.length; k++) {  // items with most ratings come first
    if (run.id[k] === wanted || run.words[k].slice(1).includes(wanted) || run.words[k][0] === wanted) exact.push(k);
    else if (rest.length < HITS && run.words[k].some((word) => word.includes(wanted))) rest.push(k);
  }
  return [...exact, ...rest].slice(0, HITS);
}

function list() {
  active = found.length ? Math.max(0, Math.min(active, found.length - 1)) : -1;
  hits.replaceChildren(...found.map((k, place) => {
    const item = element("li", { role: "option", id: `hit${place}`, "aria-selected": String(place === active) },
      run.label[k], element("span", { class: "small" }, ` ${whole(run.n[k])} ratings`));
    item.addEventListener("pointerdown", (event) => { event.preventDefault(); take(place); });
    return item;
  }));
  if (!found.length && search.value.trim()) hits.append(element("li", { role: "option", "aria-disabled": "true" }, "nothing found"));
  hits.hidden = !search.value.trim();
  search.setAttribute("aria-expanded", String(!hits.hidden));
  if (active >= 0) search.setAttribute("aria-activedescendant", `hit${active}`);
  else search.removeAttribute("aria-activedescendant");
}
function close() { hits.hidden = true; search.setAttribute("aria-expanded", "false"); }
function take(place) {
  const k = found[place];
  if (k === undefined) return;
  search.value = run.label[k];
  close();
  go(run.id[k]);
}
search.addEventListener("input", () => { active = 0; found = find(search.value); list(); });
search.addEventListener("focus", () => { if (search.value) { found = find(search.value); list(); } });
search.addEventListener("blur", close);
search.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    active += event.key === "ArrowDown" ? 1 : -1;
    list();
    const at = by(`hit${active}`);
    if (at) at.scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter") take(active);
  else if (event.key === "Escape") close();
});

// ---- what is shown: ratings, genres, and which run ----

/** The least numbers of ratings that the slider stands for: 1, 2, 5, 10, ... */
function bounds() {
  const most = run.n[Math.min(FEWEST, run.n.length) - 1] || 1, numbers = [];
  for (let power = 1; power <= most; power *= 10) numbers.push(power, 2 * power, 5 * power);
  return numbers.filter((number) => number <= most);
}

function hide() {
  const least = bounds()[Number(slider.value)] || 1, first = run.n.findIndex((n) => n < least);
  shown = first < 0 ? run.n.length : first;
  const text = least > 1 ? `${whole(shown)} with ${whole(least)} or more ratings` : `all ${whole(shown)}`;
  by("kept").textContent = text;
  slider.setAttribute("aria-valuetext", text);
  draw();
}
slider.addEventListener("input", hide);

function legend() {
  by("legend").replaceChildren(...run.legend.map((name, k) => {
    const dot = element("i");
    dot.style.background = `var(--g${k})`;
    const button = element("button", { type: "button", "aria-pressed": String(genre === name) }, dot, name);
    button.addEventListener("click", () => { genre = genre === name ? null : name; legend(); draw(); });
    return button;
  }));
}

function begin() {
  genre = null;
  slider.max = bounds().length - 1;
  legend();
  hide();
  show(chosen);
}
if (by("which")) {
  by("which").addEventListener("change", (event) => {
    run = runs[Number(event.target.value)];
    view = fit();
    begin();
  });
}
resized();
begin();
follow();
