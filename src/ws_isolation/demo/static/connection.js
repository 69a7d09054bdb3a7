// One socket of one user: connect, answer pings, remember the cursor, come back as the close code asks.

const SUBPROTOCOL = "ws-isolation.v1";

/** What a client does after a close, by the code's range alone. */
function actionOf(code) {
  if (code === 1000) return "stop";
  return { 40: "stop", 41: "reauthenticate", 42: "resume", 43: "back_off" }[Math.floor(code / 100)] ?? "resume";
}

export class Connection {
  #token;
  #onFrame;
  #onState;
  #socket = null;
  #cursor = null;
  #offered = false;
  #goodbye = null;
  #attempt = 0;
  #timer = 0;

  /**
   * @param token Whose it is. A browser cannot set headers here, so the token travels as a subprotocol.
   * @param onFrame Called with the text and the decoded frame.
   * @param onState Called with "connecting", "open", "cut", "waiting" or "ended", and a text for people.
   */
  constructor({ token, onFrame, onState }) {
    this.#token = token;
    this.#onFrame = onFrame;
    this.#onState = onState;
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearTimeout(this.#timer);
    const url = new URL("/ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.#cursor) url.searchParams.set("cursor", `${this.#cursor.epoch}.${this.#cursor.seq}.${this.#cursor.id}`);
    this.#offered = this.#cursor !== null;
    this.#goodbye = null;
    const socket = new WebSocket(url, [SUBPROTOCOL, `bearer.${this.#token}`]);
    this.#socket = socket;
    this.#onState("connecting", "");
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.#socket) this.#receive(data);
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket === this.#socket) this.#closed(code);
    });
  }

  /** Drop the connection, as a pulled cable does: no goodbye, and nothing more is read. */
  cut() {
    const socket = this.#socket;
    this.#socket = null;
    socket.close();
    this.#onState("cut", "");
  }

  send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #receive(text) {
    const frame = JSON.parse(text);
    if (frame.type === "ws.ping") {
      this.send({ type: "ws.pong", n: frame.n, seq: this.#cursor?.seq ?? 0 });
    } else if (frame.type === "ws.welcome") {
      this.#attempt = 0;
      // With a cursor of our own, the answer to it says where we stand; without one, the welcome does.
      if (!this.#offered) this.#cursor = frame.cursor;
      this.#onState("open", "");
    } else if (frame.type === "ws.resumed" || frame.type === "ws.gap") {
      this.#cursor = frame.cursor;
    } else if (frame.type === "ws.goodbye") {
      this.#goodbye = frame;
    } else if (frame.seq !== undefined) {
      this.#cursor = { epoch: this.#cursor.epoch, seq: frame.seq, id: frame.id };
    }
    this.#onFrame(text, frame);
  }

  #closed(code) {
    const action = this.#goodbye?.action ?? actionOf(code);
    if (action === "stop" || action === "reauthenticate") {
      this.#onState("ended", `closed with ${code}: reload the page`);
      return;
    }
    // Full jitter: nobody comes back at the same moment as everybody else.
    const most = Math.min(20_000, 500 * 2 ** this.#attempt++);
    const wait = (this.#goodbye?.retry_after_ms ?? 0) + Math.random() * most;
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#onState("waiting", `closed with ${code}: back in a moment`);
  }
}
