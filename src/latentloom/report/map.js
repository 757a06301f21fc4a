// One map: a canvas of images and marks, and above it a canvas for the image that is pointed at.
// Coordinates run from 0 to 1 with y upwards; a frame {x, y, size} is the square of them that is seen.

const SHAPES = [
  "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z",
  "M-.85-.85H.85V.85H-.85Z",
  "M0-1.2L1.2 0L0 1.2L-1.2 0Z",
  "M0-1.15L1.1.8H-1.1Z",
  "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
  "M0 1.15L-1.1-.8H1.1Z",
];
const STAR = "M0-1.3L.35-.42L1.24-.4L.55.17L.76 1.05L0 .55L-.76 1.05L-.55.17L-1.24-.4L-.35-.42Z";
const MARKS = {
  "class centres": SHAPES[0],
  "class embeddings": STAR,
  "learned centres": SHAPES[1],
  "label embeddings": SHAPES[3],
  "group embeddings": SHAPES[5],
  "prior components": "M-1.1-.25H-.25V-1.1H.25V-.25H1.1V.25H.25V1.1H-.25V.25H-1.1Z",
};
const FEW_MARKS = 60; // on a map
const REACH = 14; // pixels from the pointer to what is meant
const PREFERRED = 7; // pixels within which an image that can be shown is meant, though another be nearer
const WHOLE = { x: 0, y: 0, size: 1 };

function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Radius in pixels of a point on a map of that side.
function pointSize(count, side) {
  return Math.max(1.2, Math.min(3.6, 75 / Math.sqrt(count)) * Math.min(1, side / 260));
}

// The same of a mark; many leave the images to be seen.
function markSize(marks, side) {
  return (marks.length <= FEW_MARKS ? 5.5 : 3.5) * Math.max(0.6, Math.min(1, side / 260));
}

function placer(frame, side) {
  return (x, y) => [((x - frame.x) / frame.size) * side, (1 - (y - frame.y) / frame.size) * side];
}

function stamp({ colour, shape }, radius, ratio) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.ceil(2.8 * radius * ratio);
  const context = canvas.getContext("2d");
  context.translate(canvas.width / 2, canvas.width / 2);
  context.scale(radius * ratio, radius * ratio);
  context.globalAlpha = 0.85;
  context.fillStyle = colour;
  context.fill(new Path2D(SHAPES[shape]));
  return canvas;
}

function drawFaint(context, scene, place) {
  context.fillStyle = ink("faint");
  scene.shown.forEach((isShown, row) => {
    if (isShown) return;
    const [x, y] = place(scene.xy[2 * row], scene.xy[2 * row + 1]);
    context.fillRect(x - 1, y - 1, 2, 2);
  });
}

function drawImages(context, scene, place, side, ratio) {
  const radius = pointSize(scene.shown.length, side), stamps = new Map();
  scene.shown.forEach((isShown, row) => {
    if (!isShown) return;
    const category = scene.categories[row];
    if (!stamps.has(category)) stamps.set(category, stamp(scene.style(category), radius, ratio));
    const image = stamps.get(category), width = image.width / ratio;
    const [x, y] = place(scene.xy[2 * row], scene.xy[2 * row + 1]);
    context.drawImage(image, x - width / 2, y - width / 2, width, width);
  });
}

function drawMark(context, mark, [x, y], size) {
  context.save();
  context.translate(x, y);
  context.scale(size, size);
  const path = new Path2D(MARKS[mark.kind]);
  context.lineJoin = "round";
  for (const [width, colour] of [[0.75, ink("card")], [0.4, ink("ink")]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke(path);
  }
  context.fillStyle = mark.colour;
  context.fill(path);
  context.restore();
}

function drawName(context, text, [x, y], side) {
  context.font = `600 11px ${getComputedStyle(document.body).fontFamily}`;
  context.textAlign = "center";
  const half = context.measureText(text).width / 2;
  const at = [Math.max(half + 2, Math.min(side - half - 2, x)), Math.max(12, y - 9)];
  context.lineWidth = 3;
  context.strokeStyle = ink("card");
  context.strokeText(text, ...at);
  context.fillStyle = ink("ink");
  context.fillText(text, ...at);
}

function drawScene(context, scene, frame, side, ratio) {
  const place = placer(frame, side);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, side, side);
  drawFaint(context, scene, place);
  drawImages(context, scene, place, side, ratio);
  scene.marks.forEach(mark => drawMark(context, mark, place(mark.x, mark.y), markSize(scene.marks, side)));
  scene.marks.filter(mark => mark.named).forEach(mark => drawName(context, mark.name, place(mark.x, mark.y), side));
}

