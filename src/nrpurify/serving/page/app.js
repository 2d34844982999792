// The page: a photograph and settings in, a run, its result out.

import * as api from "./api.js";
import { offerPairs } from "./compare.js";
import { blobOf, figure } from "./pictures.js";

const byId = (id) => document.getElementById(id);
const EPS = [1, 2, 4, 8, 12, 16, 24, 32];
let photo = null; // what is sent: a File, or the Blob of an example
let example = "";
let limits = null;
let running = null; // the AbortController of a run
let addresses = []; // object URLs of the result on show

// ---- settings

function option(value, text, selected) {
  return new Option(text, value, selected, selected);
}

function victims() {
  return [...document.querySelectorAll("#victims input:checked")].map((box) => box.value);
}

function showMode() {
  const attacks = byId("mode").value === "attack";
  for (const part of document.querySelectorAll("[data-only=attack]")) part.hidden = !attacks;
  byId("steps").disabled = !attacks;
}

/** Fill the form with what the server has, then with what the address says. */
function offer(found) {
  limits = found.limits;
  const most = Math.round(limits.max_eps * 255);
  const budgets = EPS.filter((eps) => eps <= most);
  byId("eps").replaceChildren(...budgets.map((eps) => option(`${eps}/255`, `${eps}/255`, eps === Math.min(16, most))));
  byId("steps").max = limits.max_steps;
  byId("purifier").replaceChildren(...found.purifiers.map(({ name }) => option(name, name, false)));
  if (found.victims.length) {
    const boxes = found.victims.map(({ name }) => {
      const label = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: name, checked: true });
      label.append(box, name);
      return label;
    });
    byId("victims").replaceChildren(byId("victims").querySelector("legend"), ...boxes);
  }
  if (!limits.attack) {
    byId("mode").value = "purify";
    byId("mode-field").hidden = true;
  }
  restore();
  showMode();
}

function settings() {
  const found = new URLSearchParams({ mode: byId("mode").value });
  if (found.get("mode") === "attack") {
    found.set("eps", byId("eps").value);
    found.set("steps", byId("steps").value);
  }
  found.set("purifier", byId("purifier").value);
  for (const name of victims()) found.append("victim", name);
  if (!victims().length) found.set("victim", "");
  if (example) found.set("photo", example);
  return found;
}

function restore() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of ["mode", "eps", "purifier"]) {
    const value = given.get(name);
    if ([...byId(name).options].some((one) => one.value === value)) byId(name).value = value;
  }
  if (!limits.attack) byId("mode").value = "purify";
  const steps = Number(given.get("steps"));
  if (steps >= 1 && steps <= limits.max_steps) byId("steps").value = Math.round(steps);
  if (given.has("victim")) {
    const wanted = given.getAll("victim");
    for (const box of document.querySelectorAll("#victims input")) box.checked = wanted.includes(box.value);
  }
  const named = document.querySelector(`[data-example="${CSS.escape(given.get("photo") ?? "")}"]`);
  if (named) choose(named.dataset.example);
}

// ---- photograph

function usePhoto(file, name, fromExample = "") {
  if (limits && file.size > limits.max_bytes) {
    problem(`the photograph has ${file.size.toLocaleString("en")} bytes; this server takes ${limits.max_bytes.toLocaleString("en")}: choose a smaller one`);
    return;
  }
  problem("");
  photo = file;
  example = fromExample;
  const shown = byId("chosen");
  URL.revokeObjectURL(shown.src);
  shown.src = URL.createObjectURL(file);
  shown.hidden = false;
  shown.alt = `The chosen photograph: ${name}`;
  byId("chosen-name").textContent = `Chosen: ${name}`;
  for (const button of document.querySelectorAll("[data-example]")) {
    button.setAttribute("aria-pressed", String(button.dataset.example === fromExample));
  }
}

async function choose(name) {
  try {
    const answer = await fetch(`examples/${name}.webp`);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    usePhoto(await answer.blob(), document.querySelector(`[data-example="${name}"] img`).alt, name);
  } catch (error) {
    problem(`the example cannot be loaded (${error.message}); choose another photograph`);
  }
}

function takeFiles(files) {
  const [file] = [...files].filter((one) => one.type.startsWith("image/"));
  if (file) usePhoto(file, file.name || "pasted image");
  else if (files.length) problem("this is no image; choose a JPEG, PNG, WebP, GIF, BMP or AVIF file");
}

// ---- run

function problem(text) {
  byId("problem").textContent = text ? text[0].toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".") : "";
  byId("problem").hidden = !text;
}

function tell({ stage, step, steps }) {
  const texts = {
    waiting: "Waiting for other attacks.",
    attack: `Attack: step ${step} of ${steps}.`,
    answers: "Purifying, and asking the victims.",
  };
  byId("stage").textContent = texts[stage];
  byId("progress").value = stage === "answers" ? 0.95 : (0.9 * step) / steps;
}

function setRunning(controller) {
  running = controller;
  byId("run").disabled = Boolean(controller);
  byId("cancel").disabled = !controller;
  byId("progress").hidden = !controller;
  byId("progress").value = 0;
  byId("result").setAttribute("aria-busy", String(Boolean(controller)));
}

