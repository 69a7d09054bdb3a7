// One browser tab of one user, as a small window: connection on top, what the agent does below.

import { duration, h, showText } from "./dom.js";

const STATES = { connecting: "connecting", open: "connected", cut: "cable cut", waiting: "reconnecting", ended: "closed" };
const KEPT = 12;
const STATUS = { ok: "done", error: "failed", timeout: "timed out", cancelled: "cancelled", denied: "denied" };

export class Tab {
  #log;
  #state;
  #button;
  #runs = new Map();
  #running = new Map();

  /** @param onToggle Called when the cable is to be cut or put back. */
  constructor({ user, number, onToggle }) {
    this.#state = h("span", { class: "state", "data-state": "connecting" }, "connecting");
    this.#button = h("button", { type: "button", class: "small", onclick: onToggle }, "Cut the cable");
    this.#button.setAttribute("aria-label", `Cut the cable of ${user.name}’s tab ${number}`);
    this.#log = h("div", { class: "log", tabindex: "0", role: "group", "aria-label": `${user.name}, tab ${number}: messages` });
    this.element = h(
      "section",
      { class: "tab", "data-tab": `${user.user_id}-${number}`, "aria-label": `${user.name}, tab ${number}` },
      h("header", {}, h("h3", {}, `Tab ${number}`), this.#state, this.#button),
      this.#log,
    );
    this.name = `${user.name}’s tab ${number}`;
  }

  setState(state, detail) {
    this.#state.dataset.state = state;
    this.#state.textContent = STATES[state];
    const cuttable = state === "open";
    this.#button.textContent = cuttable ? "Cut the cable" : "Reconnect";
    this.#button.setAttribute("aria-label", `${cuttable ? "Cut the cable of" : "Reconnect"} ${this.name}`);
    this.#button.disabled = state === "connecting";
    if (state === "cut") this.note("cut", "Cable cut. The agent goes on without this tab.");
    if (detail) this.note("warn", detail);
  }

  /** Add a line about the connection itself. */
  note(kind, ...content) {
    this.#add(h("p", { class: `note ${kind}`, "data-note": kind }, ...content));
  }

  /** Show a control frame. */
  control(frame) {
    const at = (cursor) => `seq ${cursor.seq}`;
    if (frame.type === "ws.welcome") this.note("plain", h("code", {}, "ws.welcome"), ` stream at ${at(frame.cursor)}`);
    if (frame.type === "ws.resumed") {
      const missed = frame.count === 0 ? "nothing was missed" : `${frame.count} missed events came above`;
      this.note("good", h("code", {}, "ws.resumed"), ` ${missed}, stream at ${at(frame.cursor)}`);
    }
    if (frame.type === "ws.gap") {
      const range = frame.from_seq === undefined ? "" : `: events ${frame.from_seq} to ${frame.to_seq} were missed`;
      this.note("warn", h("code", {}, "ws.gap"), ` ${frame.reason}${range}; a real page reloads its state now`);
    }
    if (frame.type === "ws.error") this.note("bad", h("code", {}, "ws.error"), ` ${frame.slug}`);
    if (frame.type === "ws.goodbye") this.note("warn", h("code", {}, "ws.goodbye"), ` ${frame.code} ${frame.slug}: ${frame.action}`);
  }

  /** Show an event of a run. */
  event(frame) {
    const data = frame.data;
    const run = this.#run(frame);
    switch (frame.type) {
      case "agent_thinking":
        this.#text(run, `thought-${data.thought_id}`, "thought", data.text, data);
        break;
      case "agent_message_delta":
        this.#text(run, `message-${data.message_id}`, "message", data.delta, data);
        break;
      case "tool_executing":
        this.#toolBegins(run, data);
        break;
      case "tool_completed":
        this.#toolEnds(run, data);
        break;
      case "agent_completed":
        this.#end(run, "good", `completed in ${duration(data.duration_ms)}, ${data.tool_calls ?? 0} tools`);
        break;
      case "agent_error":
        this.#end(run, "bad", `failed: ${data.error.title}`);
        break;
      case "agent_cancelled":
        this.#end(run, "warn", `cancelled: ${data.reason}`);
        break;
    }
    this.#scroll();
  }

  /** Let the clocks of the tools at work go on. */
  tick(now) {
    for (const { time, began } of this.#running.values()) time.textContent = duration(now - began);
  }

  #run(frame) {
    let run = this.#runs.get(frame.run_id);
    if (run === undefined) {
      const joined = frame.type === "agent_started" ? frame.data.agent_name : "joined while it was running";
      run = { element: h("article", { class: "run" }), parts: new Map() };
      const id = h("code", {});
      showText(id, frame.run_id);
      run.element.append(h("p", { class: "run-head" }, h("b", {}, joined), " ", id));
      this.#runs.set(frame.run_id, run);
      this.#add(run.element);
    }
    return run;
  }

  #text(run, id, kind, piece, data) {
    let part = run.parts.get(id);
    if (part === undefined) {
      part = { element: h("p", { class: `${kind} writing` }), text: "" };
      run.parts.set(id, part);
      run.element.append(part.element);
    }
    // The last piece brings the whole text, which heals what a cut cable has missed.
    part.text = data.full_text ?? part.text + piece;
    showText(part.element, part.text);
    if (data.done) part.element.classList.remove("writing");
  }

  #toolBegins(run, data) {
    const time = h("span", { class: "time" }, "");
    const row = h(
      "p",
      { class: "tool", "data-status": "running" },
      h("span", { class: "sign", "aria-hidden": "true" }),
      h("code", {}, data.tool_name),
      h("span", { class: "status" }, "running"),
      time,
    );
    run.element.append(row);
    run.parts.set(data.tool_call_id, { row, time });
    this.#running.set(data.tool_call_id, { time, began: performance.now() });
  }

  #toolEnds(run, data) {
    if (!run.parts.has(data.tool_call_id)) this.#toolBegins(run, data);
    const { row, time } = run.parts.get(data.tool_call_id);
    this.#running.delete(data.tool_call_id);
    row.dataset.status = data.status;
    row.querySelector(".status").textContent = STATUS[data.status];
    time.textContent = duration(data.duration_ms);
    if (data.error) row.append(h("span", { class: "why" }, data.error.title));
  }

  #end(run, kind, text) {
    run.element.append(h("p", { class: `run-end ${kind}` }, text));
    for (const part of run.parts.values()) part.element?.classList.remove("writing");
  }

  #add(element) {
    this.#log.append(element);
    while (this.#log.childElementCount > KEPT) this.#log.firstElementChild.remove();
    this.#scroll();
  }

  #scroll() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }
}
