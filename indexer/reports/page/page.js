"use strict";
// Draws the charts from the JSON in #data. Texts come from file names: every one that becomes HTML is escaped.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const html = echarts.format.encodeHTML;
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const size = (bytes) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = 0;
    while (Math.abs(bytes) >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
    return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
  };
  const named = (name) => (name === null ? "(no class)" : name);
  const charts = [];
  const draw = (id, filled, option) => {
    const place = document.getElementById(id);
    if (!filled) {
      place.classList.add("empty");
      place.textContent = "Nothing to show yet.";
      return;
    }
    const chart = echarts.init(place, null, { renderer: "svg" });
    chart.setOption({ animation: false, textStyle: { fontFamily: "system-ui, sans-serif" }, ...option() });
    charts.push(chart);
  };
  const stacked = (days, rows, key) => [...new Set(rows.map((row) => row[key]))].map((name) => {
    const values = new Map(rows.filter((row) => row[key] === name).map((row) => [row.at, row.allocated]));
    return { name: named(name), data: days.map((at) => values.get(at) ?? null) };
  });
  const sizes = { type: "value", axisLabel: { formatter: size } };
  const grid = { left: 80, right: 20, top: 40, bottom: 30 };

  draw("tree", data.tree.children.length, () => ({
    tooltip: {
      formatter: (at) => {
        const path = at.treePathInfo.slice(1).map((step) => step.name).join("/");
        return `${html(path || ".")}<br>${size(at.value)}, ${(at.data.files ?? 0).toLocaleString("en")} files`;
      },
    },
    series: [{
      type: "treemap", name: ".", data: data.tree.children, leafDepth: 2, roam: false,
      left: 0, right: 0, top: 0, bottom: 28, label: { lineHeight: 18, formatter: (at) => `${at.name}\n${size(at.value)}` },
      upperLabel: { show: true, height: 20, color: "#fff", textBorderWidth: 0, formatter: (at) => `${at.name}  ${size(at.value)}` }, breadcrumb: { bottom: 0 },
      levels: [{ itemStyle: { gapWidth: 3 }, upperLabel: { show: false } }, { itemStyle: { gapWidth: 1, borderColorSaturation: 0.4 } }],
    }],
  }));

  const tiers = data.ages.map((row) => ({ ...row, at: row.age }));
  const ages = data.labels.map((_, number) => number);
  draw("ages", tiers.length, () => ({
    grid, legend: { top: 0 }, tooltip: { trigger: "axis", valueFormatter: (value) => size(value ?? 0) },
    xAxis: { type: "category", data: data.labels },
    yAxis: sizes,
    series: stacked(ages, tiers, "tier").map((series) => ({ ...series, type: "bar", stack: "all" })),
  }));

  const today = Math.floor(data.now / 86400) * 86400;
  const expires = new Map();
  for (const row of data.calendar) {
    const at = Math.max(row.day, today);
    const sum = expires.get(at) ?? { allocated: 0, files: 0, classes: [] };
    sum.allocated += row.allocated; sum.files += row.files; sum.classes.push(row.class);
    expires.set(at, sum);
  }
  draw("calendar", expires.size, () => ({
    tooltip: {
      formatter: (at) => {
        const sum = expires.get(Date.parse(at.value[0]) / 1000);
        return `${at.value[0]}<br>${size(sum.allocated)}, ${sum.files.toLocaleString("en")} files<br>${html([...new Set(sum.classes)].join(", "))}`;
      },
    },
    visualMap: {
      min: 0, max: Math.max(1, ...[...expires.values()].map((sum) => sum.allocated)), calculable: false, orient: "horizontal",
      left: "center", bottom: 0, formatter: size, inRange: { color: ["#d8e7f3", "#2f6f9f", "#8c2f39"] },
    },
    calendar: { range: [day(today), day(today + 365 * 86400)], top: 25, left: 40, right: 10, cellSize: ["auto", 14], yearLabel: { show: false }, dayLabel: { firstDay: 1 } },
    series: [{ type: "heatmap", coordinateSystem: "calendar", data: [...expires].map(([at, sum]) => [day(at), sum.allocated]) }],
  }));

  const samples = data.growth.map((row) => ({ ...row, at: row.day }));
  const days = [...new Set(samples.map((row) => row.day))];
  draw("growth", days.length, () => ({
    grid, legend: { top: 0, type: "scroll" }, tooltip: { trigger: "axis", valueFormatter: (value) => size(value ?? 0) },
    xAxis: { type: "category", data: days.map(day) }, yAxis: sizes,
    series: stacked(days, samples, "class").map((series) => ({ ...series, type: "line", stack: "all", areaStyle: {}, showSymbol: days.length < 40 })),
  }));

  window.addEventListener("resize", () => charts.forEach((chart) => chart.resize()));
  document.documentElement.dataset.charts = String(charts.length);
})();
