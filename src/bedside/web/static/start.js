// Signs in: the start token, or a name with its password. The token stands behind # in the address: no log holds it.
async function exchange(form, path, body) {
  const place = form.querySelector(".error");
  place.hidden = true;
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (response.ok) return location.replace("/");
    place.textContent = response.status === 429 ? place.dataset.wait : place.dataset.refused;
  } catch {
    place.textContent = place.dataset.silent;
  }
  place.hidden = false;
}

const start = document.getElementById("start");
const field = document.getElementById("token");
start.addEventListener("submit", (event) => {
  event.preventDefault();
  exchange(start, "/start", { token: field.value.trim() });
});

const login = document.getElementById("login");
login?.addEventListener("submit", (event) => {
  event.preventDefault();
  exchange(login, "/login", Object.fromEntries(new FormData(login)));
});

const token = location.hash.slice(1);
if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  field.value = token;
  start.requestSubmit();
} else {
  (login?.querySelector("input") ?? field).focus();
}
