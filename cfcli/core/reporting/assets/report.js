"use strict";
// The map of items, the search and the walk from neighbour to neighbour. Titles only ever become text nodes.
const runs = JSON.parse(document.getElementById("items").textContent);
const by = (id) => document.getElementById(id);
const canvas = by("canvas"), context = canvas.getContext("2d");
const search = by("search"), hits = by("hits"), tip = by("tip");
const HITS = 8, REACH = 14;  // items listed, and pixels from which a dot is hit

for (const run of runs) {
  run.place = new Map(run.id.map((id, k) => [id, k]));
  run.label = run.id.map((id, k) => (run.title && run.title[k]) || id);
  run.words = run.label.map(spellings);
  run.drawn = run.genres ? run.genres.map((genres) => genres.split("|")) : null;
}
let run = runs[0], chosen = null, over = -1, genre = null;
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

// ---- the map ----

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const across = (k) => run.x[k] * view.scale + view.x, down = (k) => run.y[k] * -view.scale + view.y;
const has = (k) => genre === null || run.drawn[k].includes(genre);
const radius = (k) => 1.3 + 5 * Math.sqrt(run.n[k] / run.n[0]) * Math.min(1.6, 0.6 + zoom() / 8);
const zoom = () => view.scale / fit().scale;

function fit() {
  const margin = 24, width = canvas.clientWidth - 2 * margin, height = canvas.clientHeight - 2 * margin;
  let right = 1, top = 1;
  for (const x of run.x) right = Math.max(right, x);
  for (const y of run.y) top = Math.max(top, y);
  const scale = Math.min(width / right, height / top);
  return { scale, x: margin + (width - right * scale) / 2, y: margin + height - (height - top * scale) / 2 };
}

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
  const colours = run.legend.map((_, k) => colour(`--g${k}`)), muted = colour("--muted"), ink = colour("--ink");
  const inside = (k, edge) => across(k) > edge && across(k) < width - edge && down(k) > edge && down(k) < height - edge;
  for (let k = run.id.length - 1; k >= 0; k--) {  // items with most ratings on top
    if (!inside(k, -9)) continue;
    context.globalAlpha = has(k) ? 0.75 : 0.07;
    context.fillStyle = run.colour[k] < 0 ? muted : colours[run.colour[k]];
    context.beginPath();
    context.arc(across(k), down(k), radius(k), 0, 7);
    context.fill();
  }
  context.globalAlpha = 1;
  const here = chosen === null ? undefined : run.place.get(chosen), named = [];
  if (here !== undefined) {
    context.strokeStyle = ink;
    context.globalAlpha = 0.6;
    for (const [other] of neighbours(run, here)) {
      named.push(other);
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(across(here), down(here));
      context.lineTo(across(other), down(other));
      context.stroke();
    }
    context.globalAlpha = 1;
    context.lineWidth = 3;
    context.beginPath();
    context.arc(across(here), down(here), radius(here) + 4, 0, 7);
    context.stroke();
    named.unshift(here);
  }
  const taken = [], letters = Math.min(34, Math.floor(width / 14));
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeStyle = colour("--back");
  context.fillStyle = ink;
  for (const k of new Set([...named, ...run.id.keys()])) {
    if (taken.length >= Math.min(40, width * height / 9000)) break;
    if (!inside(k, 8) || (!has(k) && !named.includes(k))) continue;
    context.font = `${k === here ? "bold " : ""}12px system-ui, sans-serif`;
    const text = run.label[k].length > letters ? run.label[k].slice(0, letters - 1) + "…" : run.label[k];
    const wide = context.measureText(text).width, away = radius(k) + (k === here ? 9 : 3);
    const left = [across(k) + away, across(k) - away - wide].find((begin) =>  // beside its dot, if there is room
      begin > 1 && begin + wide < width - 1 &&
      !taken.some((box) => box[0] < begin + wide && box[1] > begin && Math.abs(box[2] - down(k)) < 14));
    if (left === undefined) continue;
    taken.push([left, left + wide, down(k)]);
    context.strokeText(text, left, down(k) + 4);
    context.fillText(text, left, down(k) + 4);
  }
}

function zoomBy(factor, x, y) {
  const scale = Math.min(Math.max(view.scale * factor, fit().scale * 0.7), fit().scale * 200), real = scale / view.scale;
  view = { scale, x: x - (x - view.x) * real, y: y - (y - view.y) * real };
  draw();
}
const zoomMiddle = (factor) => zoomBy(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);
function moveBy(x, y) { view.x += x; view.y += y; draw(); }
function showAll() { view = fit(); draw(); }

/** Keeps the middle of the map in the middle, at the same zoom, on a screen or paper of another size. */
function resized() {
  const width = canvas.clientWidth, height = canvas.clientHeight, whole = fit();
  if (seen) {
    const real = whole.scale / seen.scale;
    view = {
      scale: view.scale * real, x: width / 2 - (seen.width / 2 - view.x) * real,
      y: height / 2 - (seen.height / 2 - view.y) * real,
    };
  } else view = whole;
  seen = { width, height, scale: whole.scale };
  paint();
}

function nearest(x, y) {
  let best = -1, least = REACH * REACH;
  for (let k = 0; k < run.id.length; k++) {
    const distance = (across(k) - x) ** 2 + (down(k) - y) ** 2;
    if (distance < least && has(k)) { least = distance; best = k; }
  }
  return best;
}

