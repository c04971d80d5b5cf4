// What a page does beside being read: it asks for itself again when what it shows was drawn anew, and draws an arrow
// from what drives a milestone to it. Everything is readable without this file.
"use strict";
(() => {
  const AT_ONCE = 1000, AGAIN = 3000;
  const live = document.getElementById("live");
  let wanted = null, timer = null, etag = null;

  const main = () => document.getElementById("main");

  function say(is, text) {
    live.dataset.is = is;
    live.textContent = text;
  }

  // A page says of what it was drawn, and the stream what is drawn now.
  function isBehind() {
    return wanted !== null && main().dataset.drawn !== wanted;
  }

  function askSoon(after) {
    if (timer === null && !document.hidden) timer = setTimeout(ask, after);
  }

  async function ask() {
    timer = null;
    try {
      const answer = await fetch(location.href, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-cache" });
      if (answer.ok) {
        etag = answer.headers.get("ETag");
        show(await answer.text());
      }
    } catch {
      // This answer was lost, or the worker is away: asked for a little later, too.
    }
    // The worker may rest from making pages: then this one is as it was, and is asked for a little later.
    if (isBehind()) askSoon(AGAIN);
  }

  function show(text) {
    const next = new DOMParser().parseFromString(text, "text/html");
    const fresh = next.getElementById("main");
    if (!fresh) return;
    const old = main(), within = old.contains(document.activeElement) ? place(document.activeElement) : null;
    old.querySelectorAll("details").forEach((one, at) => {
      const its = fresh.querySelectorAll("details")[at];
      if (its) its.open = one.open;
    });
    const scrolled = [...old.querySelectorAll(".wide")].map((one) => one.scrollLeft);
    window.dispatchEvent(new CustomEvent("milepost:leave"));
    old.replaceWith(fresh);
    document.title = next.title;
    fresh.querySelectorAll(".wide").forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
    if (within) find(within)?.focus({ preventScroll: true });
    draw();
  }

  // Whoever was on a link is on the same link afterwards.
  function place(one) {
    const href = one.getAttribute("href");
    const same = [...main().querySelectorAll("a[href]")].filter((link) => link.getAttribute("href") === href);
    return { href, at: same.indexOf(one) };
  }
  function find({ href, at }) {
    if (href === null) return main();
    return [...main().querySelectorAll("a[href]")].filter((link) => link.getAttribute("href") === href)[Math.max(0, at)];
  }

  function listen() {
    const { programme, every } = main().dataset;
    if (every) { setInterval(() => { if (!document.hidden) ask(); }, 1000 * Number(every)); return; }
    if (!programme) return;
    const all = programme === "*";
    const source = new EventSource(live.dataset.stream + (all ? "" : `?programme=${encodeURIComponent(programme)}`));
    source.addEventListener("open", () => say("live", "live"));
    source.addEventListener("error", () => say("away", "the worker is away"));
    // Whoever begins to listen, or again, is told first how it is now.
    source.addEventListener(all ? "turn" : "drawn", (message) => {
      const { turn, revision, data_date: day } = JSON.parse(message.data);
      wanted = all ? turn : `${revision} ${day}`;
      if (isBehind()) askSoon(all ? AT_ONCE : 0);
    });
    document.addEventListener("visibilitychange", () => { if (!document.hidden && isBehind()) askSoon(0); });
    window.addEventListener("pagehide", () => source.close());
  }

  // The timeline: the grid lies behind the last column, and an arrow leads from a driver's mark to what it drives.
  function draw() {
    const chart = document.getElementById("timeline");
    if (chart) { fit(chart); point(chart); }
    window.dispatchEvent(new CustomEvent("milepost:draw"));
  }

  function fit(chart) {
    const column = chart.querySelector("th.lane").getBoundingClientRect(), whole = chart.getBoundingClientRect();
    const head = chart.querySelector("thead").getBoundingClientRect();
    const grid = chart.querySelector(".grid");
    grid.style.left = `${column.left - whole.left - 1}px`;
    grid.style.top = `${head.bottom - whole.top - 1}px`;
    grid.setAttribute("width", column.width);
    grid.setAttribute("height", whole.height - (head.bottom - whole.top));
  }

  function point(chart) {
    const arrows = chart.querySelector(".arrows");
    const rows = new Map([...chart.querySelectorAll("tr[data-name]")].map((row) => [row.dataset.name, row]));
    const clear = () => {
      arrows.replaceChildren();
      chart.querySelectorAll(".drives").forEach((row) => row.classList.remove("drives"));
    };
    const aim = (event) => {
      const row = event.target.closest("tr[data-name]");
      clear();
      const driver = row && rows.get(row.dataset.driver);
      if (!driver) return;
      driver.classList.add("drives");
      const from = middle(driver, chart), to = middle(row, chart);
      if (from && to) arrows.append(...arrow(from, to));
    };
    chart.addEventListener("mouseover", aim);
    chart.addEventListener("focusin", aim);
    chart.addEventListener("mouseleave", clear);
    chart.addEventListener("focusout", clear);
  }

  function middle(row, chart) {
    const mark = row.querySelector(".mark");
    if (!mark) return null;
    const its = mark.getBoundingClientRect(), whole = chart.getBoundingClientRect();
    return { x: its.left + its.width / 2 - whole.left, y: its.top + its.height / 2 - whole.top };
  }

  function arrow(from, to) {
    const down = to.y > from.y ? 1 : -1, end = to.y - 9 * down;
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", `M${from.x} ${from.y + 7 * down}C${from.x} ${(from.y + end) / 2} ${to.x} ${(from.y + end) / 2} ${to.x} ${end - 4 * down}`);
    const tip = document.createElementNS("http://www.w3.org/2000/svg", "path");
    tip.setAttribute("d", `M${to.x} ${end + 2 * down}l-4 ${-7 * down}h8z`);
    tip.classList.add("tip");
    return [line, tip];
  }

  window.addEventListener("resize", () => { const chart = document.getElementById("timeline"); if (chart) fit(chart); });
  draw();
  listen();
})();
