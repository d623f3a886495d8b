// What Chainlit has no setting for: the system button, being signed out, and a few names.
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
});

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
  setTimeout(() => {
    if (location.pathname === "/") history.replaceState(history.state, "", `/thread/${encodeURIComponent(id)}`);
  }, 1500);
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

new MutationObserver(() => {
  checkSignIn();
  for (const plot of document.querySelectorAll(".message-content:has(.js-plotly-plot):not([data-watched])")) {
    plot.dataset.watched = "";
    plots.observe(plot);
  }
  for (const [id, name] of Object.entries(NAMES)) {
    const button = document.getElementById(id);
    if (button && !button.getAttribute("aria-label")) button.setAttribute("aria-label", name);
  }
}).observe(document.documentElement, { childList: true, subtree: true });