function hover(event) {
  over = nearest(event.offsetX, event.offsetY);
  tip.hidden = over < 0;
  canvas.style.cursor = over < 0 ? "grab" : "pointer";
  if (over < 0) return;
  tip.replaceChildren(element("strong", {}, run.label[over]), element("br"), counts(run, over));
  tip.style.left = `${Math.max(4, Math.min(event.offsetX + 12, canvas.clientWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${event.offsetY + 16 + tip.offsetHeight > canvas.clientHeight ? event.offsetY - tip.offsetHeight - 8 : event.offsetY + 16}px`;
}

const counts = (of, k) => `${of.n[k].toLocaleString("en")} training ratings, mean ${of.mean[k].toFixed(2)}`;
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
    const k = nearest(event.offsetX, event.offsetY);
    if (k >= 0) go(run.id[k]);
  });
}
canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && document.activeElement !== canvas && !event.altKey && chosen === null && zoom() < 1.01 && event.deltaY > 0) return;
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), event.offsetX, event.offsetY);
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = 60, keys = {
    ArrowLeft: () => moveBy(step, 0), ArrowRight: () => moveBy(-step, 0), ArrowUp: () => moveBy(0, step),
    ArrowDown: () => moveBy(0, -step), "+": () => zoomMiddle(1.5), "=": () => zoomMiddle(1.5), "-": () => zoomMiddle(1 / 1.5),
    0: showAll, Escape: () => { tip.hidden = true; },
  };
  if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  keys[event.key]();
});
by("in").addEventListener("click", () => zoomMiddle(1.5));
by("out").addEventListener("click", () => zoomMiddle(1 / 1.5));
by("all").addEventListener("click", showAll);
new ResizeObserver(resized).observe(canvas);
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", resized);
addEventListener("beforeprint", resized);

// ---- an item and its neighbours ----

function neighbours(of, k) {
  const pairs = [];
  for (let j = 0; j < of.near[k].length; j += 2) pairs.push([of.near[k][j], of.near[k][j + 1] / 1000]);
  return pairs;
}

/** Shows an item and sets the address, so that the browser's Back button works. The event of the address comes late,
    so the item is shown at once. */
function go(id) {
  location.hash = `#item=${encodeURIComponent(id)}`;
  show(id);
}

function show(id) {
  chosen = id;
  const here = run.place.get(id), known = here === undefined ? runs.find((r) => r.place.has(id)) : run;
  if (!known) return;
  const k = known.place.get(id), panel = element("div");
  const walked = by("about").contains(document.activeElement);
  by("chosen").textContent = known.label[k];
  const lines = [`id ${id}`, counts(known, k)];
  if (known.genres && known.genres[k]) lines.unshift(known.genres[k].split("|").join(", "));
  panel.append(...lines.map((line) => element("p", { class: "small" }, line)));
  for (const one of runs) {
    const place = one.place.get(id), list = element("ol");
    panel.append(element("h4", {}, runs.length > 1 ? `Nearest, by ${one.name}` : "Nearest"));
    if (place === undefined) { panel.append(element("p", { class: "small" }, "not on this run's map")); continue; }
    for (const [other, similarity] of neighbours(one, place)) {
      const label = `${one.label[other]}, similarity ${similarity.toFixed(2)}, ${counts(one, other)}`;
      const bar = element("i");
      bar.style.width = `${100 * similarity}%`;
      const button = element("button", { type: "button", "aria-label": label, title: counts(one, other) },
        element("span", {}, one.label[other]), element("span", {}, similarity.toFixed(2)), bar);
      button.addEventListener("click", () => go(one.id[other]));
      list.append(element("li", {}, button));
    }
    panel.append(list.children.length ? list : element("p", { class: "small" }, "Nobody who rated it rated others."));
  }
  by("about").replaceChildren(...panel.children);
  if (walked) by("chosen").focus();  // the button that had the focus is gone
  if (here !== undefined) reveal(here);
  draw();
}

/** Brings an item into view, with its neighbours around it. */
function reveal(k) {
  const all = [k, ...neighbours(run, k).map(([other]) => other)], width = canvas.clientWidth, height = canvas.clientHeight;
  const xs = all.map((j) => Math.abs(run.x[j] - run.x[k])), ys = all.map((j) => Math.abs(run.y[j] - run.y[k]));
  const room = Math.min(width * 0.4 / Math.max(...xs, 1), height * 0.4 / Math.max(...ys, 1));
  const scale = Math.min(Math.max(room, fit().scale), fit().scale * 40);
  view = { scale, x: width / 2 - run.x[k] * scale, y: height / 2 + run.y[k] * scale };
}

function follow() {
  const found = location.hash.match(/^#item=(.*)$/);
  if (found && decodeURIComponent(found[1]) !== chosen) show(decodeURIComponent(found[1]));
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
      run.label[k], element("span", { class: "small" }, ` ${run.n[k].toLocaleString("en")} ratings`));
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

// ---- genres, and which run ----

function legend() {
  by("legend").replaceChildren(...run.legend.map((name, k) => {
    const dot = element("i");
    dot.style.background = `var(--g${k})`;
    const button = element("button", { type: "button", "aria-pressed": String(genre === name) }, dot, name);
    button.addEventListener("click", () => { genre = genre === name ? null : name; legend(); draw(); });
    return button;
  }));
}
if (by("which")) {
  by("which").addEventListener("change", (event) => {
    run = runs[Number(event.target.value)];
    genre = null;
    legend();
    showAll();
    if (chosen !== null) show(chosen);
  });
}
legend();
resized();
follow();
