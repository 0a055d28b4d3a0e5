"use strict";
(() => {
  const OVERSCAN = 6; // rows above and below the screen, for the keyboard and for quick scrolling
  const PRINTED = 1000; // rows; nobody reads more on paper, and the browser lays out all of them
  const BAD = ["failed", "refused"];
  const SVG = "http://www.w3.org/2000/svg";

  const at = (id) => document.getElementById(id);
  const shownCount = (count) => count.toLocaleString("en");
  const images = (count) => `${shownCount(count)} ${count === 1 ? "image" : "images"}`;

  /* Whatever comes from others becomes text here, and nowhere markup. */
  function element(tag, name, text) {
    const made = document.createElement(tag);
    made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function mark(name) {
    const made = document.createElementNS(SVG, "svg");
    const use = document.createElementNS(SVG, "use");
    made.setAttribute("class", "mark");
    made.setAttribute("aria-hidden", "true");
    use.setAttribute("href", `#mark-${name}`);
    made.append(use);
    return made;
  }

  function button(name, ...inside) {
    const made = element("button", name);
    made.type = "button";
    made.append(...inside);
    return made;
  }

  /* The data: a name or a cell is told whole at first, and then by number. */
  const names = [];
  const cells = [];
  const known = (table, told) => (typeof told === "number" ? told : table.push(told) - 1);
  const rows = JSON.parse(at("data").textContent);
  for (const row of rows) {
    row[0] = known(names, row[0]);
    for (let i = 2; i < row.length; i++) row[i] = known(cells, row[i]);
  }

  const columns = Array.from(at("head").querySelectorAll("[title]"), (head) => ({
    whole: head.title,
    label: head.firstElementChild ? head.firstElementChild.textContent : "",
  }));
  const cellsOf = (row) => row.slice(2).map((number) => cells[number]);

  function imageOf([name, digest]) {
    if (!digest) return names[name];
    return names[name] ? `${names[name]}@sha256:${digest}` : `sha256:${digest}`;
  }

  /* Which rows are shown: their numbers. */
  let status = "";
  let words = [];
  let shown = [];

  function filter() {
    const having = cells.map((cell) => cell[0] === status);
    shown = [];
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i];
      if (status && !row.some((number, place) => place > 1 && having[number])) continue;
      if (words.length) {
        const image = imageOf(row).toLowerCase();
        if (!words.every((word) => image.includes(word))) continue;
      }
      shown.push(i);
    }
    for (const chip of chips) {
      chip.setAttribute("aria-pressed", String(chip.dataset.status === status));
    }
    const all = shown.length === rows.length;
    at("shown").textContent = all
      ? images(rows.length)
      : `${shownCount(shown.length)} of ${images(rows.length)}`;
    at("table").setAttribute("aria-rowcount", String(shown.length + 1));
    at("none").hidden = shown.length > 0 || rows.length === 0;
    clear();
    const top = at("tools").parentElement.getBoundingClientRect().top;
    if (top < 0) scrollBy(0, top);
    draw();
  }

  /* Only the rows on the screen are in the page; the body is as high as if all were. */
  const body = at("body");
  const drawn = new Map();
  let printing = false;
  let height = 0;

  function clear() {
    for (const made of drawn.values()) made.remove();
    drawn.clear();
  }

  function measure() {
    const probe = element("div", "row");
    body.append(probe);
    height = probe.getBoundingClientRect().height;
    probe.remove();
    document.documentElement.style.setProperty("--tools", `${at("tools").offsetHeight}px`);
  }

  function range() {
    if (printing) return [0, Math.min(shown.length, PRINTED)];
    const top = -body.getBoundingClientRect().top;
    const first = Math.max(Math.floor(top / height) - OVERSCAN, 0);
    const last = Math.ceil((top + innerHeight) / height) + OVERSCAN;
    return [Math.min(first, shown.length), Math.min(Math.max(last, 0), shown.length)];
  }

  function draw() {
    body.style.height = `${shown.length * height}px`;
    const [first, last] = range();
    for (const [place, made] of drawn) {
      const focused = made.contains(document.activeElement);
      if ((place < first || place >= last) && !focused) {
        made.remove();
        drawn.delete(place);
      }
    }
    let after = null; // from the last to the first, so that each goes before the one below it
    for (let place = last - 1; place >= first; place--) {
      let made = drawn.get(place);
      if (!made) {
        made = rowElement(place);
        drawn.set(place, made);
        body.insertBefore(made, after);
      }
      after = made;
    }
  }

  function rowElement(place) {
    const row = rows[shown[place]];
    const inside = cellsOf(row);
    const made = element("div", "row");
    const worst = BAD.find((bad) => inside.some((cell) => cell[0] === bad));
    if (worst) made.classList.add(`${worst}-row`);
    made.setAttribute("role", "row");
    made.setAttribute("aria-rowindex", String(place + 2));
    made.dataset.place = String(place);
    made.style.transform = `translateY(${place * height}px)`;
    made.append(imageCell(row), ...inside.map((cell, i) => statusCell(cell, columns[i])));
    return made;
  }

  function imageCell(row) {
    const cell = element("div", "cell");
    const image = imageOf(row);
    const name = names[row[0]];
    const digest = row[1] && `sha256:${row[1].slice(0, 12)}`;
    const slash = name.lastIndexOf("/") + 1;
    const open = button(
      "name",
      element("span", "path", name ? name.slice(0, slash) : ""),
      element("span", "last", name ? name.slice(slash) : digest),
    );
    open.title = image;
    open.setAttribute("aria-haspopup", "dialog");
    cell.setAttribute("role", "rowheader");
    cell.append(open);
    if (digest) {
      const copy = button("digest", element("span", "", name ? digest : "copy"), mark("copy"));
      copy.title = "Copy the image by digest";
      copy.setAttribute("aria-label", `Copy ${image}`);
      cell.append(copy);
    }
    return cell;
  }

  function statusLine([name]) {
    const made = element("div", `status ${name}`);
    if (name) made.append(mark(name), element("span", "", name));
    else made.append(element("span", "", "–"));
    return made;
  }

  function statusCell(cell, column) {
    const made = element("div", "cell");
    const line = statusLine(cell);
    const label = element("span", "label", column.label);
    label.setAttribute("aria-hidden", "true"); // the heading says it to those who do not see
    line.append(label);
    made.setAttribute("role", "cell");
    made.append(line);
    if (cell[1]) {
      const detail = element("div", "detail", cell[1]);
      detail.title = cell[1];
      made.append(detail);
    }
    return made;
  }

  /* What is done with a row. */
  let opened = "";

  function openWhole(row) {
    opened = imageOf(row);
    at("whole-image").textContent = opened;
    at("whole-cells").replaceChildren(
      ...cellsOf(row).map((cell, i) => {
        const made = element("div", "given");
        made.append(element("p", "column", columns[i].whole), statusLine(cell));
        if (cell[1]) made.append(element("p", "why", cell[1]));
        return made;
      }),
    );
    at("whole").showModal();
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyBySelection(text);
    }
  }

  function copyBySelection(text) {
    const before = document.activeElement;
    const area = element("textarea", "");
    area.value = text;
    (at("whole").open ? at("whole") : document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before.focus({ preventScroll: true });
    return done;
  }

  async function copyAndTell(text, label) {
    const before = label.dataset.before || label.textContent;
    label.dataset.before = before;
    label.textContent = (await copy(text)) ? "copied" : "not copied";
    setTimeout(() => {
      label.textContent = before;
    }, 1500);
  }

  body.addEventListener("click", (event) => {
    const made = event.target.closest(".row");
    if (!made || !getSelection().isCollapsed) return;
    const row = rows[shown[made.dataset.place]];
    const digest = event.target.closest(".digest");
    if (digest) copyAndTell(imageOf(row), digest.firstElementChild);
    else openWhole(row);
  });

  /* Up and down go to the same button of the next row. */
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const made = event.target.closest(".row");
    if (!step || !made) return;
    const next = drawn.get(Number(made.dataset.place) + step);
    if (!next) return;
    event.preventDefault();
    next.querySelector(`.${event.target.className}`)?.focus();
  });

  const chips = [...document.querySelectorAll(".chip")];
  for (const chip of chips) {
    chip.disabled = false;
    chip.addEventListener("click", () => {
      status = status === chip.dataset.status ? "" : chip.dataset.status;
      filter();
    });
  }

  function search() {
    words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    filter();
  }
  at("search").disabled = false;
  at("search").addEventListener("input", search);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target === at("search") || at("whole").open) return;
    event.preventDefault();
    at("search").focus();
  });
  at("reset").addEventListener("click", () => {
    status = "";
    at("search").value = "";
    search();
    at("search").focus();
  });
  at("whole-copy").addEventListener("click", (event) => copyAndTell(opened, event.target));
  at("whole-close").addEventListener("click", () => at("whole").close());

  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }, { passive: true });
  addEventListener("resize", () => {
    measure();
    clear();
    draw();
  });
  addEventListener("beforeprint", () => {
    printing = true;
    at("more").hidden = shown.length <= PRINTED;
    at("more").textContent =
      `The first ${shownCount(PRINTED)} of ${images(shown.length)} are printed.`;
    draw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    at("more").hidden = true;
    draw();
  });

  document.documentElement.style.setProperty("--columns", String(columns.length));
  measure();
  filter();
})();
