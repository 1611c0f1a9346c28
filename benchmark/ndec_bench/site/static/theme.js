// Runs before the first paint, so that a theme chosen earlier is there from the start.
"use strict";
(function () {
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const theme = localStorage.getItem("ndec-bench-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch {
    // Storage is refused: the theme of the reader's system holds.
  }
})();
