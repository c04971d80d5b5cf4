// The charts of a trend and of a gate, drawn with ECharts from what stands in the page. Beside each is a table that
// says the same. Words are put in as text, never as markup; styles are set as properties, as the page's policy wants.
"use strict";
(() => {
  const DAY = 86400000, NEAR = 40;
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const LINES = {
    light: ["#c2410c", "#23609e", "#7a3d9a", "#23713a", "#8a5300", "#0f7173", "#a3195b", "#57606a"],
    dark: ["#ff9d5c", "#86b8ef", "#d3a3ee", "#7fcf95", "#f0b35a", "#63c9c9", "#f58ab8", "#a0a9b2"],
  };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let charts = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const at = (day) => Date.parse(`${day}T00:00:00Z`);
  const told = (ms) => { const day = new Date(ms); return `${day.getUTCDate()} ${MONTHS[day.getUTCMonth()]} ${day.getUTCFullYear()}`; };
  const dayOf = (ms) => { const day = new Date(ms); return `${day.getUTCDate()} ${MONTHS[day.getUTCMonth()]}`; };
  const month = (ms) => { const day = new Date(ms); return `${MONTHS[day.getUTCMonth()]} ${day.getUTCFullYear()}`; };
  const font = () => getComputedStyle(document.documentElement).fontFamily;

  function time(name, min, max) {
    // Firsts of months, as many as can be read; of a short time, Mondays.
    const months = (max - min) / (30.4 * DAY), line = { lineStyle: { color: colour("line") } };
    const axis = (ticks, formatter) => ({
      type: "value", name, min, max, nameLocation: "end", nameTextStyle: { color: colour("soft") },
      axisLabel: { color: colour("soft"), formatter, customValues: ticks, hideOverlap: true },
      axisTick: { show: false, customValues: ticks }, axisLine: line, splitLine: { ...line, show: false },
    });
    if (months < 3) {
      // Mondays: the epoch began on a Thursday.
      const week = (months < 1.5 ? 7 : 14) * DAY, mondays = [];
      for (let tick = Math.ceil((min - 4 * DAY) / week) * week + 4 * DAY; tick <= max; tick += week) mondays.push(tick);
      return axis(mondays, name === "forecast" ? told : dayOf);
    }
    const step = [1, 2, 3, 6, 12, 24, 60].find((one) => months / one <= 8) || 120;
    const from = new Date(min), ticks = [];
    for (let n = from.getUTCFullYear() * 12 + from.getUTCMonth(); ; n += 1) {
      const tick = Date.UTC(Math.floor(n / 12), n % 12, 1);
      if (tick > max) break;
      if (tick >= min && n % step === 0) ticks.push(tick);
    }
    return axis(ticks, month);
  }

  function trend(box) {
    const lines = JSON.parse(box.dataset.trend), today = at(box.dataset.today);
    const colours = LINES[dark.matches ? "dark" : "light"];
    const points = lines.flatMap((line) => line.points).filter(([, forecast]) => forecast);
    const days = points.map(([day]) => at(day)).concat(today), dates = points.map(([, forecast]) => at(forecast));
    const first = Math.min(...days), last = Math.max(...days);
    const margin = Math.max(7 * DAY, (last - first) * 0.05);
    const low = Math.min(...dates), high = Math.max(...dates), above = Math.max(14 * DAY, (high - low) * 0.08);
    const x = time("reported", first - margin, last + margin);
    const y = time("forecast", low - above, high + above);
    y.splitLine.show = true;
    x.nameLocation = "middle"; x.nameGap = 30;
    const series = lines.map((line, number) => ({
      name: line.name, type: "line", step: "end", symbol: "circle", symbolSize: 7, cursor: "default",
      data: line.points.map(([day, forecast]) => [at(day), forecast ? at(forecast) : null]),
      itemStyle: { color: colours[number] }, lineStyle: { color: colours[number], width: 2 },
      emphasis: { focus: "series", lineStyle: { width: 3 } },
    }));
    const diagonal = [Math.max(x.min, y.min), Math.min(x.max, y.max)];
    if (diagonal[1] - diagonal[0] > 0.05 * (x.max - x.min)) series.push(guide(diagonal.map((ms) => [ms, ms]), colour("ghost"), "dotted"));
    series.push(guide([[today, y.min], [today, y.max]], colour("today"), "dashed"));
    keyed(box, lines, colours);
    return {
      animation: false, textStyle: { fontFamily: font() }, xAxis: x, yAxis: y, series,
      grid: { left: 12, right: 24, top: 34, bottom: 38, containLabel: true },
      places: lines.flatMap((line, number) => line.points.filter(([, forecast]) => forecast).map(([day, forecast]) => ({
        seriesIndex: number, at: [at(day), at(forecast)],
        name: line.name, words: `reported ${told(at(day))}\nforecast ${told(at(forecast))}`,
      }))),
    };
  }

  const guide = (data, color, type) => ({ type: "line", silent: true, symbol: "none", data, lineStyle: { color, type, width: 1.5 }, emphasis: { disabled: true } });

  function keyed(box, lines, colours) {
    const key = box.parentElement.querySelector(".plotkey");
    if (!key) return;
    key.replaceChildren(...lines.map((line, number) => {
      const one = document.createElement("span"), words = document.createElement("i");
      one.style.color = colours[number];
      words.textContent = line.name;
      words.className = "words";
      one.append(words);
      return one;
    }));
  }

  function bars(box) {
    const found = JSON.parse(box.dataset.bars).reverse();
    box.style.height = `${Math.max(8, 2 * found.length + 3)}rem`;
    const line = { lineStyle: { color: colour("line") } };
    const size = (days) => `${days > 0 ? "+" : ""}${days} d`;
    return {
      animation: false, textStyle: { fontFamily: font() },
      grid: { left: 12, right: 56, top: 8, bottom: 8, containLabel: true },
      xAxis: { type: "value", minInterval: 1, axisLabel: { color: colour("soft"), formatter: size, hideOverlap: true }, splitLine: line },
      yAxis: { type: "category", data: found.map((one) => one.name), axisTick: { show: false }, axisLine: line, axisLabel: { color: colour("ink"), width: 300, overflow: "truncate" } },
      series: [{
        type: "bar", barMaxWidth: 16, cursor: "default",
        data: found.map((one) => ({ value: one.days, itemStyle: { color: colour(one.state), borderRadius: 3 } })),
        label: { show: true, position: "right", color: colour("ink"), formatter: ({ value }) => size(value) },
      }],
      places: found.map((one, number) => ({ seriesIndex: 0, at: [one.days, number], name: one.name, words: `${size(one.days)} from its baseline` })),
    };
  }

  // Whoever points near a value is told of it, in words.
  function hover(box, chart, places) {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    box.append(tip);
    box.onmousemove = (event) => {
      const { left, top } = box.getBoundingClientRect(), x = event.clientX - left, y = event.clientY - top;
      let nearest = null, least = NEAR;
      for (const place of places) {
        const [px, py] = chart.convertToPixel({ seriesIndex: place.seriesIndex }, place.at), far = Math.hypot(px - x, py - y);
        if (far < least) { least = far; nearest = { place, px, py }; }
      }
      tip.hidden = !nearest;
      if (!nearest) return;
      // What lies upon one another is told together.
      const { at: [atX, atY], words } = nearest.place;
      const names = places.filter((place) => place.at[0] === atX && place.at[1] === atY).map((place) => place.name);
      tip.textContent = [...new Set(names), words].join("\n");
      tip.style.left = `${Math.max(0, Math.min(nearest.px + 12, box.clientWidth - tip.offsetWidth))}px`;
      tip.style.top = `${Math.max(0, nearest.py - tip.offsetHeight - 10)}px`;
    };
    box.onmouseleave = () => { tip.hidden = true; };
  }

  function leave() {
    charts.forEach((chart) => chart.dispose());
    document.querySelectorAll(".tip").forEach((tip) => tip.remove());
    charts = [];
  }

  function draw() {
    leave();
    document.querySelectorAll(".plot").forEach((box) => {
      const { places, ...option } = box.dataset.trend ? trend(box) : bars(box);
      const chart = echarts.init(box);
      chart.setOption(option);
      hover(box, chart, places);
      charts.push(chart);
    });
    document.documentElement.dataset.drawn = String(charts.length);
  }

  window.addEventListener("milepost:leave", leave);
  window.addEventListener("milepost:draw", draw);
  window.addEventListener("resize", () => charts.forEach((chart) => chart.resize()));
  dark.addEventListener("change", draw);
  draw();
})();
