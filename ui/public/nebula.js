// What Chainlit has no setting for: the system button, being signed out, and a few names.
import { picture, wordOf } from "./diagram.js";

const OPEN_PANEL = "nebula:panel";
const SIGNED_OUT = "nebula:signed-out";

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("#header button");
  const link = event.target.closest?.('a[href$="#system"]') ?? button?.querySelector('a[href$="#system"]');
  if (!link) return;
  event.preventDefault();
  const open = document.getElementById("side-view-content");
  if (open) document.querySelector("#side-view-title button")?.click();
  else openPanel(10);
}, true);

// The panel is opened by the server: asked too early, before the page is connected, it hears nothing.
function openPanel(times) {
  if (document.getElementById("side-view-content") || times === 0) return;
  window.postMessage(OPEN_PANEL, location.origin);
  setTimeout(() => openPanel(times - 1), 700);
}

window.addEventListener("message", (event) => {
  if (event.origin !== location.origin) return;
  if (event.data === SIGNED_OUT) location.replace("/login");
  if (event.data?.nebula === "session") keepAddress(event.data.id);
  if (["approvals", "waiting"].includes(event.data?.nebula)) { waiting = event.data.waiting; showWaiting(); }
});

// How many questions wait, on the button that leads to them.
let waiting = 0;
function showWaiting() {
  for (const link of document.querySelectorAll('a[href$="#system"]')) {
    const place = link.closest("button") ?? link.parentElement ?? link;
    if ((place.dataset.waiting ?? "0") === String(waiting)) continue;
    if (waiting) { place.dataset.waiting = waiting; place.title = `${waiting} waiting for you`; }
    else { delete place.dataset.waiting; place.removeAttribute("title"); }
  }
}

// A lost connection may mean that the sign-in ended: the server is asked, not guessed.
let asked = 0;
async function checkSignIn() {
  if (!document.getElementById("session-error") || Date.now() - asked < 2000) return;
  asked = Date.now();
  const answer = await fetch("/user", { credentials: "same-origin" }).catch(() => null);
  if (answer?.status === 401) location.replace("/login");
}

// Chainlit puts a new session into the address only where the list of sessions is on the page,
// which it is not on a phone.
function keepAddress(id) {
  ours = encodeURIComponent(id);
  setTimeout(() => {
    if (location.pathname === "/") history.replaceState(history.state, "", `/thread/${encodeURIComponent(id)}`);
  }, 1500);
}

// Opening a session, Chainlit connects twice at once, first without and then with the session's id,
// and keeps the connection whose cookie came last. In the order they were asked for, that is the
// right one; overtaken by the first, the page would wait for its session for ever.
const send = window.fetch;
let cookie = Promise.resolve();
window.fetch = (...asked) => {
  if (!String(asked[0]?.url ?? asked[0]).endsWith("/set-session-cookie")) return send(...asked);
  const answer = cookie.then(() => send(...asked));
  cookie = answer.catch(() => {});
  return answer;
};

// When a new session gets its address, Chainlit draws the composer anew: what was typed stays.
let composer, draft = "", ours;
document.addEventListener("input", (event) => {
  if (event.target.id === "chat-input") draft = event.target.value;
}, true);
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#chat-submit")) draft = "";
}, true);
document.addEventListener("keydown", (event) => {
  if (event.target.id === "chat-input" && event.key === "Enter" && !event.shiftKey) draft = "";
}, true);

function keepDraft() {
  const input = document.getElementById("chat-input");
  if (!input || input === composer) return;
  composer = input;
  if (!draft || location.pathname !== `/thread/${ours}` || input.value) return;
  // React notices only what goes through the element's own setter.
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(input, draft);
  input.dispatchEvent(new InputEvent("input", { bubbles: true }));
}

// Chainlit leaves some icon buttons without a name that a screen reader could say.
const NAMES = {
  "sidebar-trigger-button": "Open or close the list of sessions",
  "search-chats-button": "Search sessions",
  "new-chat-button": "New session",
  "theme-toggle": "Change theme",
  "user-nav-button": "Account",
  "chat-submit": "Send",
  "stop-button": "Stop",
  "upload-button": "Attach files",
};

// Plots follow the window's size only; opening the panel changes theirs and not the window's.
const plots = new ResizeObserver(() => {
  clearTimeout(plots.timer);
  plots.timer = setTimeout(() => window.dispatchEvent(new Event("resize")), 120);
});

// A link says which host it leads to, unless its text does.
function showTargets() {
  for (const link of document.querySelectorAll('.message-content a[href^="http"], .tasklist a[href^="http"]')) {
    if (!URL.canParse(link.href)) continue;
    const { host, href } = new URL(link.href);
    const told = host === location.host || link.textContent.includes(host) ? "" : host;
    if ((link.dataset.host ?? "") === told && link.title === href) continue;
    link.dataset.host = told;
    link.title = href;
    link.rel = "noopener noreferrer";
  }
}

