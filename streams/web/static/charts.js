// The charts of a trend and of a gate, rendered with ECharts from data attributes of the page. A table beside each chart
// has the same values. Text is inserted as text, never as markup; styles are set as properties, as the page's content
// security policy requires.
"use strict";
(() => {
  const DAY_MS = 86400000, HOVER_RADIUS_PX = 40;
  // Lines that lie on each other are told apart by their symbols, not by colours alone.
  const SYMBOLS = ["circle", "rect", "triangle", "diamond", "emptyCircle", "emptyRect", "emptyTriangle", "emptyDiamond"];
  const SYMBOL_MARKS = ["\u25cf", "\u25a0", "\u25b2", "\u25c6", "\u25cb", "\u25a1", "\u25b3", "\u25c7"];
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let charts = [];

  const themeColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const parseDay = (day) => Date.parse(`${day}T00:00:00Z`);
  const formatDay = (ms) => { const day = new Date(ms); return `${day.getUTCDate()} ${MONTHS[day.getUTCMonth()]} ${day.getUTCFullYear()}`; };
  const formatDayOfMonth = (ms) => { const day = new Date(ms); return `${day.getUTCDate()} ${MONTHS[day.getUTCMonth()]}`; };
  const formatMonth = (ms) => { const day = new Date(ms); return `${MONTHS[day.getUTCMonth()]} ${day.getUTCFullYear()}`; };
  const themeFont = () => getComputedStyle(document.documentElement).fontFamily;

  function timeAxis(name, min, max) {
    // Ticks are first days of months, as many as can be read; for a short range, Mondays.
    const months = (max - min) / (30.4 * DAY_MS), line = { lineStyle: { color: themeColour("line") } };
    const axis = (ticks, formatter) => ({
      type: "value", name, min, max, nameLocation: "end", nameTextStyle: { color: themeColour("soft") },
      axisLabel: { color: themeColour("soft"), formatter, customValues: ticks, hideOverlap: true },
      axisTick: { show: false, customValues: ticks }, axisLine: line, splitLine: { ...line, show: false },
    });
    if (months < 3) {
      // The epoch began on a Thursday.
      const week = (months < 1.5 ? 7 : 14) * DAY_MS, mondays = [];
      for (let tick = Math.ceil((min - 4 * DAY_MS) / week) * week + 4 * DAY_MS; tick <= max; tick += week) mondays.push(tick);
      return axis(mondays, name === "forecast" ? formatDay : formatDayOfMonth);
    }
    const step = [1, 2, 3, 6, 12, 24, 60].find((candidate) => months / candidate <= 8) || 120;
    const from = new Date(min), ticks = [];
    for (let n = from.getUTCFullYear() * 12 + from.getUTCMonth(); ; n += 1) {
      const tick = Date.UTC(Math.floor(n / 12), n % 12, 1);
      if (tick > max) break;
      if (tick >= min && n % step === 0) ticks.push(tick);
    }
    return axis(ticks, formatMonth);
  }

  function trendOptions(box) {
    const lines = JSON.parse(box.dataset.trend), today = parseDay(box.dataset.today);
    const colours = themeColour("lines").split(" ");
    const saidBy = (line, number) => (line.sources[number] ? `\nsaid by ${line.sources[number]}` : "");
    const points = lines.flatMap((line) => line.points).filter(([, forecast]) => forecast);
    const said = points.map(([day]) => parseDay(day)), ended = Math.max(...said), begun = Math.min(...said);
    // What ended long ago is not pressed together for the sake of today.
    const hasToday = today - ended <= 0.5 * (ended - begun);
    const days = hasToday ? said.concat(today) : said, dates = points.map(([, forecast]) => parseDay(forecast));
    const first = Math.min(...days), last = Math.max(...days);
    const margin = Math.max(7 * DAY_MS, (last - first) * 0.05);
    const low = Math.min(...dates), high = Math.max(...dates), above = Math.max(14 * DAY_MS, (high - low) * 0.08);
    const x = timeAxis("reported", first - margin, last + margin);
    const y = timeAxis("forecast", low - above, high + above);
    y.splitLine.show = true;
    x.nameLocation = "middle"; x.nameGap = 30;
    const series = lines.map((line, number) => ({
      name: line.name, type: "line", step: "end", symbol: SYMBOLS[number % SYMBOLS.length], symbolSize: 8, cursor: "default",
      data: line.points.map(([day, forecast]) => [parseDay(day), forecast ? parseDay(forecast) : null]),
      itemStyle: { color: colours[number] }, lineStyle: { color: colours[number], width: 2, type: number < 4 ? "solid" : "dashed" },
      emphasis: { focus: "series", lineStyle: { width: 3 } },
    }));
    const diagonal = [Math.max(x.min, y.min), Math.min(x.max, y.max)];
    if (diagonal[1] - diagonal[0] > 0.05 * (x.max - x.min)) series.push(guideLine(diagonal.map((ms) => [ms, ms]), themeColour("baseline"), "dotted"));
    if (hasToday) series.push(guideLine([[today, y.min], [today, y.max]], themeColour("today"), "dashed"));
    renderLegend(box, lines, colours);
    return {
      animation: false, textStyle: { fontFamily: themeFont() }, xAxis: x, yAxis: y, series,
      grid: { left: 12, right: 24, top: 34, bottom: 38, containLabel: true },
      tooltips: lines.flatMap((line, number) => line.points.map(([day, forecast], point) => forecast && ({
        seriesIndex: number, value: [parseDay(day), parseDay(forecast)], name: line.name,
        text: `reported ${formatDay(parseDay(day))}\nforecast ${formatDay(parseDay(forecast))}${saidBy(line, point)}`,
      })).filter(Boolean)),
    };
  }

  const guideLine = (data, color, type) => ({ type: "line", silent: true, symbol: "none", data, lineStyle: { color, type, width: 1.5 }, emphasis: { disabled: true } });

  function renderLegend(box, lines, colours) {
    const legend = box.parentElement.querySelector(".plot-legend");
    if (!legend) return;
    legend.replaceChildren(...lines.map((line, number) => {
      const entry = document.createElement("span"), label = document.createElement("i");
      entry.style.color = colours[number];
      label.textContent = line.name;
      label.className = "legend-label";
      entry.append(`${SYMBOL_MARKS[number % SYMBOL_MARKS.length]} `, label);
      return entry;
    }));
  }

  // Lines of at most a width, broken between words where that is possible; what takes more lines is cut. ECharts would
  // break within characters that are two units of UTF-16.
  function wrapText(text, width, maxLines, font) {
    const context = document.createElement("canvas").getContext("2d");
    context.font = font;
    const lines = [""];
    const breakBefore = (piece) => {
      if (lines.at(-1) && context.measureText(lines.at(-1) + piece.trimEnd()).width > width) lines.push("");
    };
    for (const word of text.match(/\s*\S+\s*/gu) ?? []) {
      breakBefore(word);
      for (const character of word) {
        breakBefore(character);
        lines[lines.length - 1] += character;
      }
    }
    const isCut = lines.length > maxLines;
    return lines.slice(0, maxLines).map((line) => line.trim()).join("\n") + (isCut ? "\u2026" : "");
  }

  function slipBarOptions(box) {
    const bars = JSON.parse(box.dataset.bars).reverse();
    // On a phone, names stand in several lines, so that the bars keep half of the width.
    const isNarrow = box.clientWidth < 560;
    box.style.height = `${Math.max(8, (isNarrow ? 4.2 : 2) * bars.length + 3)}rem`;
    const width = isNarrow ? box.clientWidth * 0.42 : Math.max(300, box.clientWidth * 0.36);
    const label = { fontSize: 12, lineHeight: 15, formatter: (name) => wrapText(name, width, isNarrow ? 4 : 1, `12px ${themeFont()}`) };
    const line = { lineStyle: { color: themeColour("line") } };
    const formatSlip = (days) => `${days > 0 ? "+" : ""}${days} d`;
    return {
      animation: false, textStyle: { fontFamily: themeFont() },
      grid: { left: 12, right: 56, top: 8, bottom: 8, containLabel: true },
      xAxis: { type: "value", minInterval: 1, axisLabel: { color: themeColour("soft"), formatter: formatSlip, hideOverlap: true }, splitLine: line },
      yAxis: { type: "category", data: bars.map((bar) => bar.name), axisTick: { show: false }, axisLine: line, axisLabel: { color: themeColour("ink"), ...label } },
      series: [{
        type: "bar", barMaxWidth: 16, cursor: "default",
        data: bars.map((bar) => ({ value: bar.days, itemStyle: { color: themeColour(bar.state), borderRadius: 3 } })),
        label: { show: true, position: "right", color: themeColour("ink"), formatter: ({ value }) => formatSlip(value) },
      }],
      tooltips: bars.map((bar, number) => ({ seriesIndex: 0, value: [bar.days, number], name: bar.name, text: `${formatSlip(bar.days)} from its baseline` })),
    };
  }

  // Shows the tooltip of the value nearest to the pointer.
  function enableTooltips(box, chart, tooltips) {
    const element = document.createElement("div");
    element.className = "tooltip";
    element.hidden = true;
    box.append(element);
    box.onmousemove = (event) => {
      const { left, top } = box.getBoundingClientRect(), x = event.clientX - left, y = event.clientY - top;
      let nearest = null, leastDistance = HOVER_RADIUS_PX;
      for (const tooltip of tooltips) {
        const [px, py] = chart.convertToPixel({ seriesIndex: tooltip.seriesIndex }, tooltip.value), distance = Math.hypot(px - x, py - y);
        if (distance < leastDistance) { leastDistance = distance; nearest = { tooltip, px, py }; }
      }
      element.hidden = !nearest;
      if (!nearest) return;
      // Values at the same point share one tooltip.
      const { value: [valueX, valueY], text } = nearest.tooltip;
      const names = tooltips.filter(({ value }) => value[0] === valueX && value[1] === valueY).map(({ name }) => name);
      element.textContent = [...new Set(names), text].join("\n");
      element.style.left = `${Math.max(0, Math.min(nearest.px + 12, box.clientWidth - element.offsetWidth))}px`;
      element.style.top = `${Math.max(0, nearest.py - element.offsetHeight - 10)}px`;
    };
    box.onmouseleave = () => { element.hidden = true; };
  }

  function disposeCharts() {
    charts.forEach((chart) => chart.dispose());
    document.querySelectorAll(".tooltip").forEach((element) => element.remove());
    charts = [];
  }

  function renderCharts() {
    disposeCharts();
    document.querySelectorAll(".plot").forEach((box) => {
      const { tooltips, ...options } = box.dataset.trend ? trendOptions(box) : slipBarOptions(box);
      const chart = echarts.init(box);
      chart.setOption(options);
      enableTooltips(box, chart, tooltips);
      charts.push(chart);
    });
    document.documentElement.dataset.charts = String(charts.length);
  }

  window.addEventListener("milepost:dispose-charts", disposeCharts);
  window.addEventListener("milepost:render", renderCharts);
  window.addEventListener("resize", () => charts.forEach((chart) => chart.resize()));
  dark.addEventListener("change", renderCharts);
  renderCharts();
})();
