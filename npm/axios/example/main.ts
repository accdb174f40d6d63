import { createTokenRotator, type RotatorEvent } from "@token-rotator/axios";

interface Session {
  accessToken: string;
  expiresIn: number;
}

const { api, setAccessToken, refresh, on } = createTokenRotator<Session>({
  baseURL: location.origin,
  onRefreshSuccess: ({ accessToken, expiresIn }) => {
    validFor(expiresIn);
    return { accessToken, expiresIn };
  },
  onRefreshFailed: () => show(false, "Please log in."),
  shareAcrossTabs: "example",
});

const $ = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const form = $<HTMLFormElement>("login");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const { data } = await api.post<Session>("/login", Object.fromEntries(new FormData(form)), { skipAuth: true });
    setAccessToken(data.accessToken, { expiresIn: data.expiresIn });
    validFor(data.expiresIn);
    show(true, "You are logged in.");
    $("storm").focus();
  } catch {
    say("That did not work. Is the password right, and the server running?");
  }
});

$("storm").addEventListener("click", async () => {
  say("Sending 50 requests.");
  const answers = await Promise.allSettled(Array.from({ length: 50 }, (_, n) => api.get(`/echo?request=${n}`)));
  const answered = answers.filter(({ status }) => status === "fulfilled").length;
  say(`${answered} of 50 requests were answered.`);
});

$("logout").addEventListener("click", async () => {
  try {
    await api.post("/logout");
  } finally {
    setAccessToken(null);
  }
});

on((event) => {
  const entry = document.createElement("li");
  entry.textContent = inWords(event);
  $("events").append(entry);
  // What another tab does to the session this page follows too.
  if (event.type === "signed-in" && event.elsewhere) show(true, "You logged in in another tab.");
  if (event.type === "signed-out") {
    show(false, event.elsewhere ? "You logged out in another tab." : "You are logged out.");
    if (!event.elsewhere) form.querySelector("input")!.focus();
  }
});

// The session outlives the page: after a reload it is in the cookie, and a new tab gets the token from the others.
refresh().then(
  () => show(true, "You are still logged in."),
  () => undefined,
);

function inWords(event: RotatorEvent): string {
  switch (event.type) {
    case "refresh-started": return `A refresh started (${event.purpose}).`;
    case "refreshed": return event.adopted ? "Another tab brought a new token." : "A new token is there.";
    case "refresh-failed": return `The refresh failed (${event.ending}).`;
    case "hook-failed": return `The hook ${event.hook} failed.`;
    case "signed-in": return "Logged in.";
    case "signed-out": return "Logged out.";
    case "clock-ahead": return `This clock is at least ${Math.ceil(event.by / 1000)} s ahead of the issuer.`;
  }
}

function show(loggedIn: boolean, message: string): void {
  form.hidden = loggedIn;
  $("session").hidden = !loggedIn;
  say(message);
}

function say(message: string): void {
  $("status").textContent = message;
}

function validFor(seconds: number): void {
  $("validity").textContent = `Each access token is good for ${seconds} seconds.`;
}
