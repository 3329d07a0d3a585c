// What is wrong with how a page looks, as lists of sentences by kind. Evaluated in the page; see test_browser.py.
(async () => {
  const texts = () => {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode, own = node.parentElement;
      if (node.data.trim() && !["SCRIPT", "STYLE"].includes(own.tagName) && own.checkVisibility() && !own.matches(".skip"))
        found.push([node, own]);
    }
    return found;
  };
  const boxes = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return Array.from(range.getClientRects());
  };
  const said = (own) => `${own.tagName.toLowerCase()}${own.className.baseVal ?? own.className ? "." + (own.className.baseVal ?? own.className) : ""} "${own.textContent.trim().slice(0, 50)}"`;

  // --- pictures ---

  await Promise.all(Array.from(document.images, (it) => { it.loading = "eager"; return it.decode().catch(() => {}); }));
  const pictures = Array.from(document.images, (it) => it).filter((it) => !it.naturalWidth).map((it) => it.alt);

  // --- room ---

  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const cut = [];
  for (const [node, own] of texts()) {
    for (const box of boxes(node)) {
      if (own.closest("svg")) {
        const frame = own.closest("svg").getBoundingClientRect();
        if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 2 || box.bottom > frame.bottom + 3)
          cut.push(said(own));
        continue;
      }
      const moves = own.closest("td, th, pre") !== null;  // tables and code may be moved sideways
      if (!moves && (box.left < -1 || box.right > document.documentElement.clientWidth + 1)) cut.push(said(own));
      for (let above = own; above && above !== document.body; above = above.parentElement) {
        const overflow = getComputedStyle(above).overflowX, frame = above.getBoundingClientRect();
        const hides = overflow === "hidden" || overflow === "clip" || (overflow !== "visible" && !moves);
        if (hides && (box.left < frame.left - 1 || box.right > frame.right + 1)) cut.push(said(own));
      }
    }
  }
  const over = [];
  for (const drawing of document.querySelectorAll("svg")) {
    const labels = Array.from(drawing.querySelectorAll("text"), (it) => [it, it.getBoundingClientRect()]).filter(([it]) => it.textContent);
    labels.forEach(([one, a], at) => labels.slice(at + 1).forEach(([two, b]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left), down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 3) over.push(`${one.textContent} / ${two.textContent}`);
    }));
  }

  // --- colours: WCAG 2.2 ---

  const paint = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const colour = (name) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = name;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const onto = ([r, g, b, a], below) => [r, g, b].map((it, at) => it * a + below[at] * (1 - a));
  const ground = (own) => {
    const coats = [];
    for (let above = own; above; above = above.parentElement) coats.push(colour(getComputedStyle(above).backgroundColor));
    return coats.reverse().reduce((below, coat) => onto(coat, below), [255, 255, 255]);
  };
  const behind = (own) => {
    const drawing = own.closest("svg");
    if (!drawing) return ground(own);
    const box = own.getBoundingClientRect(), x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    return Array.from(drawing.querySelectorAll("rect")).reduce((below, it) => {
      const frame = it.getBoundingClientRect(), style = getComputedStyle(it);
      const covers = it.compareDocumentPosition(own) & Node.DOCUMENT_POSITION_FOLLOWING && frame.left <= x && x <= frame.right && frame.top <= y && y <= frame.bottom;
      const [r, g, b, a] = colour(style.fill);
      return covers ? onto([r, g, b, a * Number(style.fillOpacity)], below) : below;
    }, ground(drawing.parentElement));
  };
  const luminance = (parts) => {
    const [r, g, b] = parts.map((it) => it / 255).map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = new Map();
  for (const [, own] of texts()) {
    const below = behind(own), style = getComputedStyle(own);
    const ink = onto(colour(own.closest("svg") ? style.fill : style.color), below);
    const [high, low] = [luminance(ink), luminance(below)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) faint.set(said(own).slice(0, 40), `${ratio.toFixed(2)} ${said(own)}`);
  }

  // --- for those who do not see it ---

  const levels = Array.from(document.querySelectorAll("h1, h2, h3, h4, h5, h6"), (it) => Number(it.tagName[1]));
  const headings = levels.filter((level, at) => (at ? level > levels[at - 1] + 1 : level !== 1));
  const unnamed = [
    ...Array.from(document.images).filter((it) => !it.alt && !it.matches(".heat")),
    ...Array.from(document.querySelectorAll("svg")).filter((it) => !it.getAttribute("aria-label")),
    ...Array.from(document.querySelectorAll("button, a, input")).filter((it) => !(it.textContent.trim() || it.labels?.[0]?.textContent.trim())),
  ].map(said);
  return { pictures, wide: wide > 0 ? [`${wide} pixels too wide`] : [], cut, over, faint: Array.from(faint.values()), headings, unnamed };
})()
