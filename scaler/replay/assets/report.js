"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const timeline = document.getElementById("timeline");
const options = {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"]};
const DAY = 86400000, HOUR = 3600000;
const pad = (n) => String(n).padStart(2, "0");

function clock(ms) {
  const at = new Date(ms);
  const time = `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}`;
  if (!data.has_clock) return `day ${Math.floor(ms / DAY) + 1} ${time}`;
  return `${at.toLocaleDateString("en-GB", {day: "2-digit", month: "short", timeZone: "UTC"})} ${time}`;
}

function press(buttons, pressed) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
}

function show(from, to, pressed) {
  press(document.getElementById("ranges").children, pressed);
  Plotly.relayout(timeline, {"xaxis.range": [from, to], "yaxis.autorange": true, "yaxis2.autorange": true});
}

function element(tag, attributes, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

function addRanges() {
  const ranges = document.getElementById("ranges");
  const add = (label, from, to) => {
    const button = element("button", {type: "button", textContent: label});
    button.addEventListener("click", () => show(from, to, button));
    ranges.append(button);
  };
  add("Everything", data.start, data.end);
  for (let midnight = Math.floor(data.start / DAY) * DAY; midnight < data.end; midnight += DAY) {
    const from = Math.max(midnight, data.start), to = Math.min(midnight + DAY, data.end);
    if (to - from >= HOUR) add(clock(midnight).replace(/ 00:00$/, ""), from, to);
  }
  press(ranges.children, ranges.firstElementChild);
}

function decodeFans() {
  const bytes = Uint8Array.from(atob(data.fans.values), (c) => c.charCodeAt(0));
  const values = new Uint16Array(bytes.buffer);
  const {steps, curves, scale} = data.fans;
  return (fan, curve) => Array.from({length: steps}, (_, h) => values[(fan * curves + curve) * steps + h] * scale);
}

function showFan(index, zoom) {
  const {origins, steps, step_ms: step, first_trace: first} = data.fans;
  const traces = [0, 1, 2, 3].map((i) => first + i);
  const label = document.getElementById("fan-label");
  document.getElementById("fan").value = index;
  if (index < 0) {
    Plotly.restyle(timeline, {visible: false}, traces);
    label.textContent = "drag to pick one";
    return;
  }
  const x = Array.from({length: steps}, (_, h) => origins[index] + h * step);
  const y = [0, 1, 2, 3].map((curve) => fanAt(index, curve));
  // Without its type in the same call plotly guesses the axis anew from the numbers, and with it, it forgets the range.
  const axis = {"xaxis.type": "date", "xaxis.range": [...timeline.layout.xaxis.range]};
  Plotly.update(timeline, {x: [x, x, x, x], y, visible: true}, axis, traces);
  label.textContent = `from ${clock(origins[index])}`;
  const range = timeline.layout.xaxis.range.map((end) => typeof end === "number" ? end : Date.parse(end.replace(" ", "T") + "Z"));
  const hidden = origins[index] < range[0] || origins[index] + steps * step > range[1];
  if (zoom && (hidden || range[1] - range[0] > 6 * HOUR)) show(origins[index] - 2 * HOUR, origins[index] + 2 * HOUR);
}

function newestFan(at) {
  let newest = -1;
  data.fans.origins.forEach((origin, index) => { if (origin <= at) newest = index; });
  return newest;
}

function addMoments(id) {
  const list = document.getElementById(id);
  if (!data[id].length) list.append(element("li", {className: "none", textContent: "No such moment."}));
  for (const moment of data[id]) {
    const button = element("button", {type: "button"},
      element("span", {textContent: clock(moment.from)}),
      element("span", {textContent: `short for ${moment.short_for}`}),
      element("span", {className: "missing", textContent: moment.missing}));
    button.addEventListener("click", () => {
      press(document.querySelectorAll(".moment-list button"), button);
      const centre = (moment.from + moment.to) / 2;
      show(Math.min(moment.from - HOUR, centre - HOUR), Math.max(moment.to + HOUR / 2, centre + HOUR / 2));
      showFan(newestFan(moment.forecast_origin), false);
      const detail = document.getElementById("moment");
      detail.hidden = false;
      detail.replaceChildren(
        element("h3", {textContent: moment.title}),
        element("p", {textContent: moment.story}),
        element("dl", {className: "chain"}, ...moment.chain.map(([name, value]) =>
          element("div", {}, element("dt", {textContent: name}), element("dd", {textContent: value})))));
      document.getElementById("replay").scrollIntoView({behavior: "smooth", block: "start"});
    });
    list.append(element("li", {}, button));
  }
}

Plotly.newPlot(timeline, data.timeline.data, data.timeline.layout, options);
Plotly.newPlot("cost", data.cost.data, data.cost.layout, {...options, displayModeBar: false});
const fanAt = decodeFans();
const slider = document.getElementById("fan");
slider.max = data.fans.origins.length - 1;
slider.disabled = !data.fans.origins.length;
slider.addEventListener("input", () => showFan(Number(slider.value), true));
addRanges();
addMoments("better");
addMoments("worse");
