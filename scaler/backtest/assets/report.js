"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const options = {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"]};

// A chart that is drawn while it is hidden gets no width, and thirty series at once would keep the reader waiting.
function draw(within) {
  for (const chart of within.querySelectorAll("[data-figure]:not(.drawn)")) {
    const folded = chart.closest("details:not([open])");
    if (folded) continue;
    const figure = data.figures[chart.dataset.figure];
    chart.classList.add("drawn");
    Plotly.newPlot(chart, figure.data, {...figure.layout, template: data.template}, {...options, displayModeBar: chart.dataset.figure.startsWith("pareto") && "hover"});
  }
}

function open() {
  const chosen = location.hash && document.getElementById(location.hash.slice(1));
  if (chosen instanceof HTMLDetailsElement) {
    chosen.open = true;
    chosen.scrollIntoView();
  }
}

for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", () => draw(details));
for (const link of document.querySelectorAll("a[href^='#']")) link.addEventListener("click", () => setTimeout(open));
window.addEventListener("hashchange", open);
draw(document);
open();
