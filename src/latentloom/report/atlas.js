// All maps of a view: what is shown in them, how it is coloured, and what is pointed at.

const find = id => document.getElementById(`atlas-${id}`);
const data = JSON.parse(find("data").textContent);
const sprite = data.sprite && Object.assign(new Image(), { src: data.sprite.address });
const labels = data.views.map(one => integers(one.y, Int16Array));
const NAMED = 20; // more names of classes than these hide the maps
const THUMBNAIL = 96; // pixels

// `chosen` are the classes, or groups, that are picked out; without any, all are shown. `epoch` is a place
// among the epochs of the view.
const state = {
  view: 0, projection: 0, epoch: 0, byGroup: data.groups.length > 0 && data.classes.length > NAMED, mistakes: false,
  chosen: new Set(), hiddenMarks: new Set(),
};
let panels = []; // one per recipe: {data, figure, about, map}

function integers(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer);
}

function coordinates(text) {
  return Float32Array.from(integers(text, Uint16Array), level => (level === 65535 ? NaN : level / 65534));
}

function element(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  made.append(...inside); // as text, whatever it says
  return made;
}

const view = () => data.views[state.view];
const projection = () => view().projections[state.projection];
const categories = () => (state.byGroup ? data.groups : data.classes);
const nameOf = (names, k) => (k < 0 ? "unlabelled" : names[k]);
const categoryOf = k => (state.byGroup && k >= 0 ? data.groupOf[k] : k);

// Where there are more categories than colours, the chosen ones take them in turn, to be told apart.
function style(category) {
  if (category < 0) return { colour: ink("soft"), shape: 0 };
  const colours = data.palette.length, place = categories().length > colours ? [...state.chosen].indexOf(category) : -1;
  const turn = place < 0 ? category : place;
  return { colour: data.palette[turn % colours], shape: Math.floor(turn / colours) % SHAPES.length };
}

// The step of a recipe at the epoch of the slider: its last one that was kept by then.
function stepOf(recipe) {
  if (recipe.epochs.length < 2) return 0;
  return Math.max(0, recipe.epochs.filter(epoch => epoch <= view().epochs[state.epoch]).length - 1);
}

function sceneOf(recipe) {
  const step = recipe.layouts[projection()].steps[stepOf(recipe)], y = labels[state.view];
  const packed = recipe.predicted[stepOf(recipe)], predicted = packed && integers(packed, Int16Array);
  return {
    xy: coordinates(step.xy),
    shown: Uint8Array.from(y, (k, row) => isShown(k, predicted?.[row])),
    categories: Int16Array.from(y, categoryOf),
    predicted,
    pictured: view().thumbnails,
    marks: Object.entries(step.marks).filter(([kind]) => !state.hiddenMarks.has(kind)).flatMap(marksOf),
    style,
  };
}

function isShown(y, predicted) {
  const isChosen = !state.chosen.size || state.chosen.has(categoryOf(y));
  return isChosen && (!state.mistakes || isWrong(y, predicted));
}

function isWrong(y, predicted) {
  return predicted !== undefined && y >= 0 && predicted !== y;
}

function marksOf([kind, packed]) {
  const xy = coordinates(packed);
  return [...Array(xy.length / 2).keys()]
    .filter(k => !Number.isNaN(xy[2 * k]) && isMarkShown(kind, k))
    .map(k => ({ kind, k, x: xy[2 * k], y: xy[2 * k + 1], ...describe(kind, k) }));
}

const isOfClass = kind => kind !== "prior components" && kind !== "group embeddings";

function isMarkShown(kind, k) {
  if (!state.chosen.size || kind === "prior components") return true;
  if (isOfClass(kind)) return state.chosen.has(categoryOf(k));
  return state.byGroup ? state.chosen.has(k) : [...state.chosen].some(chosen => data.groupOf[chosen] === k);
}

function describe(kind, k) {
  if (kind === "prior components") return { name: `component ${k + 1}`, colour: ink("soft"), named: false };
  if (kind === "group embeddings") {
    return { name: nameOf(data.groups, k), colour: style(state.byGroup ? k : -1).colour, named: false };
  }
  const isFew = (state.chosen.size || data.classes.length) <= NAMED && !state.byGroup;
  return { name: data.classes[k], colour: style(categoryOf(k)).colour, named: isFew && kind === "class centres" };
}

function draw() {
  panels.forEach(panel => {
    panel.map.scene = sceneOf(panel.data);
    panel.map.ring(null);
    panel.map.draw();
    panel.about.textContent = aboutOf(panel.data, panel.map.scene);
  });
  find("card").hidden = true;
}

function aboutOf(recipe, scene) {
  const rows = [...scene.shown.keys()].filter(row => scene.shown[row]);
  const count = number => number.toLocaleString("en");
  const wrong = rows.filter(row => isWrong(labels[state.view][row], scene.predicted?.[row])).length;
  const mistakes = scene.predicted ? `${count(wrong)} wrong` : "no predictions";
  const shown = state.mistakes ? mistakes : `${count(rows.length)} images, ${mistakes}`;
  return `seed ${recipe.seed}, epoch ${recipe.epochs[stepOf(recipe)]}: ${shown}`;
}

