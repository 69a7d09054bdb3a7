// The page: Alice and Bob with two tabs each, the lanes above them, Mallory below.

import { Attacks } from "./attacks.js";
import { Connection } from "./connection.js";
import { h } from "./dom.js";
import { Lanes } from "./lanes.js";
import { Tab } from "./tab.js";

const TABS = 2;
const EDGES = new Set(["agent_started", "agent_completed", "agent_error", "agent_cancelled"]);

const score = { foreign: 0, received: 0, refused: 0, simulated: 0 };
const sockets = [];

function showScore() {
  const foreign = score.foreign + score.simulated;
  const open = sockets.filter((socket) => socket.connection.isOpen).length;
  const texts = { foreign, received: score.received, open: `${open} of ${sockets.length}`, refused: score.refused };
  for (const [name, text] of Object.entries(texts)) document.querySelector(`[data-score="${name}"]`).textContent = text;
  document.getElementById("score-foreign").classList.toggle("bad", foreign > 0);
  document.documentElement.dataset.foreign = score.foreign;
}

/** One socket of one user: its connection, its window and its lane. */
class Socket {
  #lane;
  #users;
  #own = 0;
  #foreign = 0;
  #simulated = 0;
  #tools = new Map();
  #endHole = null;

  constructor(user, number, users, lanes) {
    this.user = user;
    this.#users = users;
    this.#lane = lanes.add(user.user_id, `${user.name}, tab ${number}`, `${user.name[0]}${number}`);
    this.tab = new Tab({ user, number, onToggle: () => this.toggle() });
    this.connection = new Connection({
      token: user.token,
      onFrame: (text, frame) => this.receive(text, frame),
      onState: (state, detail) => this.#changed(state, detail),
    });
    this.#count();
  }

  toggle() {
    if (this.connection.isOpen) this.connection.cut();
    else this.connection.connect();
  }

  /** Look whose event it is, by the canary inside it, then draw and show it. */
  receive(text, frame, isSimulated = false) {
    if (frame.type.startsWith("ws.")) {
      this.tab.control(frame);
      if (frame.type === "ws.resumed" || frame.type === "ws.gap") this.#lane.answer(frame.type.slice(3));
      return;
    }
    const owners = this.#users.filter((user) => text.includes(user.canary));
    const stranger = owners.find((owner) => owner !== this.user);
    const who = (stranger ?? owners[0])?.user_id ?? "unmarked";
    if (isSimulated) score.simulated += 1;
    else if (stranger) score.foreign += 1;
    else score.received += 1;
    if (isSimulated) this.#simulated += 1;
    else if (stranger) this.#foreign += 1;
    else this.#own += 1;
    this.#draw(who, frame, stranger !== undefined);
    this.#count();
    showScore();
    if (stranger) {
      document.getElementById("alarm").textContent = `An event of ${stranger.name} is in the lane of ${this.tab.name}${isSimulated ? ", simulated" : ""}.`;
      if (!isSimulated) this.tab.note("bad", `An event of ${stranger.name}!`);
      return;
    }
    this.tab.event(frame);
  }

  /** Forget the events that were only simulated. */
  clearSimulated() {
    this.#simulated = 0;
    this.#count();
  }

  #draw(who, frame, isForeign) {
    const { type, data } = frame;
    const title = `${type}${frame.seq === undefined ? "" : `, seq ${frame.seq}`}`;
    if (type === "tool_executing") this.#tools.set(data.tool_call_id, this.#lane.tool(who, data.tool_name));
    if (type === "tool_completed") {
      this.#tools.get(data.tool_call_id)?.(data.status);
      this.#tools.delete(data.tool_call_id);
    }
    const kind = frame.seq === undefined ? "piece" : EDGES.has(type) ? "edge" : "durable";
    this.#lane.event(who, kind, title, isForeign);
  }

  #changed(state, detail) {
    this.tab.setState(state, detail);
    if (state === "open") {
      this.#endHole?.();
      this.#endHole = null;
    } else if (state !== "connecting") {
      this.#endHole ??= this.#lane.hole();
      for (const end of this.#tools.values()) end("cancelled");
      this.#tools.clear();
    }
    if (state === "open" || state === "cut") document.getElementById("status").textContent = `${this.tab.name}: ${state === "open" ? "connected" : "cut"}`;
    showScore();
  }

  #count() {
    const foreign = this.#foreign + this.#simulated;
    this.#lane.count(`${this.#own} own, ${foreign} foreign`, foreign > 0);
  }
}

