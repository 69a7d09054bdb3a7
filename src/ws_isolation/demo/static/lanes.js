// The lane view: time from right to left, one lane for each socket, each mark in the colour of its owner.
//
// Whose an event is says the canary that was found in its text, never the lane that it arrived in.

import { h, s } from "./dom.js";

const ROW = 38;
const AXIS = 20;
const SECOND = innerWidth < 700 ? 44 : 72; // pixels
const IDLE = 1200; // milliseconds after the last event at which time stands still
const CODE_GAP = 0.42; // seconds between two codes that can both be read
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** The mark of an owner around (0, 0): a circle for Alice, a diamond for Bob, a cross for Mallory, a square else. */
function mark(owner, size, attributes) {
  if (owner === "alice") return s("circle", { r: size, ...attributes });
  if (owner === "bob") return s("path", { d: `M0-${size * 1.25} ${size * 1.25} 0 0 ${size * 1.25}-${size * 1.25} 0z`, ...attributes });
  if (owner === "mallory") return s("path", { d: "M-5-5 5 5M5-5-5 5", ...attributes });
  return s("rect", { x: -size, y: -size, width: 2 * size, height: 2 * size, ...attributes });
}

export class Lanes {
  #svg = s("svg", { role: "img", "aria-labelledby": "lanes-title" });
  #moving = s("g");
  #rows = s("g");
  #hint = s("text", { class: "hint", x: "50%", y: 2.5 * ROW + 5 }, "Nothing has happened yet: start both agents.");
  #labels = h("ul", { class: "lane-labels" });
  #counts = h("ul", { class: "lane-counts", "aria-label": "Events in each lane" });
  #lanes = 0;
  #lastCode = -9; // seconds
  #width = 600;
  #base = 0; // milliseconds of view time up to #since
  #since = 0;
  #until = 0;
  #isMoving = false;
  #open = new Set(); // bars that still grow
  #lines = 0; // seconds that have a grid line

  constructor(element) {
    const hatch = s("pattern", { id: "hatch", width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    hatch.append(s("rect", { width: 3, height: 8, class: "hatch" }));
    this.#svg.append(s("defs", {}, hatch), this.#rows, this.#hint, this.#moving);
    element.append(this.#labels, this.#svg, this.#counts);
    new ResizeObserver(([entry]) => {
      this.#width = entry.contentRect.width;
      this.#draw();
    }).observe(this.#svg);
  }

  /** Add a lane; returns what can be drawn into it. */
  add(owner, label, short) {
    const y = this.#lanes++ * ROW + ROW / 2;
    const height = this.#lanes * ROW + AXIS;
    this.#svg.style.height = `${height}px`;
    this.#rows.append(
      s("rect", { class: `lane ${owner}`, x: 0, y: y - ROW / 2 + 2, width: "100%", height: ROW - 4, rx: 6 }),
      s("line", { class: "lane-axis", x1: 0, x2: "100%", y1: y, y2: y }),
    );
    const tools = [false, false]; // two tools that overlap are drawn one below the other
    const name = h("li", { class: owner }, h("span", { class: "long" }, label), h("span", { class: "short", "aria-hidden": "true" }, short));
    const count = h("li", {});
    this.#labels.append(name);
    this.#counts.append(count);
    return {
      count: (text, isBad) => {
        count.textContent = text;
        count.classList.toggle("bad", isBad);
      },
      event: (who, kind, title, isForeign) => this.#event(y, who, kind, title, isForeign),
      tool: (who, title) => {
        const slot = tools[0] ? 1 : 0;
        tools[slot] = true;
        const end = this.#bar(y, ROW / 2 - 14 + slot * 6, 4.5, `tool ${who}`, title);
        return (status) => {
          tools[slot] = false;
          end(status);
        };
      },
      hole: () => this.#bar(y, -ROW / 2 + 2, ROW - 4, "hole", "cable cut"),
      answer: (kind) => this.#answer(y, kind),
      attack: (code, title) => this.#attack(y, code, title),
    };
  }

  /** Remove what was drawn for the simulation of a leak. */
  clearForeign() {
    for (const drawn of this.#moving.querySelectorAll(".foreign")) drawn.remove();
  }

  #event(y, who, kind, title, isForeign) {
    const classes = `event ${kind} ${who}${isForeign ? " foreign" : ""}`;
    const shape = kind === "piece" ? s("rect", { x: -1, y: -7, width: 2, height: 14 }) : mark(who, kind === "edge" ? 6 : 4.5, {});
    const group = s("g", { class: classes }, shape);
    if (isForeign) group.append(s("circle", { class: "ring", r: 13 }));
    this.#place(group, kind === "piece" ? y : y - 3, title);
  }

  #answer(y, kind) {
    const line = s("line", { y1: -ROW / 2 + 2, y2: ROW / 2 - 2 });
    this.#place(s("g", { class: `answer ${kind}` }, line, s("text", { x: 5, y: -6 }, kind)), y, `ws.${kind}`);
  }

  #attack(y, code, title) {
    const group = s("g", { class: "attack" }, mark("mallory", 5, {}));
    const now = this.#now() / 1000;
    // Codes of attacks that came at once would cover each other: the first one is written.
    if (now - (this.#lastCode) > CODE_GAP) {
      group.append(s("text", { y: 18 }, String(code)));
      this.#lastCode = now;
    }
    this.#place(group, y - 5, title);
  }

  #bar(y, top, height, classes, title) {
    this.#touch();
    const from = this.#now();
    const rect = s("rect", { class: classes, x: this.#x(from), y: y + top, width: 2, height, rx: Math.min(4, height / 2) });
    rect.append(s("title", {}, title));
    const bar = { rect, from };
    this.#open.add(bar);
    this.#moving.append(rect);
    return (status) => {
      this.#touch();
      this.#grow(bar);
      this.#open.delete(bar);
      if (status) rect.dataset.status = status;
    };
  }

  #place(element, y, title) {
    this.#touch();
    element.setAttribute("transform", `translate(${this.#x(this.#now())} ${y})`);
    element.append(s("title", {}, title));
    this.#moving.append(element);
  }

  #x(time) {
    return Math.round((time / 1000) * SECOND * 10) / 10;
  }

  #now() {
    return this.#base + (this.#isMoving ? Math.min(performance.now(), this.#until) - this.#since : 0);
  }

