// Language and theme without a reload. Nothing is stored and nothing is asked of any server.
(() => {
  const root = document.documentElement;
  const asked = new URLSearchParams(location.search);
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function speak(lang) {
    root.lang = lang === "zh" ? "zh-CN" : "en";
    document.title = root.dataset["title" + (lang === "zh" ? "Zh" : "En")];
    for (const button of document.querySelectorAll("[data-lang]")) {
      button.setAttribute("aria-pressed", String(button.dataset.lang === lang));
    }
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
  }

  function paint(theme) {
    root.dataset.theme = theme;
    show();
  }

  function show() {
    document.querySelector("[data-theme-switch]").setAttribute("aria-pressed", String(isDark()));
  }

  for (const button of document.querySelectorAll("[data-lang]")) {
    button.addEventListener("click", () => speak(button.dataset.lang));
  }
  document.querySelector("[data-theme-switch]").addEventListener("click", () => paint(isDark() ? "light" : "dark"));
  dark.addEventListener("change", show);

  // A folded table is printed whole, and a link into one opens it.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details[data-print]:not([open])")];
    for (const each of opened) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of opened) each.open = false;
  });

  document.querySelector(".switches").hidden = false;
  const wanted = asked.get("lang") || (navigator.language || "en");
  speak(wanted.toLowerCase().startsWith("zh") ? "zh" : "en");
  if (["light", "dark"].includes(asked.get("theme"))) paint(asked.get("theme"));
  show();
})();
