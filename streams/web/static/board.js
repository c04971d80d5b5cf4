// Live updates and driver arrows. A page fetches itself again when a newer version of what it shows is announced, and an
// arrow connects a milestone with its driver. Every page is readable without this file.
"use strict";
(() => {
  const REFRESH_DELAY_MS = 1000, RETRY_MS = 3000, MINUTE_MS = 60000;
  const live = document.getElementById("live"), newestEvent = document.getElementById("newest-event");
  // `newestAt`: when the newest event came, by the clock of this browser.
  let latestVersion = null, timer = null, etag = null, newestAt = null, ageTimer = null;

  const main = () => document.getElementById("main");

  function setState(state, text) {
    live.dataset.state = state;
    live.textContent = text;
  }

  // "Live" is said only while the board is there and says that all is well.
  function showFreshness({ age_seconds: age, newest_event: newest, summary }) {
    setState(summary ? "trouble" : "well", summary || "live");
    if (newest === null) return;
    newestAt = Date.now() - 1000 * age;
    const time = document.createElement("time");
    time.dateTime = newest;
    newestEvent.replaceChildren("Newest event ", time);
    showAge();
  }

  function showAge() {
    clearTimeout(ageTimer);
    const age = Math.max(0, Date.now() - newestAt);
    newestEvent.querySelector("time").textContent = ageText(Math.floor(age / 1000));
    ageTimer = setTimeout(showAge, age < MINUTE_MS ? 1000 : MINUTE_MS - age % MINUTE_MS);
  }

  function ageText(seconds) {
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= size) return `${Math.floor(seconds / size).toLocaleString("en")} ${unit} ago`;
    }
    return `${seconds} s ago`;
  }

  // The page carries the version it was rendered from; the stream announces the latest one.
  function isBehind() {
    return latestVersion !== null && main().dataset.version !== latestVersion;
  }

  // A part of the page is still being calculated.
  const isPending = () => main().dataset.pending !== undefined;

  function scheduleRefresh(delayMs) {
    if (timer === null && !document.hidden) timer = setTimeout(refresh, delayMs);
  }

  async function refresh() {
    timer = null;
    try {
      const response = await fetch(location.href, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-cache" });
      if (response.ok) {
        etag = response.headers.get("ETag");
        replaceMain(await response.text());
      }
    } catch {
      // The response was lost or the worker is down: retried below.
    }
    // The worker may still serve a cached page during its cooldown: retry until the version matches.
    if (isBehind() || isPending()) scheduleRefresh(RETRY_MS);
  }

  // Replaces the content and keeps what the reader did to the page: open details, scroll positions and the focus.
  function replaceMain(text) {
    const parsed = new DOMParser().parseFromString(text, "text/html");
    const replacement = parsed.getElementById("main");
    if (!replacement) return;
    const current = main();
    const focused = current.contains(document.activeElement) ? linkPosition(document.activeElement) : null;
    const others = [...replacement.querySelectorAll("details")];
    current.querySelectorAll("details").forEach((details, index) => {
      // Projects come and go, and have names; all else keeps its place among what has none.
      const counterpart = details.id ? others.find(({ id }) => id === details.id) : others[index];
      if (counterpart) counterpart.open = details.open;
    });
    const scrollLefts = [...current.querySelectorAll(".table-scroll")].map((element) => element.scrollLeft);
    window.dispatchEvent(new CustomEvent("milepost:dispose-charts"));
    current.replaceWith(replacement);
    document.title = parsed.title;
    // Without a stream, the head is as fresh as the page. The elements stay: they are written to as long as the page is open.
    if (replacement.dataset.refreshSeconds) {
      const { dataset, textContent } = parsed.getElementById("live");
      setState(dataset.state, textContent);
      newestEvent.replaceChildren(...parsed.getElementById("newest-event").childNodes);
    }
    replacement.querySelectorAll(".table-scroll").forEach((element, index) => { element.scrollLeft = scrollLefts[index] || 0; });
    if (focused) findLink(focused)?.focus({ preventScroll: true });
    render();
  }

  // A link is identified by its address, and by its position among the links with that address.
  const linksTo = (href) => [...main().querySelectorAll("a[href]")].filter((link) => link.getAttribute("href") === href);
  function linkPosition(element) {
    const href = element.getAttribute("href");
    return { href, index: linksTo(href).indexOf(element) };
  }
  function findLink({ href, index }) {
    return href === null ? main() : linksTo(href)[Math.max(0, index)];
  }

  function subscribe() {
    const { programme, refreshSeconds } = main().dataset;
    if (refreshSeconds) { setInterval(() => { if (!document.hidden) refresh(); }, 1000 * Number(refreshSeconds)); return; }
    if (!programme) return;
    const isOverview = programme === "*";
    const source = new EventSource(live.dataset.stream + (isOverview ? "" : `?programme=${encodeURIComponent(programme)}`));
    source.addEventListener("freshness", (message) => showFreshness(JSON.parse(message.data)));
    source.addEventListener("open", () => { live.dataset.connection = "live"; });
    source.addEventListener("error", () => {
      if (live.dataset.connection !== "lost") setState("trouble", `The board is away since ${new Date().toISOString().slice(11, 16)} UTC`);
      live.dataset.connection = "lost";
    });
    // The current version is sent first after every connect.
    source.addEventListener(isOverview ? "turn" : "drawn", (message) => {
      const { turn, revision, data_date: dataDate } = JSON.parse(message.data);
      latestVersion = isOverview ? turn : `${revision} ${dataDate}`;
      if (isBehind()) scheduleRefresh(isOverview ? REFRESH_DELAY_MS : 0);
    });
    document.addEventListener("visibilitychange", () => { if (!document.hidden && (isBehind() || isPending())) scheduleRefresh(0); });
    window.addEventListener("pagehide", () => source.close());
  }

  // The timeline: the grid lies behind the last column, and an arrow leads from the driver's mark to the milestone's.
  function render() {
    const chart = document.getElementById("timeline");
    if (chart) { fitGrid(chart); enableDriverArrows(chart); }
    window.dispatchEvent(new CustomEvent("milepost:render"));
  }

  function fitGrid(chart) {
    const column = chart.querySelector(".lane-head .lane").getBoundingClientRect(), whole = chart.getBoundingClientRect();
    const head = chart.querySelector(".lane-head").getBoundingClientRect();
    const grid = chart.querySelector(".grid");
    grid.style.left = `${column.left - whole.left - 1}px`;
    grid.style.top = `${head.bottom - whole.top - 1}px`;
    grid.setAttribute("width", column.width);
    grid.setAttribute("height", whole.height - (head.bottom - whole.top));
  }

  function enableDriverArrows(chart) {
    const arrows = chart.querySelector(".arrows");
    const rows = new Map([...chart.querySelectorAll("tr[data-name]")].map((row) => [row.dataset.name, row]));
    const clear = () => {
      arrows.replaceChildren();
      chart.querySelectorAll(".is-driver").forEach((row) => row.classList.remove("is-driver"));
    };
    const drawDriverArrow = (event) => {
      const row = event.target.closest("tr[data-name]");
      clear();
      const driver = row && rows.get(row.dataset.driver);
      if (!driver) return;
      driver.classList.add("is-driver");
      const from = markCentre(driver, chart), to = markCentre(row, chart);
      if (from && to) arrows.append(...arrowPaths(from, to));
    };
    chart.addEventListener("mouseover", drawDriverArrow);
    chart.addEventListener("focusin", drawDriverArrow);
    chart.addEventListener("mouseleave", clear);
    chart.addEventListener("focusout", clear);
  }

  function markCentre(row, chart) {
    const mark = row.querySelector(".mark");
    const box = mark?.getBoundingClientRect();
    // A folded project shows no marks.
    if (!box?.width) return null;
    const whole = chart.getBoundingClientRect();
    return { x: box.left + box.width / 2 - whole.left, y: box.top + box.height / 2 - whole.top };
  }

  function arrowPaths(from, to) {
    const down = to.y > from.y ? 1 : -1, end = to.y - 9 * down;
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", `M${from.x} ${from.y + 7 * down}C${from.x} ${(from.y + end) / 2} ${to.x} ${(from.y + end) / 2} ${to.x} ${end - 4 * down}`);
    const head = document.createElementNS("http://www.w3.org/2000/svg", "path");
    head.setAttribute("d", `M${to.x} ${end + 2 * down}l-4 ${-7 * down}h8z`);
    head.classList.add("arrow-head");
    return [line, head];
  }

  // A folded project changes the height of the timeline; the event does not bubble.
  document.addEventListener("toggle", () => { const chart = document.getElementById("timeline"); if (chart) fitGrid(chart); }, true);
  window.addEventListener("resize", () => { const chart = document.getElementById("timeline"); if (chart) fitGrid(chart); });
  render();
  subscribe();
  if (isPending()) scheduleRefresh(RETRY_MS);
})();
