// What every page does: the theme without a reload, signing out, and forms that post JSON and say what went wrong.
const root = document.documentElement;
const silent = "—";

/** Send JSON (or a file of a type) with the session's token; the response, or an Error whose message can be shown. */
export async function send(path, body, type = "application/json") {
  const token = document.querySelector("meta[name=csrf]")?.content ?? "";
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": type, "x-csrf-token": token },
    body: type === "application/json" ? JSON.stringify(body) : body,
  });
  if (response.status === 401) location.assign("/start");
  if (!response.ok) throw new Error(await reason(response));
  return response;
}

async function reason(response) {
  try {
    const { error } = await response.json();
    return error.way_out ? `${error.what} → ${error.way_out}` : error.what;
  } catch {
    return `${response.status} ${response.statusText || silent}`;
  }
}

/** Show a message in the form's own place for errors; nothing hides it. */
export function complain(form, message) {
  const place = form.querySelector(".error");
  place.textContent = message ?? "";
  place.hidden = !message;
}

document.querySelector("[data-theme-switch]")?.addEventListener("click", (event) => {
  event.preventDefault();
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
  root.dataset.theme = next;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `theme=${next}; path=/; max-age=31536000; samesite=strict${secure}`;
});

document.querySelector("[data-leave]")?.addEventListener("click", async () => {
  await send("/leave", {});
  location.assign("/start");
});

const bodies = {
  stage: (fields) => ({
    stage: fields.get("stage"),
    overrides: Object.fromEntries(
      [...fields].filter(([key, value]) => key.startsWith("override:") && value).map(([key, value]) => [key.slice(9), value]),
    ),
  }),
  champion: (fields) => ({ release: fields.get("release"), reason: fields.get("reason") }),
  account: (fields) => ({ name: fields.get("name"), password: fields.get("password"), roles: fields.getAll("roles") }),
  change: (fields) => ({
    roles: fields.getAll("roles"),
    enabled: fields.has("enabled"),
    ...(fields.get("password") ? { password: fields.get("password") } : {}),
  }),
  rollback: (fields) => ({ reason: fields.get("reason") }),
};

for (const form of document.querySelectorAll("form[data-post]:not([data-live] form)")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    complain(form);
    try {
      await send(form.dataset.post, bodies[form.dataset.body](new FormData(form)));
      location.reload();
    } catch (error) {
      complain(form, error.message);
    }
  });
}
