// The slider between two pictures.

const byId = (id) => document.getElementById(id);

/** Offer pairs of pictures: `pairs` has lists of two names, `parts` their titles and addresses. */
export function offerPairs(pairs, parts) {
  const select = byId("pair");
  select.replaceChildren(
    ...pairs.map(([before, after]) => new Option(`${parts[before].title} and ${parts[after].title.toLowerCase()}`)),
  );
  const show = () => {
    const [before, after] = pairs[select.selectedIndex];
    for (const [id, name] of [["before", before], ["after", after]]) {
      byId(id).src = parts[name].url;
      byId(id).alt = `${parts[name].title}, ${id === "before" ? "left" : "right"} of the border`;
    }
    move();
  };
  select.onchange = show;
  show();
}

function move() {
  const value = byId("split").value;
  byId("compare").style.setProperty("--split", `${value}%`);
  byId("split").setAttribute("aria-valuetext", `${value} percent from the left`);
}

byId("split").addEventListener("input", move);
byId("compare").addEventListener("pointermove", (event) => {
  if (event.pointerType === "touch" && !event.isPrimary) return;
  const frame = byId("compare").getBoundingClientRect();
  byId("split").value = (100 * (event.clientX - frame.left)) / frame.width;
  move();
});
