// The sign-in form, and the one that asks for the password again: sends what was typed once, and
// goes where the person wanted to go.
const form = document.getElementById("sign-in");
const problem = document.getElementById("problem");
const submit = document.getElementById("submit");
const password = document.getElementById("password");
const reveal = document.getElementById("reveal");

function destination() {
  const next = new URLSearchParams(location.search).get("next") || "/";
  // Only a path of this server: never a link that leads elsewhere.
  return /^\/(?![/\\])/.test(next) && !next.startsWith("/login") ? next : "/";
}

function complain(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

reveal.addEventListener("click", () => {
  const shown = password.type === "text";
  password.type = shown ? "password" : "text";
  reveal.textContent = shown ? "Show" : "Hide";
  reveal.setAttribute("aria-pressed", String(!shown));
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = Object.fromEntries(new FormData(form));
  if (!body.password || body.name === "") return complain("Fill in everything.");
  submit.disabled = true;
  complain("");
  try {
    const answer = await fetch(form.dataset.to || "/api/auth/sign-in", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (answer.ok) return location.replace(destination());
    const error = await answer.json().catch(() => ({}));
    complain([error.detail || "That did not work.", error.hint].filter(Boolean).join(" "));
  } catch {
    complain("The server does not answer. Check that it runs, then try again.");
  }
  submit.disabled = false;
  password.select();
});
