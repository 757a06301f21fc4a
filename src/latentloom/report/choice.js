// What a reader can choose: images, map, colours, epoch, classes, marks. After atlas.js.

const PLAY_EVERY = 900; // milliseconds
let playing = null;

function icon(path, colour) {
  const [box, drawn] = ["svg", "path"].map(tag => document.createElementNS("http://www.w3.org/2000/svg", tag));
  box.setAttribute("viewBox", "-1.5 -1.5 3 3");
  box.setAttribute("aria-hidden", "true");
  drawn.setAttribute("d", path);
  drawn.setAttribute("fill", colour);
  box.append(drawn);
  return box;
}

function listClasses() {
  const counts = new Map();
  labels[state.view].forEach(k => counts.set(categoryOf(k), (counts.get(categoryOf(k)) || 0) + 1));
  const wanted = find("search").value.trim().toLowerCase();
  const found = [...categories().keys()].filter(k => isMeant(wanted, k));
  find("classes").replaceChildren(...found.map(k => element("li", {}, classButton(k, counts.get(k) || 0))));
  find("found").textContent = wanted ? `${found.length} found` : `${found.length} ${state.byGroup ? "groups" : "classes"}`;
  find("all").disabled = !state.chosen.size;
}

// A group is meant by its own name and by those of its classes.
function isMeant(wanted, k) {
  const members = state.byGroup ? data.classes.filter((_, c) => data.groupOf[c] === k) : [];
  return [categories()[k], ...members].some(name => name.toLowerCase().includes(wanted));
}

function classButton(k, count) {
  const { colour, shape } = style(k), isFaded = state.chosen.size && !state.chosen.has(k);
  const button = element("button", { type: "button", "aria-pressed": state.chosen.has(k), "data-category": k, title: categories()[k] },
    icon(SHAPES[shape], isFaded ? ink("faint") : colour),
    element("span", {}, categories()[k]),
    element("small", { class: "soft" }, String(count)));
  button.addEventListener("click", () => {
    const chosen = new Set(state.chosen);
    if (!chosen.delete(k)) chosen.add(k);
    choose(chosen);
    find("classes").querySelector(`[data-category="${k}"]`).focus({ preventScroll: true });
  });
  return button;
}

function choose(chosen) {
  const scrolled = find("classes").scrollTop;
  state.chosen = chosen;
  listClasses();
  find("classes").scrollTop = scrolled;
  draw();
}

function chooseFound() {
  const buttons = find("search").value.trim() ? [...find("classes").querySelectorAll("button")] : [];
  choose(new Set(buttons.map(button => Number(button.dataset.category))));
}

function listMarks() {
  const steps = view().maps.flatMap(recipe => recipe.layouts[projection()].steps);
  const kinds = new Set(steps.flatMap(step => Object.keys(step.marks)));
  find("marks").replaceChildren(...[...kinds].map(markBox));
}

function markBox(kind) {
  const box = element("input", { type: "checkbox" });
  box.checked = !state.hiddenMarks.has(kind);
  box.addEventListener("change", () => {
    if (box.checked) state.hiddenMarks.delete(kind);
    else state.hiddenMarks.add(kind);
    draw();
  });
  return element("label", { class: "check" }, box, icon(MARKS[kind], ink("soft")), kind);
}

function goTo(index) {
  const said = `epoch ${view().epochs[index]}`;
  state.epoch = index;
  find("epoch").value = index;
  find("epoch").setAttribute("aria-valuetext", said);
  find("epoch-said").textContent = said;
  draw();
}

function play() {
  clearInterval(playing);
  const next = () => goTo((state.epoch + 1) % view().epochs.length);
  playing = playing ? null : setInterval(next, PLAY_EVERY);
  find("play").textContent = playing ? "Stop" : "Play";
  if (playing) next();
}

function offer(select, texts) {
  select.replaceChildren(...texts.map((text, k) => element("option", { value: k }, text)));
  select.closest("label").hidden = texts.length < 2;
}

function changeView() {
  const before = projection();
  if (playing) play();
  state.view = Number(find("view").value);
  state.projection = Math.max(0, view().projections.indexOf(before));
  offer(find("projection"), view().projections);
  find("projection").value = state.projection;
  find("note").textContent = view().note;
  find("epochs").hidden = !view().maps.some(recipe => recipe.epochs.length > 1);
  find("epoch").max = view().epochs.length - 1;
  find("mistakes").disabled = !view().maps.some(recipe => recipe.predicted.some(Boolean));
  state.epoch = view().epochs.length - 1;
  changeMap();
}

function changeMap() {
  makePanels();
  redrawAll();
}

function redrawAll() {
  listMarks();
  listClasses();
  goTo(state.epoch);
}

function colourBy(byGroup) {
  state.byGroup = byGroup;
  choose(new Set());
}

offer(find("view"), data.views.map(one => one.name));
offer(find("colour"), data.groups.length ? ["class", "group"] : ["class"]);
find("colour").value = Number(state.byGroup);
const when = (id, event, act) => find(id).addEventListener(event, act);
when("view", "change", changeView);
when("projection", "change", event => {
  state.projection = Number(event.target.value);
  changeMap();
});
when("colour", "change", event => colourBy(event.target.value === "1"));
when("mistakes", "change", event => {
  state.mistakes = event.target.checked;
  draw();
});
when("epoch", "input", event => goTo(Number(event.target.value)));
when("play", "click", play);
when("search", "input", listClasses);
when("search", "keydown", event => event.key === "Enter" && chooseFound());
when("all", "click", () => choose(new Set()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
changeView();