function makePanels() {
  panels = view().maps.map(makePanel);
  find("maps").replaceChildren(...panels.map(panel => panel.figure));
}

function makePanel(recipe) {
  const about = element("figcaption"), buttons = element("div", { class: "zoom" });
  const label = `${projection()} map of ${recipe.recipe}; arrow keys go from image to image`;
  const holder = element("div", { class: "drawn", role: "application", tabindex: 0, "aria-label": label },
    element("canvas"), element("canvas", { class: "ring" }));
  const figure = element("figure", { class: "figure panel" }, element("h3", {}, recipe.recipe), about, holder, buttons);
  const panel = { data: recipe, figure, about, map: makeMap(holder, point) };
  const [x, y, size] = recipe.layouts[projection()].shown;
  panel.map.home = panel.map.frame = zoomed({ x, y, size }, 0.94, x + size / 2, y + size / 2);
  buttons.append(...zoomButtons(panel.map, recipe.recipe));
  holder.addEventListener("keydown", event => step(panel, holder, event));
  holder.addEventListener("blur", () => point(null));
  return panel;
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

// By the keyboard: the next of the images that are shown, or the one before.
function step(panel, holder, event) {
  if (event.key === "Escape") point(null);
  const rows = [...panel.map.scene.shown.keys()].filter(row => panel.map.scene.shown[row]);
  if (!(event.key in STEPS) || !rows.length) return;
  event.preventDefault();
  const before = rows.indexOf(panel.row), next = before < 0 ? 0 : before + STEPS[event.key];
  panel.row = rows[(next + rows.length) % rows.length];
  const { right, top } = holder.getBoundingClientRect();
  point({ row: panel.row }, { clientX: right, clientY: top });
}

function zoomButtons(map, recipe) {
  const actions = [["+", "larger", () => map.zoom(1.6)], ["−", "smaller", () => map.zoom(1 / 1.6)], ["⤢", "whole", map.reset]];
  return actions.map(([sign, word, act]) => {
    const button = element("button", { type: "button", "aria-label": `${recipe}: ${word}`, title: word }, sign);
    button.addEventListener("click", act);
    return button;
  });
}

// Ring an image, or a mark, in every map, and say on the card what it is.
function point(found, event) {
  panels.forEach(panel => panel.map.ring(found && placeIn(panel.map.scene, found)));
  const card = find("card");
  card.hidden = !found;
  if (!found) return;
  card.replaceChildren(...(found.mark ? cardOfMark(found.mark) : cardOfImage(found.row)));
  moveCard(card, event);
}

function placeIn(scene, { mark, row }) {
  if (mark) return scene.marks.find(other => other.kind === mark.kind && other.k === mark.k);
  const mistake = isWrong(labels[state.view][row], scene.predicted?.[row]);
  const said = mistake ? nameOf(data.classes, scene.predicted[row]) : "";
  return { x: scene.xy[2 * row], y: scene.xy[2 * row + 1], said };
}

function cardOfMark({ kind, name }) {
  return [element("div", {}, element("strong", {}, name), element("div", { class: "soft" }, kind.replace(/s$/, "")))];
}

function cardOfImage(row) {
  const y = labels[state.view][row], group = data.groupOf && y >= 0 ? nameOf(data.groups, data.groupOf[y]) : "";
  const said = element("dl");
  panels.filter(panel => panel.map.scene.predicted).forEach(panel => {
    const predicted = panel.map.scene.predicted[row], mistake = isWrong(y, predicted);
    const name = `${mistake ? "✗" : "✓"} ${nameOf(data.classes, predicted)}`;
    said.append(element("dt", {}, panel.data.recipe), element("dd", mistake ? { class: "wrong" } : {}, name));
  });
  const text = element("div", {}, element("strong", {}, nameOf(data.classes, y)), element("div", { class: "soft" }, group), said);
  return row < view().thumbnails ? [thumbnail(view().fromTile + row), text] : [text];
}

function thumbnail(tile) {
  const { side, columns } = data.sprite;
  const canvas = element("canvas", { class: "thumbnail", width: THUMBNAIL, height: THUMBNAIL });
  const context = canvas.getContext("2d"), at = [(tile % columns) * side, Math.floor(tile / columns) * side];
  context.imageSmoothingEnabled = side > 16;
  context.drawImage(sprite, ...at, side, side, 0, 0, THUMBNAIL, THUMBNAIL);
  return canvas;
}

// Beside the pointer, and within the window; on a narrow one the style sheet keeps it at the bottom.
function moveCard(card, event) {
  const { width, height } = card.getBoundingClientRect();
  const left = event.clientX + 18 + width > innerWidth ? event.clientX - width - 18 : event.clientX + 18;
  card.style.left = `${Math.max(4, left)}px`;
  card.style.top = `${Math.max(4, Math.min(innerHeight - height - 4, event.clientY + 12))}px`;
}