function userElement(user, tabs) {
  return h(
    "section",
    { class: `card user ${user.user_id}`, "aria-labelledby": `user-${user.user_id}` },
    h(
      "header",
      {},
      h("span", { class: "avatar", "aria-hidden": "true" }, user.name[0]),
      h("h2", { id: `user-${user.user_id}` }, user.name),
      h("p", { class: "secret" }, "secret ", h("mark", { class: `canary ${user.user_id}` }, user.canary)),
    ),
    h("div", { class: "tabs" }, ...tabs.map((socket) => socket.tab.element)),
  );
}

function ask(user) {
  const open = sockets.find((socket) => socket.user === user && socket.connection.isOpen);
  if (open) open.connection.send({ type: "ask", data: { text: document.getElementById("question").value } });
  else sockets.find((socket) => socket.user === user).tab.note("warn", "No tab is connected: reconnect one first.");
}

function simulateLeak(button, alice, bob) {
  const isOn = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(isOn));
  button.textContent = isOn ? "Clear the simulation" : "What would a leak look like?";
  document.getElementById("leak-note").hidden = !isOn;
  if (isOn) {
    const frame = { type: "custom", seq: 0, data: { name: "demo.leak", value: bob.canary } };
    alice.receive(JSON.stringify(frame), frame, true);
  }
  return isOn;
}

async function main() {
  const { users, attacks, question, thread_id: thread } = await (await fetch("/setup")).json();
  const [alice, bob, mallory] = ["alice", "bob", "mallory"].map((id) => users.find((user) => user.user_id === id));
  const lanes = new Lanes(document.getElementById("lanes"));
  for (const user of [alice, bob]) {
    const own = [];
    for (let number = 1; number <= TABS; number++) own.push(new Socket(user, number, users, lanes));
    sockets.push(...own);
    document.getElementById("users").append(userElement(user, own));
  }
  const refusals = lanes.add("mallory", "Mallory", "M");
  const showRefusals = (bad) => refusals.count(`${score.refused} refused, ${bad} passed`, bad > 0);
  let passed = 0;
  showRefusals(passed);
  new Attacks({
    attacks,
    token: mallory.token,
    onOutcome: (outcome) => {
      if (outcome.refused) score.refused += 1;
      else passed += 1;
      score.foreign += outcome.foreign;
      refusals.attack(outcome.close_code ?? "open", `${outcome.title}: ${outcome.error || "not refused"}`);
      showRefusals(passed);
      showScore();
    },
  });

  document.getElementById("question").value = question;
  document.getElementById("question").title = `Asked in the thread ${thread}, which has the same name for both`;
  document.getElementById("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    for (const user of [alice, bob]) ask(user);
  });
  document.getElementById("ask-alice").addEventListener("click", () => ask(alice));
  document.getElementById("ask-bob").addEventListener("click", () => ask(bob));
  const leak = document.getElementById("leak");
  leak.addEventListener("click", () => {
    if (simulateLeak(leak, sockets[0], bob)) return;
    score.simulated = 0;
    sockets[0].clearSimulated();
    lanes.clearForeign();
    document.getElementById("alarm").textContent = "";
    showScore();
  });

  setInterval(() => {
    for (const socket of sockets) socket.tab.tick(performance.now());
  }, 100);
  for (const socket of sockets) socket.connection.connect();
  showScore();
}

await main();
