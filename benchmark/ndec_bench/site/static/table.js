// The tables of a page: search, filters, order, choice of columns and of rows. What is chosen is in the address,
// so that a link shows the same view. The markup it works on is in board.html.j2 and tools.html.j2.
"use strict";
(function () {
  const { address, element, plain } = ndecBench;
  const DECLARED = [
    "labels_used", "train_images", "reference_images_in_training", "ndec_pairs",
    "background", "external_data", "query_independent", "selected_on",
  ]; // the order of data-d
  const FIXED = 2; // rank and method are always shown
  const MOST = 10; // rows that the page "compare" takes
  const TYPING = 300; // milliseconds without a key before what was typed goes into the address

  const form = document.querySelector("form.tools");
  const tables = [...document.querySelectorAll("table.ranked[data-board]")].map(readTable);
  if (!form || !tables.length) return;
  const rows = tables.flatMap((table) => table.rows);
  const count = form.querySelector("output");
  const picked = form.querySelector(".picked");
  const compare = picked.querySelector("a");
  const view = element("p", { className: "view" }); // for print, where the form is left out
  const selects = [...form.querySelectorAll("select")];
  const collator = new Intl.Collator("en", { numeric: true });
  const shown = {}; // what each part of the page shows now
  let state = null; // what is chosen
  let saved = ""; // the state in the address
  let timer = 0;

  function readTable(table) {
    const { board, track } = table.dataset;
    const groups = [...table.tHead.rows[0].querySelectorAll("[data-g]")];
    const columns = [...table.tHead.rows[1].cells].map((th, place) => ({
      th,
      place,
      key: th.dataset.k,
      label: th.textContent.trim().replace(/\s+/g, " "),
      numeric: th.dataset.t === "n",
      descending: th.dataset.d === "desc",
      group: th.dataset.g,
      extra: th.classList.contains("x"),
      visible: !th.classList.contains("x"),
    }));
    const found = [...table.tBodies[0].rows].map((tr) => readRow(tr, board, track));
    return { table, board, columns, groups, body: table.tBodies[0], rows: found, ranked: !("apart" in table.dataset) };
  }

  function readRow(tr, board, track) {
    const head = tr.querySelector("th");
    const title = head.querySelector("a").textContent;
    const authors = [...head.querySelectorAll("small bdi")].map((bdi) => bdi.textContent);
    return {
      tr,
      board,
      track,
      title,
      id: tr.dataset.id,
      text: plain([title, tr.dataset.id, ...authors, tr.dataset.a || ""].join("\n")),
      level: tr.dataset.l,
      dimensions: tr.dataset.n === undefined ? NaN : Number(tr.dataset.n),
      declared: (tr.dataset.d || "").split("|").map((values) => values.split(",")),
      starts: tr.classList.contains("starts"),
      box: null,
    };
  }

  // Returns what a cell sorts by; null where the value is missing.
  function valueOf(row, column) {
    const cell = row.tr.cells[column.place];
    const text = (cell.dataset.v === undefined ? cell.textContent : cell.dataset.v).trim();
    if (text === "" || text.startsWith("–")) return null;
    if (!column.numeric) return text;
    const number = Number(text.replace(/,/g, ""));
    return Number.isNaN(number) ? null : number;
  }

  // ---- The address

  function read() {
    const given = address.read();
    const filters = {};
    for (const { name, options } of selects) {
      const value = given.get(name);
      if (value && [...options].some((option) => option.value === value)) filters[name] = value;
    }
    const sort = given.get("sort") || "";
    const key = sort.replace(/^-/, "");
    const columns = tables.flatMap((table) => table.columns);
    const listed = (given.get("cols") || "").split(",").filter((name) => columns.some((column) => column.key === name));
    const ids = (given.get("ids") || "").split(",").filter((id) => rows.some((row) => row.id === id));
    return {
      q: (given.get("q") || "").slice(0, 200),
      filters,
      sort: columns.some((column) => column.key === key) ? { key, descending: sort.startsWith("-") } : null,
      columns: listed.length || given.get("cols") === "" ? new Set(listed) : null,
      ids: [...new Set(ids)],
    };
  }

  function write() {
    const given = new URLSearchParams();
    if (state.q.trim()) given.set("q", state.q.trim());
    for (const { name } of selects) if (state.filters[name]) given.set(name, state.filters[name]);
    if (state.sort) given.set("sort", (state.sort.descending ? "-" : "") + state.sort.key);
    if (state.columns) given.set("cols", [...state.columns].join(","));
    if (state.ids.length) given.set("ids", state.ids.join(","));
    return given;
  }

  function save(how) {
    clearTimeout(timer);
    const given = write();
    if (given.toString() === saved) return;
    saved = given.toString();
    address.write(given, how);
  }

  function change(changes) {
    Object.assign(state, changes);
    render();
    save("pushState");
  }

  function follow() {
    clearTimeout(timer);
    state = read();
    saved = write().toString();
    render();
  }

  // ---- What is shown

  // Calls ``show`` if what it shows has changed.
  function once(part, now, show) {
    const text = JSON.stringify(now);
    if (shown[part] === text) return;
    shown[part] = text;
    show();
  }

  function render() {
    const { q, filters, sort, columns, ids } = state;
    once("controls", [q, filters], showControls);
    once("columns", columns && [...columns], showColumns);
    once("sort", sort, showOrder);
    once("rows", [q.trim(), filters], showRows);
    once("ids", ids, showPicked);
    showFit();
    const left = rows.filter((row) => !row.tr.hidden).length;
    const part = left === rows.length ? `${left}` : `${left} of ${rows.length}`;
    view.textContent = described(part);
    count.textContent = `${part} row${rows.length === 1 ? "" : "s"}${ids.length ? `, ${ids.length} selected` : ""}`;
  }

  // Returns in words what is left out and how it is ordered; nothing if all rows are shown by rank.
  function described(part) {
    const { q, filters, sort } = state;
    const chosen = selects.filter(({ name }) => filters[name]).map((select) =>
      `${select.labels[0].firstChild.textContent.trim()}: ${select.selectedOptions[0].textContent.trim()}`);
    if (q.trim()) chosen.unshift(`Search: ${q.trim()}`);
    const column = sort && tables.flatMap((table) => table.columns).find(({ key }) => key === sort.key);
    return [
      ...(chosen.length ? [`Only the ${part} rows that fit are shown. ${chosen.join("; ")}.`] : []),
      ...(column ? [`Sorted by ${column.label}, ${sort.descending ? "descending" : "ascending"}.`] : []),
    ].join(" ");
  }

  function showControls() {
    if (form.elements.q.value.trim() !== state.q.trim()) form.elements.q.value = state.q;
    for (const select of selects) select.value = state.filters[select.name] || "";
    const more = form.querySelector(".more");
    const active = [...more.querySelectorAll("select")].filter((select) => select.value).length;
    more.querySelector("summary span").textContent = active ? ` (${active})` : "";
  }

  function fits(row, words) {
    const { track, dims, level } = state.filters;
    const verified = level === "re-scored" ? ["re-scored", "re-described"] : [level];
    return (
      words.every((word) => row.text.includes(word)) &&
      (!track || row.track === track) &&
      (!dims || (dims === "more" ? row.dimensions > 1024 : row.dimensions <= Number(dims))) &&
      (!level || verified.includes(row.level)) &&
      DECLARED.every((name, place) => !state.filters[name] || declares(row.declared[place], state.filters[name]))
    );
  }

  // What is unknown fits "unknown" alone, so it never passes for "none" or "no".
  function declares(values, wanted) {
    return Boolean(values) && values.includes(wanted) && (wanted === "unknown" || !values.includes("unknown"));
  }

  function showRows() {
    const words = plain(state.q).split(/\s+/).filter(Boolean);
    for (const table of tables) {
      let starts = false; // a line between tie groups moves to the first row of the group that is left
      let left = 0;
      for (const row of table.rows) {
        starts = starts || row.starts;
        row.tr.hidden = !fits(row, words);
        if (row.tr.hidden) continue;
        row.tr.classList.toggle("starts", starts && left > 0);
        starts = false;
        left += 1;
      }
      table.nothing.hidden = left > 0;
    }
  }

  function showOrder() {
    const { sort } = state;
    for (const table of tables) {
      const column = sort && table.columns.find((other) => other.key === sort.key);
      const ordered = [...table.rows];
      if (column) {
        const values = new Map(ordered.map((row) => [row, valueOf(row, column)]));
        const sign = sort.descending ? -1 : 1;
        ordered.sort((a, b) => {
          const [x, y] = [values.get(a), values.get(b)];
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * (column.numeric ? x - y : collator.compare(x, y));
        });
      }
      const fragment = document.createDocumentFragment();
      for (const row of ordered) fragment.append(row.tr);
      table.body.append(fragment);
      const active = column || (table.ranked && table.columns[0]);
      for (const { th } of table.columns) th.removeAttribute("aria-sort");
      if (active) active.th.setAttribute("aria-sort", column && sort.descending ? "descending" : "ascending");
      table.table.classList.toggle("sorted", Boolean(column) && (column.place > 0 || sort.descending));
    }
  }

  function wanted(column) {
    return column.place < FIXED || (state.columns ? state.columns.has(column.key) : !column.extra);
  }

  function showColumns() {
    for (const table of tables) {
      for (const column of table.columns) {
        if (column.visible === wanted(column)) continue;
        column.visible = !column.visible;
        column.th.classList.toggle("x", !column.visible);
        for (const { tr } of table.rows) tr.cells[column.place].classList.toggle("x", !column.visible);
      }
      for (const group of table.groups) {
        const left = table.columns.filter((column) => column.group === group.dataset.g && column.visible).length;
        group.colSpan = left || 1;
        group.hidden = left === 0;
      }
      table.nothing.rows[0].cells[0].colSpan = table.columns.filter((column) => column.visible).length;
    }
    const columns = tables.flatMap((table) => table.columns);
    for (const box of form.querySelectorAll(".columns-choice input")) {
      box.checked = wanted(columns.find((column) => column.key === box.value));
    }
  }

  // A table that fits its box lies free, so that its head stays at the top of the window.
  function showFit() {
    for (const { table } of tables) table.parentElement.classList.toggle("fits", table.offsetWidth <= table.parentElement.clientWidth);
  }

  // Returns why rows cannot be compared; "" where they can.
  function whyNot(chosen) {
    if (chosen.length < 2) return "Select another row of the same table to compare the two.";
    if (chosen.length > MOST) return `Up to ${MOST} rows can be compared.`;
    if (chosen.every((row) => row.board === chosen[0].board)) return "";
    return "These rows are in different tables, whose numbers do not compare.";
  }

  function showPicked() {
    const chosen = state.ids.map((id) => rows.find((row) => row.id === id));
    for (const row of rows) {
      row.box.checked = state.ids.includes(row.id);
      row.tr.classList.toggle("chosen", row.box.checked);
    }
    const why = whyNot(chosen);
    picked.hidden = chosen.length === 0;
    picked.querySelector("p").textContent = why || chosen.map((row) => row.title).join(", ");
    compare.setAttribute("aria-disabled", String(Boolean(why)));
    if (why) compare.removeAttribute("href");
    else compare.href = `${document.body.dataset.root}compare/index.html?ids=${state.ids.join(",")}`;
  }

  // ---- What is added to the page

  function addSorting({ th, key, descending }) {
    const button = element("button", { type: "button", className: "sort" }, ...th.childNodes);
    button.addEventListener("click", () => {
      const now = th.getAttribute("aria-sort");
      change({ sort: { key, descending: now ? now === "ascending" : descending } });
    });
    th.append(button);
  }

  function addBox(row) {
    const ariaLabel = `Select ${row.title} for comparison`;
    row.box = element("input", { type: "checkbox", autocomplete: "off", ariaLabel });
    row.box.addEventListener("change", () => {
      const others = state.ids.filter((id) => id !== row.id);
      change({ ids: row.box.checked ? [...others, row.id] : others });
    });
    row.tr.cells[0].prepend(element("label", { className: "pick" }, row.box));
  }

  function addNothing(table) {
    const button = element("button", { type: "button", textContent: "Show all rows" });
    const cell = element("td", {}, element("span", {}, "No row fits. ", button));
    button.addEventListener("click", () => {
      reset();
      form.elements.q.focus();
    });
    table.nothing = element("tbody", { className: "nothing", hidden: true }, element("tr", {}, cell));
    table.table.append(table.nothing);
  }

  function addColumnChoice() {
    const place = form.querySelector(".columns-choice");
    const known = new Map();
    for (const table of tables) {
      for (const column of table.columns.slice(FIXED)) {
        const group = table.groups.find((other) => other.dataset.g === column.group);
        const name = group ? group.textContent.trim() : "Other";
        if (!known.has(name)) known.set(name, new Map());
        if (!known.get(name).has(column.key)) known.get(name).set(column.key, column);
      }
    }
    const columns = [...known.values()].flatMap((group) => [...group.values()]);
    const boxes = () => [...place.querySelectorAll("input")];
    for (const [name, group] of known) {
      const choices = [...group.values()].map(({ key, label }) =>
        element("label", {}, element("input", { type: "checkbox", value: key, autocomplete: "off" }), label));
      place.append(element("fieldset", {}, element("legend", { textContent: name }), ...choices));
    }
    place.addEventListener("change", () => {
      const checked = new Set(boxes().filter((box) => box.checked).map((box) => box.value));
      change({ columns: columns.every((column) => checked.has(column.key) !== column.extra) ? null : checked });
    });
  }

  function reset() {
    change({ q: "", filters: {}, sort: null, columns: null });
    form.elements.q.value = "";
  }

  for (const table of tables) {
    table.columns.forEach(addSorting);
    table.rows.forEach(addBox);
    addNothing(table);
  }
  addColumnChoice();
  form.after(view);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.q.addEventListener("input", () => {
    state.q = form.elements.q.value;
    render();
    clearTimeout(timer);
    timer = setTimeout(() => save("replaceState"), TYPING);
  });
  form.elements.q.addEventListener("change", () => save("replaceState"));
  for (const select of selects) {
    select.addEventListener("change", () => change({ filters: { ...state.filters, [select.name]: select.value } }));
  }
  form.querySelector("[data-reset]").addEventListener("click", reset);
  picked.querySelector("button").addEventListener("click", () => change({ ids: [] }));
  addEventListener("popstate", follow);
  addEventListener("resize", showFit);
  follow();
})();
