"use strict";
// Cells are compared in pairs: one text in a column of numbers, which come first, leaves these numbers. Texts are compared
// by their parts, so that ratio-0.75 stands between ratio-0.5 and ratio-0.9.
const isNumber = (key) => key.trim() !== "" && Number.isFinite(Number(key));
const compareTexts = (a, b) => {
  const [ours, theirs] = [a, b].map((text) => text.split(/(\d+(?:\.\d+)?)/)); // every second part is a number
  for (let place = 0; place < Math.min(ours.length, theirs.length); place++) {
    const order =
      place % 2 ? Number(ours[place]) - Number(theirs[place]) : ours[place].localeCompare(theirs[place], "en");
    if (order) return order;
  }
  return ours.length - theirs.length;
};
const compareKeys = (a, b) =>
  isNumber(a) && isNumber(b) ? Number(a) - Number(b) : isNumber(b) - isNumber(a) || compareTexts(a, b);
// Tables sort by a click, or a key, on a heading; cells without a value stay last.
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", other === heading ? direction : "none"));
      const key = (row) => row.cells[column].dataset.order;
      const filled = [...body.rows].filter((row) => key(row));
      const empty = [...body.rows].filter((row) => !key(row));
      filled.sort((a, b) => (direction === "ascending" ? 1 : -1) * compareKeys(key(a), key(b)));
      body.append(...filled, ...empty);
    });
  });
}
// Videos move without controls in their way; a button stops and starts those of a section. Whoever asked the system for
// less motion starts them by it.
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
for (const gallery of document.querySelectorAll(".gallery:has(video)")) {
  const videos = [...gallery.querySelectorAll("video")];
  const button = document.createElement("button");
  button.type = "button";
  button.className = "motion";
  const show = (moving) => {
    button.textContent = moving ? "Stop the pictures" : "Let the pictures move";
    videos.forEach((video) => (moving ? video.play().catch(() => {}) : video.pause()));
  };
  videos.forEach((video) => {
    video.controls = false;
    video.autoplay = !still;
  });
  button.addEventListener("click", () => show(videos.every((video) => video.paused)));
  gallery.before(button);
  show(!still);
}
// A link, or the address, opens what is folded around its goal; on paper nothing is folded.
const unfold = () => {
  const goal = location.hash && document.getElementById(location.hash.slice(1));
  if (goal) goal.querySelector("details.fold")?.setAttribute("open", "");
};
addEventListener("hashchange", unfold);
unfold();
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
