// Jobs: a table goes in as it lies on the disk, and the list follows what the worker does.
import { complain, send } from "./page.js";

const form = document.getElementById("batch");
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  complain(form);
  const fields = new FormData(form);
  try {
    await send(`/jobs/batch?release=${encodeURIComponent(fields.get("release"))}`, fields.get("table"), "text/csv");
    location.reload();
  } catch (error) {
    complain(form, error.message);
  }
});

// While something waits or runs, the table is fetched again; nothing else on the page moves.
const live = document.querySelector("[data-live]");
const going = () => live.querySelector("[data-state=waiting], [data-state=running]");
async function follow() {
  if (!going()) return;
  const response = await fetch(location.href);
  if (response.ok) {
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    live.replaceChildren(...page.querySelector("[data-live]").children);
  }
  setTimeout(follow, 1500);
}
setTimeout(follow, 1000);

live.addEventListener("submit", async (event) => {
  event.preventDefault();
  await send(event.target.dataset.post, {});
  location.reload();
});
