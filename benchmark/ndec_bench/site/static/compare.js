// The page "compare": a choice of results, their figures, paired differences and curves. Differences, intervals and
// p-values are those of ndec_bench.compare, from the same replicates. The markup it fills is in compare.html.j2.
"use strict";
(function () {
  const { address, element, plain } = ndecBench;
  const PARTS = [["all", "all queries"], ["isc", "queries without the hard negatives"]];
  const MEASURES = { micro_ap: "µAP", recall_at_p90: "recall@P90" };
  const MOST = 10; // results, so that colours and line styles still tell curves apart
  const PLOT = { width: 250, height: 50, margin: 20 };
  const SVG = "http://www.w3.org/2000/svg";

  const source = document.getElementById("rows");
  if (!source) return;
  const rows = JSON.parse(source.textContent);
  const byId = new Map(rows.map((row) => [row.id, row]));
  const form = document.querySelector(".chooser");
  const figures = document.getElementById("compared-figures");
  const pairs = document.getElementById("compared-pairs");
  const curves = document.getElementById("compared-curves");
  const loaded = new Map(); // replicates and curve by id; null where they could not be loaded
  const root = document.body.dataset.root;
  let state = null;

  // ---- Numbers: each function is its namesake of Python

  // A value exactly between two is rounded to the even one; toFixed rounds it away from 0.
  function fixed(value, digits) {
    const text = value.toFixed(digits);
    const rest = value.toFixed(60).split(".")[1].slice(digits);
    if (!/^50*$/.test(rest) || !/[13579]$/.test(text)) return text;
    return (Number(text) - Math.sign(value) * 10 ** -digits).toFixed(digits);
  }

  function score(value, digits = 4) {
    return fixed(value, digits).replace("-", "−");
  }

  function signed(value, digits = 4) {
    const text = score(value, digits);
    if (Number(fixed(value, digits)) === 0) return score(0, digits);
    return value > 0 ? `+${text}` : text;
  }

  function pValue(value) {
    return fixed(value, value < 1e-3 ? 4 : 3);
  }

  function interval(replicates) {
    const ordered = Float64Array.from(replicates).sort();
    const k = Math.max(Math.round(((1 - 0.95) / 2) * ordered.length), 1);
    return [ordered[k - 1], ordered[ordered.length - k]];
  }

  function point(row, part, measure) {
    return row.parts[part][measure] || 0;
  }

  function sortByScore(chosen, part, measure) {
    const of = (row) => point(row, part, measure);
    chosen.sort((a, b) => of(b) - of(a) || (a.name < b.name ? -1 : 1));
  }

  function paired(a, b, part, measure) {
    const x = loaded.get(a.id).parts[part][measure];
    const y = loaded.get(b.id).parts[part][measure];
    const differences = x.map((value, i) => value - y[i]);
    const below = differences.filter((d) => d <= 0).length;
    const above = differences.filter((d) => d >= 0).length;
    const bounds = interval(differences);
    return {
      a,
      b,
      difference: point(a, part, measure) - point(b, part, measure),
      bounds,
      p: Math.min(1, (2 * (Math.min(below, above) + 1)) / (differences.length + 1)),
      sure: bounds[0] > 0 || bounds[1] < 0,
    };
  }

  function holm(found) {
    let highest = 0;
    [...found].sort((a, b) => a.p - b.p).forEach((pair, step) => {
      highest = Math.max(highest, Math.min(1, (found.length - step) * pair.p));
      pair.holm = highest;
    });
  }

  // Returns why the replicates of a row and a part do not pair with those of others; "" where they do.
  function unpaired(row, part, kind) {
    if (row.why) return row.why;
    if (!row.parts[part]) return "it has no scores of this part";
    const data = loaded.get(row.id);
    if (!data) return "its replicates could not be loaded";
    if (!data.parts[part]) return "it was scored without bootstrap replicates";
    const own = kindOf(data.parts[part]);
    return own === kind ? "" : `it has ${own}, others have ${kind}`;
  }

  function kindOf({ stream, micro_ap: values }) {
    return `${values.length.toLocaleString("en")} replicates of stream ${stream}`;
  }

  // Returns the kind of replicates that most rows have, equally many by name.
  function commonKind(chosen, part) {
    const kinds = chosen
      .filter((row) => !row.why && loaded.get(row.id) && loaded.get(row.id).parts[part])
      .map((row) => kindOf(loaded.get(row.id).parts[part]));
    const times = (kind) => kinds.filter((other) => other === kind).length;
    return [...kinds].sort((a, b) => times(b) - times(a) || (a < b ? -1 : 1))[0];
  }

  // ---- Elements

  function drawn(name, attributes, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function user(text) {
    return element("bdi", { className: "user", textContent: text });
  }

  function bold(text) {
    return element("b", { textContent: text });
  }

  function small(text) {
    return element("small", { textContent: text });
  }

  function table(caption, heads, lines, ...foot) {
    const id = `table-${document.querySelectorAll("#compared table").length}`;
    const made = element("table", { className: "record" }, element("caption", { id, textContent: caption }));
    const head = heads.map((text) => element("th", { scope: "col", textContent: text }));
    made.append(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
    if (foot.length) made.append(element("tfoot", {}, ...foot));
    const region = element("div", { className: "scroll", tabIndex: 0, role: "region" }, made);
    region.setAttribute("aria-labelledby", id);
    return region;
  }

  function cell(text, under) {
    return element("td", {}, text, ...(under ? [small(under)] : []));
  }

  function sample(place) {
    const attributes = { class: "key", viewBox: "0 0 24 10", "aria-hidden": "true", focusable: "false" };
    return drawn("svg", attributes, drawn("path", { class: `line series-${place}`, d: "M0 5H24" }));
  }

  function letter(place) {
    return String.fromCharCode(65 + place);
  }

  // ---- What is shown of the chosen results

  function measured(row, part, measure) {
    const scores = row.parts[part];
    if (!scores) return cell("–", "not recorded");
    if (scores[measure] === null) return cell("not reached");
    const bounds = scores[`${measure}_interval`];
    return cell(score(scores[measure]), bounds ? `${score(bounds[0])}–${score(bounds[1])}` : "no interval");
  }

  function rankOf({ rank, best, worst, group }) {
    if (best === null) return cell(rank === null ? "not ranked" : `${rank}`);
    return cell(`${best === worst ? best : `${best}–${worst}`} ${group}`);
  }

  function showFigures(chosen) {
    const isc = chosen.some((row) => row.parts.isc);
    const parts = isc ? ["all", "isc"] : ["all"];
    const optional = (value, show) => cell(value === null ? "–" : show(value));
    const lines = chosen.map((row, place) => {
      const link = element("a", { href: root + row.page }, user(row.title));
      const name = element("span", {}, link, ...(row.runs > 1 ? [small(`mean of ${row.runs} seeds`)] : []));
      const head = element("div", { className: "named" }, sample(place), bold(letter(place)), name);
      return element(
        "tr", {}, element("th", { scope: "row" }, head), rankOf(row),
        ...parts.flatMap((part) => Object.keys(MEASURES).map((measure) => measured(row, part, measure))),
        ...(isc ? [optional(row.cost, score)] : []),
        optional(row.dimensions, (value) => value.toLocaleString("en")), cell(row.level),
      );
    });
    const without = isc ? ["µAP without", "recall@P90 without", "Cost in µAP"] : [];
    const caption = chosen[0].board_title + (isc ? "; “without” is without the hard negatives" : "");
    figures.append(table(caption, ["Method", "Rank", "µAP", "recall@P90", ...without, "Dims", "Verified"], lines));
  }

  function showPairs(chosen, part, what) {
    const { measure } = state;
    const name = (row) => letter(chosen.indexOf(row));
    const kind = commonKind(chosen, part);
    const left = chosen.filter((row) => {
      const why = unpaired(row, part, kind);
      if (why) pairs.append(element("p", {}, bold(name(row)), ` cannot be paired on ${what}: ${why}.`));
      return !why;
    });
    if (left.length < 2) return;
    if (chosen.length > 2) sortByScore(left, part, measure);
    const found = left.flatMap((a, i) => left.slice(i + 1).map((b) => paired(a, b, part, measure)));
    holm(found);
    const several = found.length > 1;
    const scale = scaleOf(found);
    const lines = found.map((pair) => {
      const both = element("small", {}, user(pair.a.title), " − ", user(pair.b.title));
      const head = element("th", { scope: "row" }, bold(`${name(pair.a)} − ${name(pair.b)}`), both);
      const drawing = element("td", { className: "plot" }, plot(pair, scale));
      const range = pair.bounds.map((value) => signed(value)).join(" to ");
      const numbers = [signed(pair.difference), range, pValue(pair.p), ...(several ? [pValue(pair.holm)] : [])];
      const said = element("td", { className: "left", textContent: verdict(pair, name) });
      return element("tr", {}, head, drawing, ...numbers.map((text) => cell(text)), said);
    });
    const heads = ["Pair", "Difference with interval", "Difference", "95 % interval", "p", "Verdict"];
    if (several) heads.splice(5, 0, "p, Holm");
    const ticks = element("td", { className: "plot" }, axis(scale));
    const foot = element("tr", {}, cell(""), ticks, element("td", { colSpan: heads.length - 2 }));
    pairs.append(table(`${MEASURES[measure]}, ${what}`, heads, lines, foot));
    for (const note of notes(left, found, part, name)) pairs.append(element("p", { className: "small" }, note));
  }

  function notes(left, found, part, name) {
    const { measure } = state;
    const count = loaded.get(left[0].id).parts[part].micro_ap.length;
    const least = 2 / (count + 1);
    const full = left.filter((row) => !row.parts[part].complete);
    const never = left.filter((row) => measure === "recall_at_p90" && !row.parts[part][measure]);
    return [
      ...full.map((row) => `${name(row)}: the list of pairs was full, so its score may be too low.`),
      ...never.map((row) => `${name(row)}: precision 0.90 is never reached and counts 0.`),
      ...(found.length * least > 0.05 ? [
        `${count.toLocaleString("en")} replicates give no p-value below ${fixed(least, 4)}, so among ` +
        `${found.length} pairs none can reach 0.05 after Holm’s adjustment; compare fewer results for that.`,
      ] : []),
    ];
  }

  function verdict(pair, name) {
    if (!pair.sure) return "not told apart";
    const higher = `${name(pair.bounds[0] > 0 ? pair.a : pair.b)} is higher`;
    return pair.holm > Math.max(0.05, pair.p) ? `${higher}, but not after Holm` : higher;
  }

  // Returns where values are in a plot, and its ticks: round numbers, 0 among them.
  function scaleOf(found) {
    const values = [0, ...found.flatMap((pair) => [pair.difference, ...pair.bounds])];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const rough = (high - low || 1e-3) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
    const first = Math.floor(low / step + 1e-9);
    const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const ticks = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
    const length = PLOT.width - 2 * PLOT.margin;
    const x = (value) => (PLOT.margin + ((value / step - first) / (last - first)) * length).toFixed(1);
    return { x, ticks, digits };
  }

  function drawing(name, height, ...children) {
    const { width } = PLOT;
    const box = { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", focusable: "false" };
    return drawn("svg", { class: name, ...box }, ...children);
  }

  function plot(pair, { x, ticks }) {
    const { height } = PLOT;
    const y = height / 2;
    const lines = ticks.map((tick) => drawn("path", { class: tick ? "grid" : "zero", d: `M${x(tick)} 0V${height}` }));
    const [low, high] = pair.bounds.map(x);
    const ends = `M${low} ${y}H${high}M${low} ${y - 4}V${y + 4}M${high} ${y - 4}V${y + 4}`;
    const range = drawn("path", { class: "range", d: ends });
    const estimate = drawn("circle", { class: "estimate", cx: x(pair.difference), cy: y, r: 4.5 });
    return drawing(`difference${pair.sure ? " sure" : ""}`, height, ...lines, range, estimate);
  }

  function axis({ x, ticks, digits }) {
    const every = ticks.length > 4 ? 2 : 1;
    const shown = ticks.filter((_, i) => (i - ticks.indexOf(0)) % every === 0);
    const label = (tick) => drawn("text", { class: "tick middle", x: x(tick), y: 15 }, signed(tick, digits));
    return drawing("difference", 24, ...shown.map(label));
  }

  function showCurves(chosen) {
    const series = chosen
      .map((row, place) => ({ row, place, ...(loaded.get(row.id) || {}).curve }))
      .filter(({ path }) => path);
    if (!series.length) return;
    const keys = series.map(({ row, place }) =>
      element("li", {}, sample(place), bold(letter(place)), user(row.title), row.runs > 1 ? " (first seed)" : ""));
    const levels = [...new Set(series.flatMap((one) => one.table.map(([level]) => level)))].sort((a, b) => a - b);
    const lines = levels.map((level) => {
      const found = series.map((one) => one.table.find(([other]) => other === level));
      const cells = found.map((pair) => cell(pair ? score(pair[1]) : "–"));
      return element("tr", {}, element("th", { scope: "row", textContent: level.toFixed(2) }), ...cells);
    });
    const heads = ["Recall", ...series.map(({ place }) => letter(place))];
    const values = table("Precision at the first stored point at or above each recall", heads, lines);
    const details = element("details", {}, element("summary", { textContent: "The curves as a table" }), values);
    const legend = element("figcaption", {}, element("ul", { className: "keys" }, ...keys), details);
    curves.append(element("figure", { className: "curve" }, curveChart(series), legend));
  }

  function curveChart(series) {
    const { box: [width, height, left, right, top, bottom], target } = series[0];
    const svg = drawn("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.setAttribute("aria-label", "Precision against recall on all queries; the values are in the table below");
    const path = (name, d) => svg.append(drawn("path", { class: name, d }));
    const text = (name, x, y, label) => svg.append(drawn("text", { class: name, x, y }, label));
    for (let tick = 0; tick <= 1; tick += 0.25) {
      const [x, y] = [left + tick * (right - left), bottom - tick * (bottom - top)];
      path("grid", `M${left} ${y}H${right}M${x} ${top}V${bottom}`);
      text("tick end", left - 7, y + 4, `${tick}`);
      text("tick middle", x, bottom + 17, `${tick}`);
    }
    path("target", `M${left} ${target}H${right}`);
    text("axis end", right, height - 5, "recall");
    text("axis", left + 6, bottom - 8, "precision ↑");
    text("axis end", right - 4, target - 5, "P90");
    const back = [...series].reverse(); // the best on top
    for (const one of back) path(`line series-${one.place}`, one.path);
    for (const { place, point: at } of back) {
      if (at) svg.append(drawn("circle", { class: `point series-${place}`, cx: at[0], cy: at[1], r: 4.5 }));
    }
    return svg;
  }

  function load(row) {
    if (loaded.has(row.id)) return Promise.resolve();
    return new Promise((resolve) => {
      const script = element("script", { src: `${root}data/v1/replicates/${row.id}.js` });
      const done = () => {
        if (!loaded.has(row.id)) loaded.set(row.id, null);
        resolve();
      };
      script.addEventListener("load", done);
      script.addEventListener("error", done);
      document.head.append(script);
    });
  }

  // ---- State and choice

  function read() {
    const given = address.read();
    const asked = [...new Set((given.get("ids") || "").split(",").filter(Boolean))];
    const known = asked.filter((id) => byId.has(id));
    const ids = known.filter((id) => byId.get(id).board === byId.get(known[0]).board);
    const measure = given.get("measure") === "recall_at_p90" ? "recall_at_p90" : "micro_ap";
    const over = Math.max(0, ids.length - MOST);
    const unknown = asked.length - known.length;
    return { ids: ids.slice(0, MOST), measure, others: known.length - ids.length, over, unknown };
  }

  function change(changes) {
    Object.assign(state, { others: 0, over: 0, unknown: 0 }, changes);
    const given = new URLSearchParams();
    if (state.ids.length) given.set("ids", state.ids.join(","));
    if (state.measure !== "micro_ap") given.set("measure", state.measure);
    address.write(given, "pushState");
    render();
  }

  async function render() {
    const current = state;
    const now = JSON.stringify(current);
    const chosen = current.ids.map((id) => byId.get(id));
    if (chosen.length > 2) sortByScore(chosen, "all", "micro_ap");
    showChoice(chosen);
    if (chosen.length > 1) await Promise.all(chosen.filter((row) => !row.why).map(load));
    if (JSON.stringify(state) !== now) return; // another choice was made meanwhile
    for (const section of [figures, pairs, curves]) section.replaceChildren(section.firstElementChild);
    document.getElementById("compared").hidden = chosen.length < 2;
    if (chosen.length < 2) return;
    showFigures(chosen);
    for (const [part, what] of PARTS) if (chosen.some((row) => row.parts[part])) showPairs(chosen, part, what);
    showCurves(chosen);
  }

  function showChoice(chosen) {
    form.elements.measure.value = state.measure;
    const full = chosen.length === MOST;
    for (const group of form.querySelectorAll(".choices fieldset")) {
      group.disabled = chosen.length > 0 && group.dataset.board !== chosen[0].board;
    }
    for (const box of form.querySelectorAll(".choices input")) {
      box.checked = state.ids.includes(box.value);
      box.disabled = full && !box.checked;
    }
    const parts = [
      chosen.length ? `${chosen.length} of up to ${MOST} results` : `Choose 2 to ${MOST} results of one table`,
      ...(chosen.length === 1 ? ["choose another of the same table"] : []),
      ...(state.others ? [`${state.others} of another table left out, their numbers do not compare`] : []),
      ...(state.over ? [`${state.over} more left out`] : []),
      ...(state.unknown ? [`${state.unknown} left out that no table has as a row`] : []),
    ];
    form.querySelector("output").textContent = parts.join("; ");
  }

  function addChoice() {
    const place = form.querySelector(".choices");
    const groups = new Map();
    for (const row of rows) {
      if (!groups.has(row.board)) {
        const legend = element("legend", {}, user(row.board_title));
        const group = element("fieldset", {}, legend);
        group.dataset.board = row.board;
        groups.set(row.board, group);
      }
      const box = element("input", { type: "checkbox", value: row.id, autocomplete: "off" });
      box.addEventListener("change", () => {
        change({ ids: box.checked ? [...state.ids, row.id] : state.ids.filter((id) => id !== row.id) });
      });
      const about = small(`${row.rank === null ? "not ranked, " : ""}µAP ${score(row.parts.all.micro_ap, 3)}`);
      groups.get(row.board).append(element("label", {}, box, element("span", {}, user(row.title)), about));
    }
    place.append(...groups.values());
  }

  function find() {
    const words = plain(form.elements.find.value).split(/\s+/).filter(Boolean);
    for (const group of form.querySelectorAll(".choices fieldset")) {
      for (const label of group.querySelectorAll("label")) {
        const { title, id } = byId.get(label.firstElementChild.value);
        label.hidden = !words.every((word) => plain(`${title}\n${id}`).includes(word));
      }
      group.hidden = !group.querySelector("label:not([hidden])");
    }
  }

  ndecBench.replicates = (id, data) => loaded.set(id, data);
  addChoice();
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.find.addEventListener("input", find);
  form.querySelector(".measure").addEventListener("change", () => change({ measure: form.elements.measure.value }));
  form.querySelector("[data-clear]").addEventListener("click", () => change({ ids: [] }));
  const follow = () => {
    state = read();
    render();
  };
  addEventListener("popstate", follow);
  follow();
})();
