// Figures by Plotly, each drawn when it is nearly in sight, in the colours of light or dark.

const plots = [...document.querySelectorAll(".plot")];

function colours() {
  const style = getComputedStyle(document.documentElement);
  const [text, line, card] = ["--soft", "--line", "--card"].map(name => style.getPropertyValue(name).trim());
  return {
    "font.color": text, "font.family": getComputedStyle(document.body).fontFamily, "font.size": 12,
    "xaxis.gridcolor": line, "yaxis.gridcolor": line, "xaxis.zerolinecolor": line, "yaxis.zerolinecolor": line,
    "hoverlabel.bgcolor": card, "hoverlabel.bordercolor": line,
  };
}

function drawPlot(plot) {
  if (plot.dataset.drawn) return;
  plot.dataset.drawn = "yes";
  const { data, layout } = JSON.parse(plot.nextElementSibling.textContent);
  Plotly.newPlot(plot, data, layout, { responsive: true, displayModeBar: false })
    .then(() => Plotly.relayout(plot, colours()));
}

const nearlyInSight = new IntersectionObserver(entries => {
  entries.filter(entry => entry.isIntersecting).forEach(entry => {
    nearlyInSight.unobserve(entry.target);
    drawPlot(entry.target);
  });
}, { rootMargin: "400px" });

plots.forEach(plot => nearlyInSight.observe(plot));
addEventListener("beforeprint", () => plots.forEach(drawPlot));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  plots.filter(plot => plot.dataset.drawn).forEach(plot => Plotly.relayout(plot, colours())));

// Of parts that are one per recipe, the one that is chosen.
document.querySelectorAll("select[data-chooses]").forEach(select => {
  const parts = [...document.querySelectorAll(`[data-part="${select.dataset.chooses}"]`)];
  select.addEventListener("change", () => parts.forEach((part, k) => { part.hidden = k % select.length !== select.selectedIndex; }));
});