new MutationObserver(() => {
  checkSignIn();
  keepDraft();
  showTargets();
  showWaiting(); // the header is drawn anew at times, without what was put on it
  for (const plot of document.querySelectorAll(".message-content:has(.js-plotly-plot):not([data-watched])")) {
    plot.dataset.watched = "";
    plots.observe(plot);
  }
  for (const [id, name] of Object.entries(NAMES)) {
    const button = document.getElementById(id);
    if (button && !button.getAttribute("aria-label")) button.setAttribute("aria-label", name);
  }
}).observe(document.documentElement, { childList: true, subtree: true });

const MOST_STREAMS = 3;

// The text of an error and its next step, as two sentences.
function inFull(error) {
  const { detail, hint } = error || {};
  if (!detail || !hint) return detail || hint || "";
  return `${detail}${/[.!?:]$/.test(detail) ? "" : "."} ${hint}`;
}

// What our own elements share: each is compiled for itself and cannot import another.
window.nebula = {
  // Control, zero-width and text-direction characters would let a text pretend to be another.
  plain: (value) => String(value ?? "").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0")),

  async read(path) {
    const answer = await fetch(path, { credentials: "same-origin" });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(inFull(body) || "The server does not answer.");
    return body;
  },

  // A tool call of whoever is signed in: {result}, {error} or {waiting}, which is an approval's id.
  async call(callAction, tool, given) {
    const key = [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, "0")).join("");
    const lost = { error: { detail: "That did not arrive. Try again." } };
    try {
      const said = (await callAction({ name: "call", payload: { tool, arguments: given, key } }))?.response ?? lost;
      // On a phone what is beside the chat covers it, and with it the card of the approval.
      if (said.waiting) {
        document.querySelector('[role="dialog"]:has(#side-view-content) > button')?.click();
        // A page that reconnects at this moment draws its history anew, and may lose the card.
        const look = () => document.querySelector(`[data-approval="${said.waiting}"]`) || callAction({ name: "ask", payload: { id: said.waiting } }).catch(() => {});
        for (const wait of [1500, 4000]) setTimeout(look, wait);
      }
      return said;
    } catch { return lost; }
  },

  // Reads now, when the server says that something changed, and every now and then; returns what ends it.
  follow(kind, read) {
    let soon;
    const again = () => { clearTimeout(soon); soon = setTimeout(() => document.hidden || read(), 40); };
    const heard = (event) => { if (event.origin === location.origin && event.data?.nebula === kind) again(); };
    const timer = setInterval(again, 15000);
    window.addEventListener("message", heard);
    window.addEventListener("online", again);
    document.addEventListener("visibilitychange", again);
    read();
    return () => {
      clearTimeout(soon);
      clearInterval(timer);
      window.removeEventListener("message", heard);
      window.removeEventListener("online", again);
      document.removeEventListener("visibilitychange", again);
    };
  },

  // Reads whenever one of these events comes on a stream, from behind `after`; returns what ends it.
  // A browser keeps few connections to one server: beyond those, it reads again and again instead.
  watch(stream, after, kinds, read) {
    if ((window.nebulaStreams || 0) >= MOST_STREAMS) {
      const timer = setInterval(read, 2000);
      return () => clearInterval(timer);
    }
    window.nebulaStreams = (window.nebulaStreams || 0) + 1;
    const places = new URLSearchParams({ [stream]: after });
    const source = new EventSource(`/api/events?${new URLSearchParams({ stream, after: places })}`);
    for (const kind of kinds) source.addEventListener(kind, read);
    return () => { source.close(); window.nebulaStreams -= 1; };
  },

  inFull,

  picture,
  wordOf,

  // In the browser's time zone, or in another, which a browser may know under no such name.
  moment(at, timeZone) {
    const told = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    try { return at ? new Date(at).toLocaleString(undefined, { ...told, timeZone }) : ""; }
    catch { return new Date(at).toLocaleString(undefined, told); }
  },

  span(seconds) {
    const s = Math.max(0, Math.round(seconds ?? 0));
    if (s < 60) return `${s} s`;
    const m = Math.floor(s / 60), h = Math.floor(m / 60);
    if (m < 60) return s % 60 ? `${m} min ${s % 60} s` : `${m} min`;
    return h < 48 ? `${h} h ${m % 60} min` : `${Math.floor(h / 24)} days`;
  },

  // "in 3 h 10 min", "5 min ago"
  away(at) {
    const seconds = (new Date(at) - Date.now()) / 1000;
    const said = window.nebula.span(Math.abs(seconds) < 60 ? 0 : Math.floor(Math.abs(seconds) / 60) * 60);
    if (Math.abs(seconds) < 60) return seconds < 0 ? "just now" : "in a moment";
    return seconds < 0 ? `${said} ago` : `in ${said}`;
  },
};
