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
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const ink = dark ? "#d9e0e8" : "#1c2733";
  const quiet = dark ? "#93a1b0" : "#5b6b7b";
  const line = dark ? "#2f3a46" : "#e3e8ee";
  const paper = dark ? "#1b232c" : "#ffffff";
  const palette = ["#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#e15759", "#9c755f", "#d4a72c"];
  const none = "#9aa5b1";
  // One colour for one class in every chart; tiers go from hot to cold.
  const classes = data.classes.filter((name) => name !== null);
  const ofClass = (name) => (name === null ? none : palette[Math.max(0, classes.indexOf(name)) % palette.length]);
  const temperatures = { hot: "#d1495b", warm: "#e9a23b", cold: "#3c7ab0" };
  const tierOrder = [...Object.keys(temperatures), ...new Set(data.ages.map((row) => row.tier).filter((name) => name !== null && !(name in temperatures))), null];
  const ofTier = (name) => (name === null ? none : temperatures[name] ?? palette[tierOrder.indexOf(name) % palette.length]);
  const charts = [];
  const draw = (id, filled, option) => {
    const place = document.getElementById(id);
    if (!filled) {
      place.classList.add("empty");
      place.textContent = "Nothing to show yet.";
      return;
    }
    const chart = echarts.init(place, null, { renderer: "svg" });
    chart.setOption({ animation: false, darkMode: dark, color: palette, textStyle: { fontFamily: "system-ui, sans-serif" }, ...option() });
    charts.push(chart);
  };
  const stacked = (days, rows, key, order, colour) => order.filter((name) => rows.some((row) => row[key] === name)).map((name) => {
    const values = new Map(rows.filter((row) => row[key] === name).map((row) => [row.at, row.allocated]));
    return { name: named(name), color: colour(name), data: days.map((at) => values.get(at) ?? null) };
  });
  // Ticks at whole binary units: 256 MiB, 512 MiB, not 238.4 MiB.
  const sizes = (series) => {
    const sums = series.length ? series[0].data.map((_, place) => series.reduce((sum, one) => sum + (one.data[place] ?? 0), 0)) : [0];
    const most = Math.max(1, ...sums);
    const interval = 2 ** Math.ceil(Math.log2(most / 5));
    return { type: "value", interval, max: Math.ceil(most / interval) * interval, axisLabel: { formatter: size, color: quiet }, splitLine: { lineStyle: { color: line } } };
  };
  const categories = (names) => ({ type: "category", data: names, axisTick: { show: false }, axisLabel: { color: quiet }, axisLine: { lineStyle: { color: quiet } } });
  const tooltip = { backgroundColor: paper, borderColor: line, textStyle: { color: ink } };
  const legend = { top: 0, right: 0, icon: "roundRect", itemWidth: 12, itemHeight: 12, textStyle: { color: ink } };
  const grid = { left: 75, right: 10, top: 35, bottom: 30 };

  draw("tree", data.tree.children.length, () => ({
    tooltip: {
      ...tooltip,
      formatter: (at) => {
        const path = at.treePathInfo.slice(1).map((step) => step.name).join("/");
        return `${html(path || ".")}<br><b>${size(at.value)}</b>, ${(at.data.files ?? 0).toLocaleString("en")} files`;
      },
    },
    series: [{
      type: "treemap", name: data.root, data: data.tree.children.map((child) => (classes.includes(child.name) ? { ...child, itemStyle: { color: ofClass(child.name) } } : child)), leafDepth: 2, roam: false,
      left: 0, right: 0, top: 0, bottom: 32, visibleMin: 80,
      label: { lineHeight: 18, overflow: "truncate", formatter: (at) => `${at.name}\n${size(at.value)}` },
      upperLabel: { show: true, height: 22, color: "#fff", textBorderWidth: 0, formatter: (at) => `${at.name}  ${size(at.value)}` },
      breadcrumb: { bottom: 0, left: 0, height: 24, itemStyle: { color: line, borderWidth: 0, textStyle: { color: ink } }, emphasis: { itemStyle: { textStyle: { color: ink } } } },
      itemStyle: { borderColor: paper },
      levels: [
        { color: palette, itemStyle: { gapWidth: 3, borderWidth: 0 }, upperLabel: { show: false } },
        { colorSaturation: [0.3, 0.5], itemStyle: { gapWidth: 1, borderWidth: 1, borderColorSaturation: 0.35 } },
        { colorSaturation: [0.3, 0.45], itemStyle: { gapWidth: 1, borderColorSaturation: 0.45 } },
      ],
    }],
  }));

  const tiers = data.ages.map((row) => ({ ...row, at: row.age }));
  const ages = data.labels.map((_, number) => number);
  draw("ages", tiers.length, () => {
    const series = stacked(ages, tiers, "tier", tierOrder, ofTier);
    return {
      grid, legend, tooltip: { ...tooltip, trigger: "axis", axisPointer: { type: "shadow" }, valueFormatter: (value) => size(value ?? 0) },
      xAxis: categories(data.labels), yAxis: sizes(series),
      series: series.map((one) => ({ ...one, type: "bar", stack: "all", barWidth: "62%" })),
    };
  });

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
      ...tooltip,
      formatter: (at) => {
        const sum = expires.get(Date.parse(at.value[0]) / 1000);
        const which = at.value[0] === day(today) ? `${at.value[0]}, today and before` : at.value[0];
        return `${which}<br><b>${size(sum.allocated)}</b>, ${sum.files.toLocaleString("en")} files<br>${html([...new Set(sum.classes)].join(", "))}`;
      },
    },
    visualMap: {
      min: 0, max: Math.max(1, ...[...expires.values()].map((sum) => sum.allocated)), calculable: false, orient: "horizontal",
      right: 0, bottom: 0, itemWidth: 12, itemHeight: 110, text: [size(Math.max(1, ...[...expires.values()].map((sum) => sum.allocated))), "0"], textStyle: { color: quiet },
      formatter: size, inRange: { color: dark ? ["#23405a", "#3f87bd", "#e15759"] : ["#d8e7f3", "#4e8fc0", "#b3263a"] },
    },
    calendar: {
      range: [day(today), day(today + 365 * 86400)], top: 22, left: 36, right: 4, cellSize: ["auto", 17], yearLabel: { show: false },
      dayLabel: { firstDay: 1, color: quiet, nameMap: ["", "Mon", "", "Wed", "", "Fri", ""] }, monthLabel: { color: quiet },
      itemStyle: { color: dark ? "#222c37" : "#f4f6f9", borderColor: paper, borderWidth: 2 }, splitLine: { lineStyle: { color: quiet, width: 1 } },
    },
    series: [{ type: "heatmap", coordinateSystem: "calendar", data: [...expires].map(([at, sum]) => [day(at), sum.allocated]) }],
  }));

  const samples = data.growth.map((row) => ({ ...row, at: row.day }));
  const days = [...new Set(samples.map((row) => row.day))];
  draw("growth", days.length, () => {
    const series = stacked(days, samples, "class", [...new Set([...classes, ...samples.map((row) => row.class)])], ofClass);
    return {
      grid, legend: { ...legend, type: "scroll", left: 75 },
      tooltip: { ...tooltip, trigger: "axis", valueFormatter: (value) => size(value ?? 0) },
      xAxis: { ...categories(days.map(day)), boundaryGap: false }, yAxis: sizes(series),
      series: series.map((one) => ({ ...one, type: "line", stack: "all", areaStyle: { opacity: 0.55 }, lineStyle: { width: 1.5 }, showSymbol: days.length < 3 })),
    };
  });

  window.addEventListener("resize", () => charts.forEach((chart) => chart.resize()));
  document.documentElement.dataset.charts = String(charts.length);
})();
