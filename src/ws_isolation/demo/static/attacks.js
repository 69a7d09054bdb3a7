// Mallory's buttons, and what came of each attempt.

import { h } from "./dom.js";

const GROUPS = { context: "Forged contexts", client: "Hostile clients" };
const KEPT = 20;
const PAUSE = 450; // milliseconds between attempts when all are made, so that each can be seen

export class Attacks {
  #token;
  #onOutcome;
  #buttons = new Map();
  #results = document.getElementById("results");
  #status = document.getElementById("attack-status");

  /** @param onOutcome Called with each outcome. */
  constructor({ attacks, token, onOutcome }) {
    this.#token = token;
    this.#onOutcome = onOutcome;
    for (const [kind, title] of Object.entries(GROUPS)) {
      const list = h("ul", { class: "attack-list" });
      for (const attack of attacks.filter((each) => each.kind === kind)) list.append(h("li", {}, this.#button(attack)));
      document.getElementById("attack-buttons").append(h("h3", {}, title), list);
    }
    const all = document.getElementById("attack-all");
    all.addEventListener("click", async () => {
      all.disabled = true;
      for (const attack of attacks) {
        await this.run(attack);
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
      all.disabled = false;
    });
  }

  #button(attack) {
    const button = h(
      "button",
      { type: "button", class: "attack", "data-attack": attack.name, onclick: () => this.#runAndShow(attack) },
      h("b", {}, attack.title),
      h("span", {}, attack.about),
    );
    this.#buttons.set(attack.name, button);
    return button;
  }

  async #runAndShow(attack) {
    await this.run(attack);
    // On a narrow screen the results stand below all the buttons.
    this.#results.firstElementChild.scrollIntoView({ block: "nearest" });
  }

  /** Make one attempt and show what came of it. */
  async run(attack) {
    const button = this.#buttons.get(attack.name);
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(`/attacks/${attack.name}`, { method: "POST", headers: { Authorization: `Bearer ${this.#token}` } });
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const outcome = await response.json();
      button.dataset.result = outcome.refused ? "refused" : "passed";
      this.#show(outcome);
      this.#onOutcome(outcome);
    } catch (error) {
      this.#say(`${attack.title}: ${error.message}`);
      this.#add(h("li", { class: "result passed" }, h("p", {}, h("b", {}, attack.title)), h("p", { class: "note bad" }, error.message)));
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  #show(outcome) {
    const verdict = outcome.refused ? "refused" : "NOT refused";
    this.#say(`${outcome.title}: ${verdict}, ${outcome.error || "no error"}, close code ${outcome.close_code}`);
    const head = h(
      "summary",
      {},
      h("b", {}, outcome.title),
      h("span", { class: "verdict" }, verdict),
      h("b", { class: "error" }, outcome.error || "no error"),
      h("span", { class: "code" }, String(outcome.close_code)),
      h("span", { class: "took" }, `${outcome.seconds.toFixed(2)} s`),
    );
    const details = h(
      "details",
      { open: true },
      head,
      h("div", { class: "sides" }, this.#client(outcome), this.#operator(outcome)),
      outcome.note ? h("p", { class: "muted" }, outcome.note) : null,
    );
    // Only the newest is unfolded.
    for (const older of this.#results.querySelectorAll("details")) older.open = false;
    this.#add(h("li", { class: `result ${outcome.refused ? "refused" : "passed"}`, "data-result": outcome.attack }, details));
  }

  #client(outcome) {
    return h(
      "div",
      { class: "side" },
      h("h4", {}, "What Mallory’s socket got"),
      h("p", {}, "close ", h("b", { class: "code" }, String(outcome.close_code)), " ", h("code", {}, outcome.reason)),
      h("p", { class: "frame" }, h("code", {}, JSON.stringify(outcome.goodbye, null, 1).replace(/\s+/g, " "))),
      h("p", {}, "events of others: ", h("b", {}, String(outcome.foreign))),
    );
  }

  #operator(outcome) {
    return h(
      "div",
      { class: "side" },
      h("h4", {}, "What the operator reads"),
      h("p", { class: "error-text" }, outcome.message),
      h("p", { class: "log-line" }, outcome.log),
    );
  }

  #say(text) {
    this.#status.textContent = text;
  }

  #add(item) {
    document.getElementById("no-results")?.remove();
    this.#results.prepend(item);
    while (this.#results.childElementCount > KEPT) this.#results.lastElementChild.remove();
  }
}
