// Try it: fields or an image in, the answer as a piece of the page out, the heat map drawn over the image.
import { complain, send } from "./page.js";
import { Picture } from "./picture.js";

const form = document.getElementById("row");
const answer = document.getElementById("answer");
const example = JSON.parse(document.getElementById("example").textContent);
const drop = form.querySelector(".drop");
let asked = null; // the row of the answer that is shown
const picture = drop ? new Picture(drop, document.getElementById("opacity")) : null;

function value(control) {
  const text = control.value;
  if (text === "") return null;
  if (control.dataset.kind === "number") return Number(text);
  if (control.dataset.kind === "boolean") return text === "true";
  return text;
}

function row() {
  const fields = [...form.querySelectorAll("[data-kind]")].map((control) => [control.name, value(control)]);
  const out = Object.fromEntries(fields);
  if (picture) out[drop.dataset.image] = picture.base64;
  return out;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  complain(form);
  form.setAttribute("aria-busy", "true");
  try {
    asked = row();
    const response = await send(form.dataset.answer, { row: asked });
    answer.innerHTML = await response.text(); // our own template, which escapes every value
    const map = answer.querySelector("script.map");
    picture?.overlay(map ? JSON.parse(map.textContent) : null);
  } catch (error) {
    complain(form, error instanceof TypeError ? answer.dataset.silent : error.message);
  } finally {
    form.removeAttribute("aria-busy");
  }
});

// Accept, correct or reject: the row goes along, so that a correction can be learnt from.
answer.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = event.target;
  const verdict = event.submitter.value;
  const correction = said.elements.correction;
  const right = correction?.type === "number" ? Number(correction.value) : correction?.value;
  complain(said);
  try {
    await send(`/answers/${said.dataset.answer}/feedback`, {
      verdict,
      reason: said.elements.reason.value,
      ...(verdict === "correct" ? { correction: right } : {}),
      row: asked,
    });
    said.querySelector(".done").hidden = false;
  } catch (error) {
    complain(said, error.message);
  }
});

form.addEventListener("reset", () => picture?.clear());

document.getElementById("fill").addEventListener("click", () => {
  for (const control of form.querySelectorAll("[data-kind]")) {
    const given = example[control.name];
    const text = given === null || given === undefined ? "" : String(given);
    control.value = control.dataset.kind === "time" ? text.slice(0, 19).replace(" ", "T") : text;
    mark(control);
  }
  const image = drop && example[drop.dataset.image];
  if (image) picture.fromBase64(image);
});

// A number that training did not show is marked while it is typed; the answer says so too.
function mark(control) {
  const { low, high } = control.dataset;
  if (low === undefined) return;
  const number = control.value === "" ? null : Number(control.value);
  control.classList.toggle("unusual", number !== null && (number < Number(low) || number > Number(high)));
}
form.addEventListener("input", (event) => mark(event.target));

document.getElementById("release").addEventListener("change", (event) => location.assign(event.target.value));