async function run() {
  problem("");
  if (!photo) {
    problem("no photograph is chosen; choose one, or take an example");
    return;
  }
  const controller = new AbortController();
  setRunning(controller);
  byId("stage").textContent = "Sending the photograph.";
  try {
    const parts = byId("mode").value === "attack" ? await attackParts(controller.signal) : await purifyParts(controller.signal);
    show(parts);
    byId("stage").textContent = "Done.";
  } catch (error) {
    const cancelled = controller.signal.aborted;
    byId("stage").textContent = cancelled ? "Cancelled." : "";
    if (!cancelled) fail(error);
  } finally {
    setRunning(null);
  }
}

function fail(error) {
  if (error instanceof api.Refused) {
    problem(error.message);
    if (error.status === 401) askToken();
  } else {
    problem("the server cannot be reached; see whether it runs, then try again");
  }
}

async function attackParts(signal) {
  const query = settings();
  for (const name of ["mode", "photo"]) query.delete(name);
  const found = await api.attack(photo, query, tell, signal);
  const answers = (name) => found.answers[name];
  const gate = found.gate === null ? "" : `Its gate gave this image ${Math.round(100 * found.gate)} % of its extra strength.`;
  return {
    summary: found.summary,
    reference: answers("clean"),
    pairs: [["attacked", "purified"], ["clean", "attacked"], ["clean", "purified"]],
    parts: {
      clean: { title: "Clean", alt: "The photograph before the attack", blob: blobOf(found.clean), answers: answers("clean"), file: "clean.png" },
      attacked: { title: "Attacked", alt: "The attacked photograph", blob: blobOf(found.attacked), answers: answers("attacked"), file: "attacked.png", note: `No value changed by more than ${found.largest_change} of 255.` },
      difference: { title: "Difference", alt: "The attack's change, enlarged around middle gray", blob: blobOf(found.difference), note: "Attacked minus clean, enlarged: gray is no change, black and white are the whole budget.", file: "difference.png" },
      purified: { title: "Purified", alt: "The attacked photograph after the purifier", blob: blobOf(found.purified), answers: answers("purified"), file: "purified.png", note: gate },
    },
  };
}

async function purifyParts(signal) {
  const purifier = byId("purifier").value;
  const found = await api.purify(photo, purifier, signal);
  const purified = blobOf(found.image);
  const answers = { before: [], after: [] };
  for (const victim of victims()) {
    byId("stage").textContent = `Asking ${victim}.`;
    answers.before.push(await api.predict(photo, victim, "none", signal));
    answers.after.push(await api.predict(photo, victim, purifier, signal));
  }
  const gate = found.gate === null ? "" : ` Its gate gave the image ${Math.round(100 * found.gate)} % of its extra strength.`;
  return {
    summary: `${purifier} purified the photograph in ${found.seconds.toFixed(2)} s.${gate}`,
    reference: answers.before,
    pairs: [["before", "purified"]],
    parts: {
      before: { title: "As sent", alt: "The photograph as sent", blob: photo, answers: answers.before },
      purified: { title: "Purified", alt: "The photograph after the purifier", blob: purified, answers: answers.after, file: "purified.png" },
    },
  };
}

function show({ summary, parts, pairs, reference }) {
  addresses.forEach((address) => URL.revokeObjectURL(address));
  for (const part of Object.values(parts)) part.url = URL.createObjectURL(part.blob);
  addresses = Object.values(parts).map((part) => part.url);
  byId("summary").textContent = summary;
  byId("pictures").replaceChildren(...Object.values(parts).map((part) => figure(part, part.url, reference)));
  offerPairs(pairs, parts);
  byId("result").hidden = false;
  byId("result").focus({ preventScroll: false });
}

// ---- token, link, events

function askToken() {
  byId("token-field").hidden = false;
  byId("token").focus();
}

async function start() {
  try {
    offer(await api.models());
    byId("token-field").hidden = true;
    problem("");
  } catch (error) {
    fail(error);
    if (error.status === 503) setTimeout(start, 2000); // the models are being loaded
  }
}

async function copyLink() {
  history.replaceState(null, "", `#${settings()}`);
  const note = photo && !example ? " The photograph itself is not part of it." : "";
  try {
    await navigator.clipboard.writeText(location.href);
    byId("stage").textContent = `The link is copied.${note}`;
  } catch {
    byId("stage").textContent = `The link is in the address bar.${note}`;
  }
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) run();
});
byId("cancel").addEventListener("click", () => running?.abort());
byId("link").addEventListener("click", copyLink);
byId("mode").addEventListener("change", showMode);
byId("file").addEventListener("change", (event) => {
  takeFiles(event.target.files);
  event.target.value = ""; // the same file may be chosen again
});
byId("token-use").addEventListener("click", () => {
  api.setToken(byId("token").value);
  start();
});
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => choose(button.dataset.example));
}
addEventListener("hashchange", () => limits && (restore(), showMode()));
document.addEventListener("paste", (event) => takeFiles(event.clipboardData.files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") takeFiles(event.dataTransfer.files);
  });
}
start();
