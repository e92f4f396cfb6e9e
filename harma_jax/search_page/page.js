'use strict';

const at = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
const PADDING = 34;
const SMALLEST = 8; // pixels of an outline; what is smaller gets a dot as well

let asked = null;   // the question whose answer is shown
let picture = null; // {name, content} of a picture that is looked for
let hits = [];
let turn = 0;       // of the last question: an older answer that comes late is dropped

const number = (value) => value.toLocaleString('en');

function say(words, wrong = false) {
  at('status').textContent = words;
  at('status').classList.toggle('wrong', wrong);
}

async function ask(question, form = 'json') {
  const response = await fetch(`/search?form=${form}`, {
    method: 'POST',
    headers: {'Content-Type': 'application/json'},
    body: JSON.stringify(question),
  });
  if (response.ok) return response;
  let words = `The server answered ${response.status}.`;
  try { words = (await response.json()).error; } catch { /* no JSON: the number stays */ }
  throw new Error(words);
}

function question() {
  return {
    text: at('text').value,
    minus: at('minus').value,
    bbox: at('bbox').value,
    top: Number(at('top').value) || 24,
    picture: picture ? picture.content : null,
  };
}

async function search(wanted) {
  const own = ++turn;
  say('Searching ...');
  try {
    const found = await (await ask(wanted)).json();
    if (own !== turn) return;
    asked = wanted;
    hits = found.hits;
    show();
    say('');
  } catch (error) {
    if (own === turn) say(error.message, true);
  }
}

function show() {
  at('found').hidden = false;
  at('count').textContent = hits.length === 1 ? '1 place' : `${number(hits.length)} places`;
  const placed = hits.filter((hit) => hit.outline);
  for (const button of document.querySelectorAll('.save')) {
    button.disabled = !placed.length;
    button.title = placed.length ? '' : 'Nothing that was found has a place.';
  }
  at('hits').replaceChildren(...hits.map(card));
  drawMap(placed);
}

function degrees([longitude, latitude]) {
  const east = longitude < 0 ? 'W' : 'E';
  const north = latitude < 0 ? 'S' : 'N';
  return `${Math.abs(latitude).toFixed(4)}° ${north}, ${Math.abs(longitude).toFixed(4)}° ${east}`;
}

function lines(hit) {
  const [left, top, width, height] = hit.box;
  return [
    hit.scene,
    hit.date && `named for ${hit.date}`,
    hit.centre && degrees(hit.centre),
    `${width} × ${height} px at ${left}, ${top}`,
    hit.better_than && `better than ${hit.better_than} of the archive`,
  ].filter(Boolean);
}

function card(hit) {
  const item = document.createElement('li');
  const button = document.createElement('button');
  button.type = 'button';
  button.dataset.number = hit.number;
  const image = document.createElement('img');
  image.src = `/tile/${hit.row}`;
  image.loading = 'lazy';
  image.alt = `Number ${hit.number}: part of ${hit.scene}`;
  const words = document.createElement('span');
  words.className = 'words';
  const score = document.createElement('b');
  score.textContent = `${hit.number}. ${hit.cosine.toFixed(3)}`;
  words.append(score);
  for (const line of lines(hit)) words.append(document.createElement('br'), line);
  button.append(image, words);
  button.addEventListener('click', () => open(hit));
  for (const kind of ['mouseenter', 'focus']) {
    button.addEventListener(kind, () => light(hit.number));
  }
  item.append(button);
  return item;
}

function light(chosen) {
  for (const each of document.querySelectorAll('[data-number]')) {
    each.classList.toggle('lit', Number(each.dataset.number) === chosen);
  }
}

function open(hit) {
  at('scene_name').textContent = hit.scene;
  at('scene_words').textContent = lines(hit).slice(1).join(' · ');
  at('scene_image').src = `/scene/${hit.row}`;
  at('scene_image').alt = `The whole of ${hit.scene}, number ${hit.number} framed in it`;
  at('alike').onclick = () => {
    at('scene').close();
    search({row: hit.row, top: Number(at('top').value) || 24, bbox: at('bbox').value});
  };
  at('scene').showModal();
}

// The map: longitude across, latitude up, stretched so that shapes keep their form at the
// middle; without tiles of others, with a grid of degrees.

function rings(outline) {
  const polygons = outline.type === 'Polygon' ? [outline.coordinates] : outline.coordinates;
  return polygons.map((polygon) => polygon[0]);
}

function frame(placed) {
  const points = placed.flatMap((hit) => rings(hit.outline).flat());
  let [west, east] = [Math.min(...points.map((p) => p[0])), Math.max(...points.map((p) => p[0]))];
  // What lies on both sides of longitude 180 is drawn together.
  const around = points.map((p) => (p[0] < 0 ? p[0] + 360 : p[0]));
  const shifted = Math.max(...around) - Math.min(...around) < east - west;
  if (shifted) [west, east] = [Math.min(...around), Math.max(...around)];
  const south = Math.min(...points.map((p) => p[1]));
  const north = Math.max(...points.map((p) => p[1]));
  return {west, east, south, north, shifted};
}

function projection(of, width, height) {
  const middle = (of.south + of.north) / 2;
  const shrink = Math.max(Math.cos(middle * Math.PI / 180), 0.05);
  const spanX = Math.max((of.east - of.west) * shrink, 1e-3) * 1.15;
  const spanY = Math.max(of.north - of.south, 1e-3) * 1.15;
  const scale = Math.min((width - 2 * PADDING) / spanX, (height - 2 * PADDING) / spanY);
  const centre = (of.west + of.east) / 2;
  return {
    scale, shrink,
    x: (longitude) => width / 2 + (longitude - centre) * shrink * scale,
    y: (latitude) => height / 2 - (latitude - middle) * scale,
    longitude: (x) => centre + (x - width / 2) / (shrink * scale),
    latitude: (y) => middle - (y - height / 2) / scale,
  };
}