function drawRing(context, point, frame, side, ratio) {
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, side, side);
  if (!point) return;
  const [x, y] = placer(frame, side)(point.x, point.y);
  for (const [width, colour] of [[6, ink("card")], [2.5, ink("ink")]]) {
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
  if (point.said) drawName(context, point.said, [x, y - 5], side);
}

// What is meant by a place in pixels: the mark below it, else the nearest image within reach, else null.
// Those that come first, `pictured` of them, can be shown, and are preferred.
function nearest(scene, frame, side, px, py) {
  const place = placer(frame, side);
  const distance = (x, y) => {
    const [qx, qy] = place(x, y);
    return Math.hypot(qx - px, qy - py);
  };
  const mark = closest(scene.marks, one => distance(one.x, one.y), markSize(scene.marks, side) + 1);
  if (mark) return { mark };
  const rows = [...scene.shown.keys()].filter(row => scene.shown[row]);
  const near = row => distance(scene.xy[2 * row], scene.xy[2 * row + 1]);
  const row = closest(rows.filter(row => row < scene.pictured), near, PREFERRED) ?? closest(rows, near, REACH);
  return row === undefined ? null : { row };
}

function closest(candidates, distance, reach) {
  let found, best = reach;
  for (const one of candidates) {
    const away = distance(one);
    if (away < best) [found, best] = [one, away];
  }
  return found;
}

function zoomed(frame, factor, x, y) {
  const size = Math.min(1.5, Math.max(0.01, frame.size / factor)), share = size / frame.size;
  return { x: x - (x - frame.x) * share, y: y - (y - frame.y) * share, size };
}

// A map in `holder`, an element with two canvases; `point(found, event)` is told what is pointed at.
function makeMap(holder, point) {
  const [base, over] = holder.querySelectorAll("canvas");
  const map = { scene: null, home: WHOLE, frame: WHOLE, ringed: null };

  function sized(canvas) {
    const ratio = window.devicePixelRatio || 1, side = holder.clientWidth;
    const pixels = Math.round(side * ratio);
    if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
    return [canvas.getContext("2d"), side, ratio];
  }

  map.draw = () => {
    if (!map.scene || !holder.clientWidth) return;
    const [context, side, ratio] = sized(base);
    drawScene(context, map.scene, map.frame, side, ratio);
    map.ring(map.ringed);
  };
  map.ring = place => {
    map.ringed = place;
    const [context, side, ratio] = sized(over);
    drawRing(context, place, map.frame, side, ratio);
  };
  map.zoom = (factor, x = map.frame.x + map.frame.size / 2, y = map.frame.y + map.frame.size / 2) => {
    map.frame = zoomed(map.frame, factor, x, y);
    map.draw();
  };
  map.reset = () => {
    map.frame = map.home;
    map.draw();
  };
  listen(map, holder, over, point);
  new ResizeObserver(map.draw).observe(holder);
  return map;
}

function listen(map, holder, over, point) {
  const unit = event => [
    map.frame.x + (event.offsetX / holder.clientWidth) * map.frame.size,
    map.frame.y + (1 - event.offsetY / holder.clientWidth) * map.frame.size,
  ];
  const meant = event => nearest(map.scene, map.frame, holder.clientWidth, event.offsetX, event.offsetY);
  over.addEventListener("pointermove", event => {
    if (event.pointerType === "mouse" && event.buttons === 1) {
      const step = map.frame.size / holder.clientWidth;
      map.frame = { ...map.frame, x: map.frame.x - event.movementX * step, y: map.frame.y + event.movementY * step };
      map.draw();
    } else point(meant(event), event);
  });
  over.addEventListener("pointerdown", event => point(meant(event), event));
  over.addEventListener("pointerleave", event => event.pointerType === "mouse" && point(null, event));
  over.addEventListener("dblclick", event => map.zoom(2, ...unit(event)));
  over.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls the page
    event.preventDefault();
    map.zoom(Math.exp(-event.deltaY / 300), ...unit(event));
  }, { passive: false });
}