  /** Something happens: let time go on for a while. While nothing does, the view stands still. */
  #touch() {
    const now = performance.now();
    this.#hint.remove();
    if (!this.#isMoving) {
      this.#isMoving = true;
      this.#since = now;
      this.#next();
    }
    this.#until = now + IDLE;
  }

  #next() {
    // Who prefers less motion gets a view that jumps twice a second instead of one that glides.
    if (calm.matches) setTimeout(() => this.#step(), 500);
    else requestAnimationFrame(() => this.#step());
  }

  #step() {
    this.#draw();
    if (performance.now() < this.#until) {
      this.#next();
      return;
    }
    this.#base += this.#until - this.#since;
    this.#isMoving = false;
    this.#prune();
  }

  #grow(bar) {
    bar.rect.setAttribute("width", Math.max(2, this.#x(this.#now()) - this.#x(bar.from)));
  }

  #draw() {
    const now = this.#now();
    while (this.#lines <= now / 1000 + 1) this.#line(this.#lines++);
    for (const bar of this.#open) this.#grow(bar);
    this.#moving.setAttribute("transform", `translate(${(this.#width - 26 - (now / 1000) * SECOND).toFixed(1)} 0)`);
  }

  #line(second) {
    const x = second * SECOND;
    const line = s("g", { class: `grid${second % 5 ? "" : " five"}`, transform: `translate(${x} 0)` });
    line.append(s("line", { y1: 0, y2: this.#lanes * ROW }));
    if (second % 5 === 0) line.append(s("text", { y: this.#lanes * ROW + 14 }, `${second} s`));
    this.#moving.prepend(line);
  }

  #prune() {
    const edge = this.#x(this.#now()) - this.#width - 200;
    for (const drawn of [...this.#moving.children]) {
      const x = drawn.transform.baseVal.numberOfItems ? drawn.transform.baseVal.getItem(0).matrix.e : drawn.x.baseVal.value + drawn.width.baseVal.value;
      if (x < edge) drawn.remove();
    }
  }
}
