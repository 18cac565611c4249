// Exchanges the start token for a session. The token stands behind # in the address, so that no log holds it.
const form = document.getElementById("start");
const field = document.getElementById("token");
const place = form.querySelector(".error");

async function exchange() {
  place.hidden = true;
  try {
    const response = await fetch("/start", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token: field.value.trim() }),
    });
    if (response.ok) return location.replace("/");
    place.textContent = place.dataset.refused;
  } catch {
    place.textContent = place.dataset.silent;
  }
  place.hidden = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  exchange();
});

const token = location.hash.slice(1);
if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  field.value = token;
  exchange();
}
