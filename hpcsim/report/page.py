"""The stylesheet of the report page, and the few lines of script that sort its tables (the page reads the same without them)."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLESHEET"]

STYLESHEET = """\
:root { --paper: #f5f7f9; --card: #ffffff; --ink: #1f2933; --faint: #52606d; --line: #d9dee4; --accent: #0b5c8f; --mark: #fff0c2; --mark-ink: #5c4300; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --card: #1e242b; --ink: #e4e7eb; --faint: #a5b1bd; --line: #36404a; --accent: #7cc0ee; --mark: #4a3b0c; --mark-ink: #ffe29a; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 16px 48px; }
header { max-width: 50em; }
.above { margin: 0; color: var(--faint); font-size: 14px; }
h1 { margin: 4px 0 12px; font-size: clamp(22px, 4vw, 32px); line-height: 1.25; }
.answer { margin: 0; padding-left: 14px; border-left: 4px solid var(--accent); font-size: clamp(17px, 2.4vw, 20px); }
h2 { margin: 40px 0 12px; font-size: 20px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(185px, 1fr)); gap: 10px; margin: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; }
.card dt { color: var(--faint); font-size: 13px; line-height: 1.3; }
.card dd { margin: 2px 0 0; font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.range { display: block; color: var(--faint); font-size: 12.5px; font-weight: 400; }
.charts { columns: 2 460px; column-gap: 16px; }
figure { break-inside: avoid; margin: 0 0 16px; background: #ffffff; border: 1px solid var(--line); border-radius: 8px; padding: 8px; color: #1f2933; }
figure svg, figure img { display: block; width: 100%; max-width: 640px; height: auto; margin: 0 auto; }
figcaption { padding: 6px 6px 2px; color: #52606d; font-size: 13px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 6px 10px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
tbody tr:last-child td { border-bottom: 0; }
th { color: var(--faint); font-weight: 600; white-space: nowrap; }
.data th[data-sort] { cursor: pointer; }
.data { font-size: 13px; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.unit { font-weight: 400; }
.faint { color: var(--faint); font-weight: 400; font-size: 14px; }
#sources table, #comparison table, #finalists table { min-width: 680px; }
#plan table { min-width: 860px; }
#plan td { overflow-wrap: anywhere; }
#plan td:nth-child(1) { width: 8em; white-space: nowrap; } #plan td:nth-child(2) { width: 17%; } #plan td:nth-child(3) { width: 20%; font-weight: 600; }
#plan h3 { margin: 24px 0 8px; font-size: 17px; }
.best td { font-weight: 600; }
#sources td { overflow-wrap: anywhere; }
details { margin: 8px 0; }
summary { cursor: pointer; padding: 6px 0; }
.mark { background: var(--mark); color: var(--mark-ink); border-radius: 4px; padding: 1px 6px; }
.sliders { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 10px 24px; margin: 0 0 14px; }
.sliders label { display: grid; grid-template-columns: 1fr auto; gap: 2px 10px; font-size: 14px; }
.sliders span { overflow-wrap: anywhere; color: var(--faint); }
.sliders output { font-weight: 600; font-variant-numeric: tabular-nums; }
.sliders input { grid-column: 1 / -1; width: 100%; margin: 0; height: 28px; accent-color: var(--accent); }
.pick { display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: 14px; }
.pick select { max-width: 100%; font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 3px 6px; }
.pick label { min-width: 0; }
.plot { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 8px; max-width: 720px; }
.plot svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
.plot p { margin: 2px 6px; min-height: 1.5em; }
.plot text { fill: var(--faint); font-size: 13px; }
.plot .grid { stroke: var(--line); }
.plot .line { fill: none; stroke: var(--accent); stroke-width: 2; }
.plot .dot { fill: var(--accent); cursor: pointer; }
.plot .here { stroke: var(--ink); stroke-width: 2; }
.up { color: var(--faint); }
.facts { margin: 0; font-size: 14px; }
.facts div { display: grid; grid-template-columns: minmax(8em, 14em) 1fr; gap: 10px; padding: 3px 0; border-bottom: 1px solid var(--line); }
.facts dt { color: var(--faint); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
ul { padding-left: 20px; max-width: 60em; }
@media (max-width: 520px) { .cards { grid-template-columns: repeat(2, 1fr); } .card dd { font-size: 17px; } .facts div { grid-template-columns: 1fr; gap: 0; } }
@media print {
  :root { --paper: #ffffff; --card: #ffffff; --ink: #000000; --faint: #333333; --line: #bbbbbb; --accent: #000000; --mark: #eeeeee; --mark-ink: #000000; }
  main { max-width: none; padding: 0; }
  figure, .card, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  .charts { columns: 2 280px; }
  table, .data { font-size: 10.5px; }
  th, td { padding: 2px 5px; }
  th, .n, #plan td:nth-child(1) { white-space: normal; }
  #sources table, #comparison table, #finalists table, #plan table { min-width: 0; }
  details:not([open]), #explore { display: none; }
}
"""

SCRIPT = """\
for (const head of document.querySelectorAll("table.data th")) {
  head.dataset.sort = "";
  head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0], at = head.cellIndex, up = head.dataset.sort !== "up";
    const key = row => { const text = row.cells[at].textContent.trim(), number = parseFloat(text.replaceAll(",", ""));
      return head.classList.contains("n") ? (isNaN(number) ? Infinity : number) : text; };
    const rows = [...body.rows].sort((a, b) => { const x = key(a), y = key(b); return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1); });
    for (const other of head.parentNode.cells) other.dataset.sort = "";
    head.dataset.sort = up ? "up" : "down";
    body.append(...rows);
  });
}
"""
