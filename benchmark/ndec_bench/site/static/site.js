// On every page: the button for the theme, buttons that copy commands, and what other scripts share.
"use strict";
(function () {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  // Returns text as it is searched: without accents and case.
  function plain(text) {
    return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  }

  function startTheme(button) {
    const show = () => {
      const theme = root.dataset.theme || (system.matches ? "dark" : "light");
      button.setAttribute("aria-pressed", String(theme === "dark"));
    };
    button.addEventListener("click", () => {
      root.dataset.theme = button.getAttribute("aria-pressed") === "true" ? "light" : "dark";
      show();
      try {
        localStorage.setItem("ndec-bench-theme", root.dataset.theme);
      } catch {
        // Storage is refused: the choice holds for this page alone.
      }
    });
    system.addEventListener("change", show);
    addEventListener("storage", (event) => {
      if (event.key !== "ndec-bench-theme" || !/^(light|dark)$/.test(event.newValue)) return;
      root.dataset.theme = event.newValue;
      show();
    });
    show();
  }

  function addCopyButton(box) {
    const source = box.querySelector("pre");
    const button = element("button", { type: "button", textContent: "Copy" });
    const status = element("span", { className: "copied", role: "status" });
    button.addEventListener("click", async () => {
      status.textContent = "";
      const done = await copy(source);
      status.textContent = done ? "Copied" : "Selected; copy it with your keyboard";
    });
    box.append(button, status);
  }

  // Returns whether the text is in the clipboard. Where that is refused, it is at least selected.
  async function copy(source) {
    try {
      await navigator.clipboard.writeText(source.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(source);
      try {
        return document.execCommand("copy");
      } catch {
        return false;
      }
    }
  }

  // The state of a page is in its query. Browsers may forbid a page from disk to change that: then it goes behind
  // the "#", and is kept here when an anchor takes that place.
  let kept = null;
  const hashed = () => location.hash.startsWith("#?");
  const address = {
    read() {
      if (kept !== null && location.hash && !hashed()) return new URLSearchParams(kept);
      return new URLSearchParams(hashed() ? location.hash.slice(1) : location.search);
    },
    write(given, how) {
      const query = given.toString().replace(/%2C/g, ",");
      try {
        history[how](null, "", location.pathname + (query && `?${query}`) + (hashed() ? "" : location.hash));
      } catch {
        kept = query;
        history[how](null, "", `#?${query}`);
      }
    },
  };
  window.ndecBench = { address, element, plain };

  document.querySelectorAll("[data-theme-toggle]").forEach(startTheme);
  document.querySelectorAll(".copy").forEach(addCopyButton);
})();