function step(span) {
  const steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 45, 90];
  return steps.find((each) => span / each <= 6) || 90;
}

function element(name, attributes, words) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (words !== undefined) made.textContent = words;
  return made;
}

function grid(to, width, height) {
  const made = [];
  const [west, east] = [to.longitude(0), to.longitude(width)];
  const [south, north] = [to.latitude(height), to.latitude(0)];
  const across = step(east - west);
  const digits = (size) => Math.max(0, Math.ceil(-Math.log10(size)));
  for (let value = Math.ceil(west / across) * across; value <= east; value += across) {
    const shown = ((value + 540) % 360) - 180;
    made.push(element('path', {class: 'grid', d: `M${to.x(value)} 0V${height}`}));
    made.push(element('text', {x: to.x(value) + 3, y: height - 5}, `${shown.toFixed(digits(across))}°`));
  }
  const up = step(north - south);
  for (let value = Math.ceil(south / up) * up; value <= north; value += up) {
    if (Math.abs(value) > 90) continue;
    made.push(element('path', {class: 'grid', d: `M0 ${to.y(value)}H${width}`}));
    made.push(element('text', {x: 4, y: to.y(value) - 4}, `${value.toFixed(digits(up))}°`));
  }
  return made;
}

function path(ring) {
  return 'M' + ring.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L') + 'Z';
}

function dot(points) {
  const [x, y] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const wide = Math.max(Math.max(...x) - Math.min(...x), Math.max(...y) - Math.min(...y));
  if (wide >= SMALLEST) return '';
  const radius = SMALLEST / 2;
  const left = (Math.max(...x) + Math.min(...x)) / 2 - radius;
  const middle = (Math.max(...y) + Math.min(...y)) / 2;
  const half = `a${radius} ${radius} 0 1 0`;
  return `M${left} ${middle}${half} ${2 * radius} 0${half} ${-2 * radius} 0Z`;
}

function drawMap(placed) {
  at('map_figure').hidden = !placed.length;
  if (!placed.length) return;
  const map = at('map');
  const {width, height} = map.getBoundingClientRect();
  map.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const of = frame(placed);
  const to = projection(of, width, height);
  const moved = (longitude) => (of.shifted && longitude < 0 ? longitude + 360 : longitude);
  const boxes = placed.toReversed().map((hit) => {
    const drawn = rings(hit.outline).map((ring) => ring.map(([x, y]) => [to.x(moved(x)), to.y(y)]));
    const d = drawn.map((ring) => path(ring)).join('') + dot(drawn.flat());
    const box = element('path', {class: 'box', d, 'data-number': hit.number});
    box.append(element('title', {}, `${hit.number}. ${hit.scene}`));
    box.addEventListener('mouseenter', () => light(hit.number));
    box.addEventListener('click', () => open(hit));
    return box;
  });
  map.replaceChildren(...grid(to, width, height), ...boxes);
  const without = hits.length - placed.length;
  at('map_words').textContent = `${number(placed.length)} with a place`
    + (without ? `, ${number(without)} without one` : '') + '; degrees of longitude and latitude.';
}

// A picture to search by.

function encoded(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
    reader.readAsDataURL(file);
  });
}

async function give(file) {
  try {
    picture = {name: file.name, content: await encoded(file)};
  } catch (error) {
    say(error.message, true);
    return;
  }
  URL.revokeObjectURL(at('preview').src);
  at('preview').src = URL.createObjectURL(file);
  at('given_name').textContent = file.name;
  at('given').hidden = false;
  search(question());
}

function forget() {
  picture = null;
  at('given').hidden = true;
  at('file').value = '';
}

async function save(form) {
  try {
    const response = await ask(asked, form);
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await response.blob());
    link.download = form === 'geojson' ? 'found.geojson' : 'found.parquet';
    link.click();
    URL.revokeObjectURL(link.href);
    say('');
  } catch (error) {
    say(error.message, true);
  }
}

function walk(event) {
  const buttons = [...document.querySelectorAll('#hits button')];
  const here = buttons.indexOf(document.activeElement);
  if (here < 0) return;
  const across = buttons.filter((each) => each.offsetTop === buttons[0].offsetTop).length;
  const steps = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across};
  const next = buttons[here + (steps[event.key] || 0)];
  if (event.key in steps && next) {
    event.preventDefault();
    next.focus();
  }
}

async function start() {
  const about = await (await fetch('/about')).json();
  at('name').textContent = about.name;
  document.title = `Search ${about.name}`;
  const parts = about.tiled ? `${number(about.rows)} tiles of ` : '';
  at('about').textContent = `${parts}${number(about.images)} images, ${number(about.placed)} with a place.`;
}

at('form').addEventListener('submit', (event) => {
  event.preventDefault();
  search(question());
});
at('file').addEventListener('change', (event) => event.target.files[0] && give(event.target.files[0]));
at('forget').addEventListener('click', forget);
at('close').addEventListener('click', () => at('scene').close());
for (const button of document.querySelectorAll('.save')) {
  button.addEventListener('click', () => save(button.dataset.form));
}
for (const kind of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at('drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files[0]) give(event.dataTransfer.files[0]);
  });
}
document.addEventListener('keydown', (event) => {
  const typing = event.target.matches('input');
  if (event.key === '/' && !typing && !at('scene').open) {
    event.preventDefault();
    at('text').focus();
  }
  walk(event);
});
window.addEventListener('resize', () => drawMap(hits.filter((hit) => hit.outline)));
start().catch((error) => say(error.message, true));
