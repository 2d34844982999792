// Pictures with the victims' answers below them.

const SHOWN = 3;

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A PNG file in base64 as a Blob. */
export function blobOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

/** A figure: picture, caption, download, and a list of bars for each victim. */
export function figure(part, url, reference) {
  const made = element("figure");
  const caption = element("figcaption", part.title);
  if (part.file) caption.append(element("a", "Download", { href: url, download: part.file, "aria-label": `Download: ${part.title}` }));
  made.append(element("img", "", { src: url, alt: part.alt }), caption);
  if (part.note) made.append(element("p", part.note, { class: "note" }));
  if (part.answers?.length) made.append(answers(part.answers, reference));
  return made;
}

function answers(predictions, reference) {
  const made = element("div", "", { class: "answers" });
  predictions.forEach((prediction, place) => {
    const heading = element("h3", prediction.victim);
    if (reference && reference !== predictions) heading.append(": ", verdict(prediction, reference[place]));
    made.append(heading, bars(prediction));
  });
  return made;
}

function first(prediction) {
  return prediction.classes[0]?.name ?? prediction.boxes.map((box) => box.name).sort().join(", ");
}

function verdict(prediction, clean) {
  const same = first(prediction) === first(clean);
  return element("span", same ? "as before" : "changed", { class: same ? "same" : "changed" });
}

function bars(prediction) {
  const rows = prediction.classes.length
    ? prediction.classes.map(({ name, probability }) => [name, probability])
    : prediction.boxes.map(({ name, score }) => [name, score]);
  if (!rows.length) return element("p", "nothing found", { class: "note" });
  const list = element("ol");
  for (const [name, share] of rows.slice(0, SHOWN)) {
    const percent = Math.round(100 * share);
    const line = element("div", "", { class: "line" });
    line.append(element("span", name), element("span", `${percent} %`));
    const bar = element("div", "", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", `${percent}%`);
    const item = element("li");
    item.append(line, bar);
    list.append(item);
  }
  return list;
}
